"""Every format gives back what went in: pixel for pixel where it can, names and colours too."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from models.errors import StegoError
from stego_app.formats.image_file import ImageFile
from stego_app.formats.label_map import Classes, LabelMap
from stego_app.formats.registry import Format, find_format, formats

READABLE = [name for name, entry in formats().items() if entry.read is not None]
EXACT = [name for name in READABLE if formats()[name].exact]
NAMES = ("road", "tree, leafy", '<sky> & "more"', "background", "road", "a:b#c", "Straße 道路", "'quoted'")
COLORS = ((0, 0, 0), (220, 30, 30), (220, 30, 30), (224, 224, 192), (1, 2, 3), (255, 255, 255), (30, 200, 30), (0, 0, 1))
CLASSES = Classes.of(NAMES, COLORS)
LABELS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24), elements=st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 255]))


def write(entry: Format, out: Path, maps: Sequence[LabelMap], classes: Classes = CLASSES) -> Path:
    """The maps in a format; where it is."""
    with entry.writer(out, classes) as add:
        for item in maps:
            add(entry.encode(item, classes))
    for name in entry.outputs(list(maps)):
        assert (out / name).is_file(), name
    return out / entry.product


def with_image(folder: Path, name: str, labels: npt.NDArray[np.uint8]) -> LabelMap:
    """A label map whose image lies in ``folder``."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*labels.shape, 3), dtype=np.uint8)).save(path)
    return LabelMap(name, str(Path(name).with_suffix("")), labels, ImageFile(path))


def painted(size: tuple[int, int], seed: int) -> npt.NDArray[np.uint8]:
    """A label map of blobs with holes and specks, as segmentations are."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(9, *size))
    smooth = np.stack([cv2.GaussianBlur(layer, (0, 0), 3) for layer in noise])
    labels = smooth.argmax(axis=0).astype(np.uint8)
    labels[labels == 8] = 255
    return labels


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(maps=st.lists(LABELS, min_size=1, max_size=3))
def test_exact_formats_give_back_every_pixel(name: str, maps: list[npt.NDArray[np.uint8]]) -> None:
    entry = find_format(name)
    with tempfile.TemporaryDirectory() as folder:
        items = [LabelMap(f"deep/{index}.jpg", f"deep/{index}", labels) for index, labels in enumerate(maps)]
        found = (entry.read or pytest.fail)(write(entry, Path(folder), items))
        back = {item.key: item.labels for item in found.maps}
    assert set(back) == {item.key for item in items}
    for item in items:
        assert back[item.key].dtype == np.uint8
        assert np.array_equal(back[item.key], item.labels)


@pytest.mark.parametrize("name", READABLE)
def test_names_and_colours_come_back(name: str, tmp_path: Path) -> None:
    entry = find_format(name)
    item = with_image(tmp_path / "photos", "a.jpg", painted((30, 40), 0))
    found = (entry.read or pytest.fail)(write(entry, tmp_path, [item]))
    assert len(found.classes.names) == len(NAMES)
    for back, given_name in zip(found.classes.names, NAMES, strict=True):
        assert back[:3].replace("_", ":") == given_name[:3]
    assert np.abs(found.classes.colors.astype(int) - np.array(COLORS)).max() <= 2
    assert [name.rpartition(".")[0] for name in found.names] == ["a"]


@pytest.mark.parametrize("name", READABLE)
@pytest.mark.parametrize("seed", [0, 1])
def test_real_shapes_come_back(name: str, seed: int, tmp_path: Path) -> None:
    entry = find_format(name)
    labels = painted((123, 178), seed)
    item = with_image(tmp_path / "photos", "deep/a.png", labels)
    found = (entry.read or pytest.fail)(write(entry, tmp_path, [item]))
    (back,) = [item.labels for item in found.maps]
    for label in range(len(NAMES)):
        both, either = ((back == label) & (labels == label)).sum(), ((back == label) | (labels == label)).sum()
        assert either == 0 or both / either >= (1.0 if entry.exact else 0.98)
    if entry.exact:
        assert np.array_equal(back, labels)


@settings(max_examples=60, deadline=None)
@given(labels=LABELS)
def test_polygons_give_back_small_maps_too(labels: npt.NDArray[np.uint8]) -> None:
    entry = find_format("yolo")
    with tempfile.TemporaryDirectory() as folder:
        item = with_image(Path(folder) / "photos", "a.png", labels)
        assert entry.read is not None
        (back,) = [item.labels for item in entry.read(write(entry, Path(folder), [item])).maps]
    assert np.array_equal(back, labels)


@pytest.mark.parametrize("name", list(formats()))
def test_the_same_maps_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    entry = find_format(name)
    items = [with_image(tmp_path / "photos", f"{index}.png", painted((40, 50), index)) for index in range(3)]
    made = []
    for folder in ("one", "two"):
        write(entry, tmp_path / folder, items)
        made.append({file: (tmp_path / folder / file).read_bytes() for file in entry.outputs(items)})
        assert not [path for path in (tmp_path / folder).rglob("*") if "part" in path.name]
    assert made[0] == made[1]


@pytest.mark.parametrize("name", list(formats()))
def test_a_failure_in_the_middle_leaves_no_half_file(name: str, tmp_path: Path) -> None:
    entry = find_format(name)
    item = with_image(tmp_path / "photos", "a.png", painted((20, 30), 0))

    def interrupted() -> None:
        with entry.writer(tmp_path / "out", CLASSES) as add:
            add(entry.encode(item, CLASSES))
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    whole = {"geotiff/a.tif", "yolo/images/a.png", "yolo/labels/a.txt", "labelme/a.json", "overlays/a.jpg", "label-studio.xml"}
    assert {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()} <= whole


@pytest.mark.parametrize("name", [name for name in formats() if name != "geotiff"])
def test_a_label_without_a_class_is_one_clear_line(name: str, tmp_path: Path) -> None:
    item = with_image(tmp_path, "a.png", np.full((4, 5), 8, np.uint8))
    with pytest.raises(StegoError, match=r"a.png: label 8 has no class; expected 0 to 7"):
        find_format(name).encode(item, CLASSES)


@pytest.mark.parametrize("name", READABLE)
@pytest.mark.parametrize("content", [b"", b"nonsense", b"{}", b"[{}]", b"<annotations><image/></annotations>", b"PK\x03\x04 cut short"])
def test_nonsense_is_one_clear_line(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "in.file"
    path.write_bytes(content)
    with pytest.raises(StegoError) as caught:
        list((find_format(name).read or pytest.fail)(path).maps)
    assert "\n" not in str(caught.value)
    assert "in.file" in str(caught.value)


@pytest.mark.parametrize("name", READABLE)
def test_missing_input_is_one_clear_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match="missing"):
        list((find_format(name).read or pytest.fail)(tmp_path / "missing").maps)


def test_unknown_formats_are_named_with_those_there_are() -> None:
    with pytest.raises(StegoError, match=r"format 'tiff': unknown; expected png, voc.*geotiff"):
        find_format("tiff")


@pytest.mark.parametrize("name", [name for name, entry in formats().items() if entry.needs_image])
def test_what_needs_images_says_so(name: str) -> None:
    with pytest.raises(StegoError, match="--images"):
        find_format(name).encode(LabelMap("a.jpg", "a", np.zeros((2, 2), np.uint8)), CLASSES)
