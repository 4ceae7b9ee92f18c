"""ISPRS Potsdam with three classes, as prepared for IIC and used by STEGO (Ji et al. 2019, supplement; Hamilton et al. 2022, section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat

from models.errors import StegoError
from stego_app.data.dataset import Dataset, LabelRule, Sample, chosen_splits, read_list
from stego_app.images import ImageError, read_image, read_index_image

CLASSES = ("roads and cars", "buildings and clutter", "vegetation and trees")
FINE_TO_COARSE = {0: 0, 4: 0, 1: 1, 5: 1, 2: 2, 3: 2}
"""0 impervious surface, 1 building, 2 low vegetation, 3 tree, 4 car, 5 clutter."""

COLOURS = {(255, 255, 255): 0, (0, 0, 255): 1, (0, 255, 255): 2, (0, 255, 0): 3, (255, 255, 0): 4, (255, 0, 0): 5}
"""The colours of the published label tiles: corners of the colour cube."""

LISTS = {"train": "labelled_train.txt", "val": "labelled_test.txt", "unlabelled_train": "unlabelled_train.txt", "all": "all.txt"}

_KINDS = (".mat", ".tif", ".tiff", ".png")


class PotsdamDataset(Dataset):
    """Tiles in .mat files (``img`` (H, W, 3 or 4) uint8, of which the first three channels are red, green, blue; ``gt`` (H, W)), TIFF or PNG."""

    def read_image(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB; near infrared is left out.

        Raises:
            ImageError: the file cannot be read, or holds no such array.
        """
        if sample.image.suffix != ".mat":
            return read_image(sample.image)
        tile = read_mat(sample.image, "img")
        if tile.ndim != 3 or tile.shape[2] not in (3, 4) or tile.dtype != np.uint8 or 0 in tile.shape:
            raise ImageError(f"{sample.image}: img is {tile.shape} of {tile.dtype}; expected (height, width, 3 or 4) of uint8")
        return np.ascontiguousarray(tile[..., :3], dtype=np.uint8)

    def read_values(self, path: Path) -> npt.NDArray[np.integer]:
        """Fine label values (H, W), 0 to 5, from an array, an index picture or the published colours."""
        if path.suffix == ".mat":
            values = read_mat(path, "gt")
            if values.ndim != 2 or values.dtype.kind not in "iu":
                raise StegoError(f"{path}: gt is {values.shape} of {values.dtype}; expected (height, width) of whole numbers")
            return values.astype(np.int64)
        try:
            return read_index_image(path)
        except ImageError as not_index:
            try:
                return values_of_colours(read_image(path), path)
            except ImageError:
                raise not_index from None


def is_potsdam(root: Path) -> bool:
    """Whether ``root`` has ``imgs`` beside ``gt`` or one of the published lists."""
    return (root / "imgs").is_dir() and ((root / "gt").is_dir() or any((root / name).is_file() for name in LISTS.values()))


def open_potsdam3(root: Path, split: str | None = None) -> Dataset:
    """``imgs/{id}.mat``, ``gt/{id}.mat`` and lists of ids; splits train (labelled_train.txt), val (labelled_test.txt), unlabelled_train, all.

    Without a split, the list of all, or every tile where there is none. Tiles may be .tif or .png as well.

    Raises:
        StegoError: not this layout, no such split, or an image, or the label of a labelled split, that is missing.
    """
    if not (root / "imgs").is_dir():
        raise StegoError(f"{root}: not in the Potsdam layout; expected imgs/ with tiles in .mat, .tif or .png, gt/ and lists such as labelled_train.txt")
    present = {name: file for name, file in LISTS.items() if (root / file).is_file()}
    if split is None and "all" not in present:
        lists: list[tuple[str, list[str]]] = [("all", sorted({path.stem for path in (root / "imgs").iterdir() if path.suffix in _KINDS}))]
    else:
        lists = [(file, read_list(root / file)) for file in chosen_splits(split or "all", present, root)]
    samples = [_sample(root, id_, labelled=file.startswith("labelled_")) for file, ids in lists for id_ in ids]
    if not samples:
        raise StegoError(f"{root}: no tiles found in imgs/ or in the lists")
    rule = LabelRule.of(FINE_TO_COARSE, expected="0 to 5, or 255 for void")
    return PotsdamDataset(f"Potsdam-3 {split or 'all'}", root, samples, CLASSES, rule)


def read_mat(path: Path, variable: str) -> npt.NDArray[np.generic]:
    """The array ``variable`` of a MATLAB file.

    Raises:
        ImageError: missing, damaged, of a kind that SciPy cannot read (7.3), or without the array.
    """
    try:
        content: Mapping[str, object] = loadmat(path, variable_names=[variable])
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except Exception as error:  # SciPy meets damaged files with exceptions of every kind
        raise ImageError(f"{path}: not a MATLAB file up to version 7.2, or damaged ({' '.join(str(error).split())})") from error
    if not isinstance(array := content.get(variable), np.ndarray):
        raise ImageError(f"{path}: holds no array {variable!r}")
    return array


def corner_of_colours(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The corner of the colour cube that each pixel of (H, W, 3) is nearest to: (H, W), 4 for red + 2 for green + 1 for blue.

    Two of ISPRS's label files are off their palette (``top_potsdam_4_12`` was compressed with losses, ``top_potsdam_6_7`` has
    cars in (252, 255, 0)), so equality would lose them. All colours in use are corners, which leaves no doubt.
    """
    corners: npt.NDArray[np.uint8] = (picture > 127).astype(np.uint8) @ np.array([4, 2, 1], dtype=np.uint8)
    return corners


def values_of_colours(picture: npt.NDArray[np.uint8], path: Path) -> npt.NDArray[np.int64]:
    """Fine label values (H, W) of a label tile (H, W, 3) in the published colours, or near them.

    Raises:
        StegoError: a colour that is nearest to black or magenta, which mean nothing.
    """
    known = {(red > 127) * 4 + (green > 127) * 2 + (blue > 127): value for (red, green, blue), value in COLOURS.items()}
    corners = corner_of_colours(picture)
    meaningless = ~np.isin(corners, list(known))
    if meaningless.any():
        found = np.unique(picture[meaningless], axis=0)
        shown = ", ".join(_hex(colour) for colour in found[:8]) + (", …" if len(found) > 8 else "")
        raise StegoError(f"{path}: unknown label colours {shown}; expected {', '.join(map(_hex, COLOURS))}")
    table = np.zeros(8, dtype=np.int64)
    table[list(known)] = list(known.values())
    return table[corners]


def _hex(colour: Sequence[int] | npt.NDArray[np.uint8]) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in colour)


def _sample(root: Path, id_: str, *, labelled: bool) -> Sample:
    image, label = (_tile(root / folder, id_) for folder in ("imgs", "gt"))
    if image is None:
        raise StegoError(f"{root / 'imgs' / id_}.mat: no such image (nor .tif or .png)")
    if label is None and labelled:
        raise StegoError(f"{root / 'gt' / id_}.mat: no such label file (nor .tif or .png)")
    return Sample(image, id_, label)


def _tile(folder: Path, id_: str) -> Path | None:
    return next((path for kind in _KINDS if (path := folder / f"{id_}{kind}").is_file()), None)
