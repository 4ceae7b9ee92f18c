"""PNGs written row by row are those that Pillow reads back."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from stego_app.formats.png_rows import RowsPng

PALETTE = np.array([(1, 2, 3), (250, 0, 9)], np.uint8)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)), st.integers(1, 7), st.booleans())
def test_rows_come_back(labels: npt.NDArray[np.uint8], step: int, grey: bool) -> None:
    stream = io.BytesIO()
    with RowsPng(stream, *labels.shape, None if grey else PALETTE) as png:
        for top in range(0, len(labels), step):
            png.write(labels[top : top + step])
    with Image.open(stream) as image:
        assert image.mode == ("L" if grey else "P")
        assert grey or image.getpalette()[:9] == [1, 2, 3, 250, 0, 9, 0, 0, 0]
        assert np.array_equal(np.asarray(image), labels)


def test_missing_or_wrong_rows_are_noticed() -> None:
    png = RowsPng(io.BytesIO(), 3, 4, PALETTE)
    with pytest.raises(ValueError, match="expected 4 columns and at most 3 rows"):
        png.write(np.zeros((1, 5), np.uint8))
    with pytest.raises(ValueError, match="at most 3 rows"):
        png.write(np.zeros((4, 4), np.uint8))
    png.write(np.zeros((2, 4), np.uint8))
    with pytest.raises(ValueError, match="1 rows are missing"):
        png.__exit__(None, None, None)
