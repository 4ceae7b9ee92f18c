"""Which image a LabelMe file names: one beside it or up the folders, or where that helps nobody, the name alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stego_app.formats.image_file import ImageFile
from stego_app.formats.label_map import Classes, LabelMap
from stego_app.formats.registry import find_format


@pytest.mark.parametrize(("private", "expected"), [(False, "../../../photos/deep/a.jpg"), (True, "a.jpg")])
def test_the_path_of_the_image(private: bool, expected: str, tmp_path: Path) -> None:
    image = ImageFile(tmp_path / "photos" / "deep" / "a.jpg", private=private)
    item = LabelMap("deep/a.jpg", "deep/a", np.zeros((4, 5), np.uint8), image)
    labelme, classes = find_format("labelme"), Classes.of(["sky"])
    with labelme.writer(tmp_path / "out", classes) as add:
        add(labelme.encode(item, classes))
    assert json.loads((tmp_path / "out" / "labelme" / "deep" / "a.json").read_text())["imagePath"] == expected
