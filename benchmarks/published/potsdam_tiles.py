"""ISPRS Potsdam from its 38 large images to the 8,550 tiles of Potsdam-3, as IIC prepared them (Ji et al. 2019, supplement).

Each 6000 x 6000 image is halved (bilinear, which at one half is the mean of 2 x 2 pixels; labels by their upper left pixel)
and cut into 15 x 15 tiles of 200 x 200. A tenth of the number of tiles, drawn from those with labels, is the test split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy.io import savemat

from models.errors import StegoError
from stego_app.atomic import output_error, replacing, write_bytes
from stego_app.data.potsdam3 import COLOURS, corner_of_colours
from stego_app.images import read_image
from stego_app.progress import Progress, silent

IMAGES, LABELS = "2_Ortho_RGB", ("5_Labels_for_participants", "5_Labels_all")
TILE, VOID = 200, 255
_NAME = re.compile(r"top_potsdam_(\d+_\d+)_RGB\.tif")
_TEST_SHARE = 10
# fmt: off
LABELLED = (
    "2_10", "2_11", "2_12", "3_10", "3_11", "3_12", "4_10", "4_11", "4_12", "5_10", "5_11", "5_12",
    "6_7", "6_8", "6_9", "6_10", "6_11", "6_12", "7_7", "7_8", "7_9", "7_10", "7_11", "7_12",
)
# fmt: on
"""The images whose labels the participants of the contest had; those of the others were published afterwards and are not used."""


def has_raw_images(root: Path) -> bool:
    """Whether ``root`` holds the folders of large images and labels."""
    return (root / IMAGES).is_dir() and _labels(root) is not None


def cut_tiles(root: Path, *, seed: int = 0, expected: int | None = 38, progress: Progress = silent) -> int:
    """Write ``imgs/*.mat``, ``gt/*.mat`` and the lists under ``root``; how many tiles there are.

    Tiles that are there are left alone and the lists come last, so an interrupted run goes on where it stopped.

    Args:
        root: has ``2_Ortho_RGB`` and one of the folders of labels.
        seed: of the draw of test tiles.
        expected: how many large images there must be; None for any number.
        progress: called after each large image.

    Raises:
        StegoError: images or labels that are missing, of another size, or in unknown colours; a disk that is full.
    """
    labels = _labels(root)
    large = {match[1]: path for path in sorted((root / IMAGES).glob("*.tif")) if (match := _NAME.fullmatch(path.name))} if labels else {}
    if not large or labels is None:
        raise StegoError(f"{root / IMAGES}: no top_potsdam_*_RGB.tif found beside a folder of labels")
    if expected is not None and len(large) != expected:
        raise StegoError(f"{root / IMAGES}: {len(large)} files top_potsdam_*_RGB.tif; expected {expected}")
    ids: dict[bool, list[str]] = {True: [], False: []}
    for number, (name, path) in enumerate(large.items()):
        label = labels / f"top_potsdam_{name}_label.tif" if name in LABELLED else None
        ids[label is not None] += _cut(path, name, label, root)
        progress("cutting Potsdam", number + 1, len(large))
    _write_lists(root, labelled=ids[True], unlabelled=ids[False], seed=seed)
    return len(ids[True]) + len(ids[False])


def _labels(root: Path) -> Path | None:
    return next((root / name for name in LABELS if (root / name).is_dir()), None)


def _cut(path: Path, name: str, label: Path | None, root: Path) -> list[str]:
    """Write the tiles of one large image; their ids."""
    if label is not None and not label.is_file():
        raise StegoError(f"{label}: no such label file")
    marker = root / "imgs" / f".{name}.done"
    if marker.is_file():
        return marker.read_text().split()
    image = read_image(path)
    values = None if label is None else fine_values(read_image(label))
    if values is not None and values.shape != image.shape[:2]:
        raise StegoError(f"{label}: label is {values.shape[1]} × {values.shape[0]}; expected {image.shape[1]} × {image.shape[0]}, the size of its image")
    if min(image.shape[:2]) < 2 * TILE or image.shape[0] % (2 * TILE) or image.shape[1] % (2 * TILE):
        raise StegoError(f"{path}: image is {image.shape[1]} × {image.shape[0]}; expected a multiple of {2 * TILE} on each side, 6000 × 6000 as published")
    halved = np.asarray(cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    ids = []
    for row, column, tile in _tiles(halved):
        ids.append(f"{name}_{row}_{column}")
        _save(root / "imgs" / f"{ids[-1]}.mat", {"img": tile})
        if values is not None:
            place = slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE)
            _save(root / "gt" / f"{ids[-1]}.mat", {"gt": values[::2, ::2][place].astype(np.int32)})
    write_bytes(marker, " ".join(ids).encode())
    return ids


def fine_values(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Fine labels (H, W), 0 to 5, of a label picture (H, W, 3); `VOID` where its colour is near none of the published ones.

    Two of the published files are off their palette: 4_12 was stored with losses, 6_7 has cars in (252, 255, 0).
    """
    table = np.full(8, VOID, dtype=np.uint8)
    for (red, green, blue), value in COLOURS.items():
        table[(red > 127) * 4 + (green > 127) * 2 + (blue > 127)] = value
    return table[corner_of_colours(picture)]


def _tiles(image: npt.NDArray[np.uint8]) -> Iterator[tuple[int, int, npt.NDArray[np.uint8]]]:
    for row in range(image.shape[0] // TILE):
        for column in range(image.shape[1] // TILE):
            yield row, column, image[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]


def _save(path: Path, content: dict[str, npt.NDArray[np.generic]]) -> None:
    try:
        with replacing(path) as part, part.open("wb") as file:
            savemat(file, content)
    except OSError as error:
        raise output_error(path, error) from error


def _write_lists(root: Path, *, labelled: list[str], unlabelled: list[str], seed: int) -> None:
    test = (
        set(np.random.default_rng(seed).choice(labelled, size=(len(labelled) + len(unlabelled)) // _TEST_SHARE, replace=False).tolist()) if labelled else set()
    )
    lists = {
        "all.txt": [*labelled, *unlabelled],
        "unlabelled_train.txt": unlabelled,
        "labelled_train.txt": [name for name in labelled if name not in test],
        "labelled_test.txt": [name for name in labelled if name in test],
    }
    for file, names in lists.items():
        write_bytes(root / file, "".join(f"{name}\n" for name in names).encode())
