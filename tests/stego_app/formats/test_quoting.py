"""Names that YAML, XML and other programs' rules about folders could change on their way."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from test_round_trips import painted, with_image, write

from models.errors import StegoError
from stego_app.formats.label_map import Classes, LabelMap
from stego_app.formats.quoting import xml_text, yaml_text
from stego_app.formats.registry import find_format

NAMES = ("tree \U0001f333", 'a "b" \\ud83c\\udf33', "C\N{NO-BREAK SPACE}d", "ü", "#: {x}")


def read_back(name: str, path: Path) -> tuple[Classes, list[str], list[np.ndarray]]:
    read = find_format(name).read
    assert read is not None
    found = read(path)
    return found.classes, found.names, [item.labels for item in found.maps]


@given(st.text(st.characters(codec="utf-8")))
def test_yaml_gives_back_any_text(text: str) -> None:
    assert yaml.safe_load(yaml_text(text)) == text


@given(st.text(st.characters(codec="utf-8")))
def test_xml_takes_what_is_left_of_any_text(text: str) -> None:
    kept = xml_text(text)
    element = ElementTree.Element("a", name=kept)
    assert ElementTree.fromstring(ElementTree.tostring(element)).get("name") == kept
    assert len(kept) == len(text)


@pytest.mark.parametrize("name", ["yolo", "labelme", "cvat", "label-studio"])
def test_names_beyond_sixteen_bits_come_back(name: str, tmp_path: Path) -> None:
    classes = Classes.of(NAMES)
    item = with_image(tmp_path / "photos", "a.png", np.array([[0, 1, 2, 3, 4, 255]] * 4, np.uint8))
    found, _, _ = read_back(name, write(find_format(name), tmp_path, [item], classes))
    assert found.names == NAMES
    assert np.array_equal(found.colors, classes.colors)


def test_cvat_keeps_spaces_of_other_kinds_in_the_names_of_images(tmp_path: Path) -> None:
    name = "Screenshot at 5.03\N{NARROW NO-BREAK SPACE}PM \N{ZERO WIDTH NON-JOINER}\N{IDEOGRAPHIC SPACE}.png"
    file = write(find_format("cvat"), tmp_path, [LabelMap(name, "a", painted((9, 9), 1))])
    assert read_back("cvat", file)[1] == [name]


@pytest.mark.parametrize("name", ["cvat", "label-studio"])
def test_control_characters_in_names_leave_readable_xml(name: str, tmp_path: Path) -> None:
    item = LabelMap("a\x01.png", "a", np.array([[0, 1]], np.uint8))
    found, _, (labels,) = read_back(name, write(find_format(name), tmp_path, [item], Classes.of(["soil\x02", "leaf\n"])))
    assert found.names == ("soil\ufffd", "leaf\ufffd")
    assert labels.tolist() == [[0, 1]]


@pytest.mark.parametrize(("before", "after"), [('z_order="0"', 'z_order="1.5"'), (' width="9" height', ' width="²" height'), ("left=", 'left="-1" x=')])
def test_a_number_of_cvat_that_is_none_is_one_clear_line(before: str, after: str, tmp_path: Path) -> None:
    file = write(find_format("cvat"), tmp_path, [LabelMap("a.png", "a", np.zeros((8, 9), np.uint8))], Classes.of(["soil"]))
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(StegoError, match=r"cvat.xml: image 'a.png': '\w+' is '.*'; expected a whole number"):
        read_back("cvat", file)


def test_colours_of_labelmerc_that_are_none_are_passed_over(tmp_path: Path) -> None:
    folder = write(find_format("labelme"), tmp_path, [LabelMap("a.png", "a", np.array([[0, 1]], np.uint8))], Classes.of(["soil", "leaf"]))
    (folder / "labelmerc").write_text("labels: [soil, leaf]\nlabel_colors: {soil: [1, 2], leaf: [300, 0, 0]}\n")
    assert np.array_equal(read_back("labelme", folder)[0].colors, Classes.of(["soil", "leaf"]).colors)


@pytest.mark.parametrize("key", ["a", "images/a", "train/images/deep/a.b", "images/images/a"])
def test_yolo_texts_lie_where_ultralytics_looks_for_them(key: str, tmp_path: Path) -> None:
    labels = painted((20, 30), 2)
    item = with_image(tmp_path / "photos", f"{key}.png", labels)
    folder = write(find_format("yolo"), tmp_path, [LabelMap(item.name, key, labels, item.image)], Classes.of(map(str, range(9))))
    (image,) = (folder / "images").rglob("*.png")
    # ultralytics.data.utils.img2label_paths: the last folder of that name is taken.
    looked_for = Path("/labels/".join(str(image).rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt")
    assert looked_for.is_file()
    _, names, (found,) = read_back("yolo", folder)
    assert names == [f"{key}.png"]
    assert np.array_equal(found, labels)
