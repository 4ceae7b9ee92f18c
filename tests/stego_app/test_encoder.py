"""Overlapping windows cover everything and blend to the whole."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from stego_app.encoder import OVERLAP, blend_windows, window_starts


@given(st.integers(1, 200), st.integers(2, 64))
def test_windows_cover_and_overlap(length: int, window: int) -> None:
    starts = window_starts(length, window)
    covered = {position for start in starts for position in range(start, min(start + window, length))}
    assert covered == set(range(length))
    assert starts[-1] == max(0, length - window)
    for first, second in itertools.pairwise(starts):
        assert first < second <= first + max(1, int(window * (1 - OVERLAP)))


@given(st.integers(5, 24), st.integers(5, 24), st.integers(3, 12))
def test_blending_cuts_of_a_map_gives_it_back(height: int, width: int, window: int) -> None:
    whole = torch.randn(3, height, width, generator=torch.Generator().manual_seed(height * width))
    corners = [(top, left) for top in window_starts(height, window) for left in window_starts(width, window)]
    parts = [whole[:, top : top + window, left : left + window] for top, left in corners]
    assert torch.allclose(blend_windows(parts, corners, (height, width)), whole, atol=1e-5)
