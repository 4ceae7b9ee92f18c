"""Run-length codes of masks: there and back, and against the codes written by hand."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from models.errors import StegoError
from stego_app.formats import brush_rle, coco_rle, read_brush_rle, read_coco_rle

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


def bits_by_hand(mask: npt.NDArray[np.bool_]) -> list[int]:
    """The brush's code written run by run with text, as its description says."""
    values = [255 if value else 0 for value in mask.ravel() for _ in range(4)]
    text = f"{len(values):032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    start = 0
    while start < len(values):
        stop = start
        while stop < len(values) and values[stop] == values[start] and stop - start < 65536:
            stop += 1
        choice, size = next((index, size) for index, size in enumerate((3, 4, 8, 16)) if stop - start <= 1 << size)
        text += "1" + f"{choice:02b}" + f"{stop - start - 1:0{size}b}" + f"{values[start]:08b}"
        start = stop
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


@given(MASKS)
def test_brushes_come_back_and_are_what_the_description_says(mask: npt.NDArray[np.bool_]) -> None:
    packed = brush_rle(mask)
    assert packed == bits_by_hand(mask)
    assert np.array_equal(read_brush_rle(packed, *mask.shape), np.where(mask, 255, 0))


def test_runs_longer_than_the_code_can_say_are_cut() -> None:
    mask = np.zeros((300, 400), dtype=np.uint8)
    mask[100:250] = 7
    packed = brush_rle(mask)
    assert packed == bits_by_hand(mask != 0)
    assert np.array_equal(read_brush_rle(packed, 300, 400) > 0, mask > 0)


def test_a_code_with_single_values_is_read_too() -> None:
    text = f"{8:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16)) + "0" + "00" + "111" + "".join(f"{value:08b}" for value in range(8))
    text += "0" * (-len(text) % 8)
    assert read_brush_rle([int(text[at : at + 8], 2) for at in range(0, len(text), 8)], 1, 2).tolist() == [[3, 7]]


@pytest.mark.parametrize("rle", [[], [1, 2, 3], [300] * 20, [0] * 40, brush_rle(np.ones((4, 4)))[:-2], brush_rle(np.ones((4, 5)))])
def test_damaged_brushes_are_refused_in_one_line(rle: list[int]) -> None:
    with pytest.raises(StegoError, match="4 × 4 pixels"):
        read_brush_rle(rle, 4, 4)


def test_a_brush_of_a_size_that_no_image_has_is_refused_in_one_line() -> None:
    with pytest.raises(StegoError, match="expected the run-length code of"):
        read_brush_rle(brush_rle(np.ones((4, 4))), 10**30, 4)


@given(MASKS, st.booleans())
def test_coco_codes_come_back_and_survive_json(mask: npt.NDArray[np.bool_], column_major: bool) -> None:
    rle = json.loads(json.dumps(coco_rle(np.asfortranarray(mask) if column_major else mask)))
    assert rle["size"] == list(mask.shape)
    assert np.array_equal(coco_mask.decode(rle), mask)
    assert np.array_equal(read_coco_rle(rle), mask)


def test_uncompressed_counts_are_read_down_the_columns() -> None:
    assert read_coco_rle({"size": [2, 3], "counts": [1, 2, 3]}).tolist() == [[False, True, False], [True, False, False]]


@pytest.mark.parametrize(
    "rle",
    [
        {},
        {"size": [2, 2]},
        {"size": [2, 2], "counts": [9]},
        {"size": [2, 2], "counts": "04"[:1]},
        {"size": [2, 2], "counts": "é"},
        {"size": [50, 50], "counts": coco_rle(np.ones((4, 4)))["counts"]},
        {"size": "x", "counts": []},
        {"size": [2, 2], "counts": [-1, 5]},
    ],
)
def test_damaged_coco_codes_are_refused_in_one_line(rle: dict[str, object]) -> None:
    with pytest.raises(StegoError, match="expected size"):
        read_coco_rle(rle)
