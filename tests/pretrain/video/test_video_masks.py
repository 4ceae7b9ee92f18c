"""Tube masks: constant in time, disjoint from what is seen, of the shares that are asked for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.video.masks import LONG_RANGE, SHORT_RANGE, MaskKind, block_shape, tube_masks
from pretrain.video.positions import Grid


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(4, 16), st.integers(4, 16), st.sampled_from([SHORT_RANGE, LONG_RANGE, MaskKind(1, 0.9)]), st.integers(0, 2**16))
def test_masks_are_tubes_and_leave_something_to_see(times: int, rows: int, columns: int, kind: MaskKind, seed: int) -> None:
    torch.manual_seed(seed)
    grid = Grid(times, rows, columns)
    seen, masked = tube_masks(3, grid, kind)
    assert seen.shape[0] == masked.shape[0] == 3
    for keep, hidden in zip(seen, masked, strict=True):
        assert not set(keep.tolist()) & set(hidden.tolist())
        assert 0 < len(keep) + len(hidden) <= times * rows * columns
        for one in (keep, hidden):
            assert len(one) > 0
            assert one.tolist() == sorted(set(one.tolist()))
            places = one.view(times, -1)
            for time in range(times):
                assert torch.equal(places[time] - time * rows * columns, places[0])


def test_blocks_have_the_area_and_the_aspects_of_the_paper() -> None:
    grid = Grid(1, 40, 40)
    torch.manual_seed(0)
    for kind in (SHORT_RANGE, LONG_RANGE):
        shapes = [block_shape(grid, kind) for _ in range(200)]
        areas = torch.tensor([rows * columns / 1600 for rows, columns in shapes])
        aspects = torch.tensor([rows / columns for rows, columns in shapes])
        assert areas.mean() == pytest.approx(kind.scale, rel=0.05)
        assert aspects.min() > 0.7
        assert aspects.max() < 1.6
        assert aspects.max() > 1.2


def test_most_of_a_clip_is_masked_as_in_the_paper() -> None:
    torch.manual_seed(0)
    shares = []
    for kind in (SHORT_RANGE, LONG_RANGE):
        parts = [tube_masks(1, Grid(2, 14, 14), kind) for _ in range(100)]
        assert all(seen.shape[1] + masked.shape[1] == 2 * 14 * 14 for seen, masked in parts)  # a single clip loses nothing
        shares.append(sum(masked.shape[1] for _, masked in parts) / (100 * 2 * 14 * 14))
    assert 0.55 < shares[0] < 0.8  # eight blocks of 15 %, overlapping
    assert 0.8 < shares[1] < 0.95  # two of 70 %


def test_places_lost_for_one_length_are_lost_in_all_frames() -> None:
    torch.manual_seed(3)
    grid = Grid(3, 8, 8)
    seen, masked = tube_masks(16, grid, SHORT_RANGE)
    lost = [set(range(192)) - set(keep.tolist()) - set(hidden.tolist()) for keep, hidden in zip(seen, masked, strict=True)]
    assert any(lost)
    assert all({index % 64 for index in one} == {index - 64 for index in one if 64 <= index < 128} for one in lost)
