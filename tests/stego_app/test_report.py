"""The training report: small in memory, whole on disk, one line where it cannot be written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.errors import StegoError
from stego_app.classes import class_table
from stego_app.report.html import reduced
from stego_app.report.training_report import TrainingReport, write_report


def report() -> TrainingReport:
    table = class_table(np.array([[0, 1]]), np.array([0.75, 0.25]), (), 2)
    image = np.full((20, 30, 3), 90, np.uint8)
    return TrainingReport("Classes", "lead", table, [], ["a note"], [("a", image, image)], {"seed": 0}, failures=[("<b>.png", "no picture")])


@pytest.mark.parametrize(("size", "expected"), [((3000, 6000), (480, 960)), ((2000, 500), (960, 240)), ((40, 60), (40, 60)), ((1, 4000), (1, 960))])
def test_samples_are_reduced_and_small_ones_kept(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    small = reduced(image)
    assert small.shape == (*expected, 3)
    if size == expected:
        np.testing.assert_array_equal(small, image)
    else:
        assert abs(float(small.mean()) - float(image.mean())) < 2
    assert small.base is None or small.base.nbytes <= small.nbytes  # holds on to nothing of the large one


def test_everything_is_there_and_nothing_unfinished(tmp_path: Path) -> None:
    page = write_report(tmp_path / "deep" / "report", report())
    assert sorted(path.name for path in page.parent.iterdir()) == ["cluster_sizes.png", "report.html", "report.json"]
    text = page.read_text()
    assert "a note" in text
    assert "&lt;b&gt;.png" in text


def test_what_rises_in_training_is_not_called_a_loss(tmp_path: Path) -> None:
    text = write_report(tmp_path, replace(report(), losses={"cosine to the target code": [0.1, 0.9]})).read_text()
    assert "<h2>Training of the head</h2>" in text
    assert 'alt="cosine to the target code against the step"' in text
    assert "loss" not in text.lower().replace("losses.png", "")


def test_names_of_images_that_are_no_text_do_not_end_the_report(tmp_path: Path) -> None:
    image = np.full((20, 30, 3), 90, np.uint8)
    named = replace(report(), title="Classes of b\udcff", samples=[("a\udcff", image, image)], failures=[("c\udcff.png", "no picture")])
    text = write_report(tmp_path, named).read_text(encoding="utf-8")
    assert all(f"{name}\ufffd" in text for name in "abc")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine")
    with pytest.raises(StegoError, match="cannot be written") as caught:
        write_report(tmp_path / "report", report())
    assert "\n" not in str(caught.value)
    assert (tmp_path / "report").read_text() == "mine"
