"""Agreement of two label maps against trying every matching."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from models.errors import StegoError
from stego_app.compare_view import agreement, differing_picture


@pytest.mark.parametrize("seed", range(5))
def test_the_best_of_all_matchings_is_found(seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 4, (9, 7)).astype(np.uint8), random.integers(0, 4, (9, 7)).astype(np.uint8)
    found = agreement(first, second)
    best = max(np.mean(np.array(order)[first] == second) for order in permutations(range(4)))
    assert found.share == pytest.approx(best)
    assert found.differ.mean() == pytest.approx(1 - best)
    partner = dict(found.matched)
    np.testing.assert_array_equal(found.differ, np.array([[partner[value] for value in row] for row in first]) != second)


def test_names_do_not_matter_but_classes_without_a_partner_do() -> None:
    first = np.array([[0, 0, 1, 1, 255]], np.uint8)
    assert agreement(first, np.array([[7, 7, 3, 3, 255]], np.uint8)).share == 1
    coarse = agreement(first, np.zeros((1, 5), np.uint8))
    assert coarse.share == pytest.approx(0.4)
    assert len(coarse.matched) == 1


def test_sizes_must_be_equal() -> None:
    with pytest.raises(StegoError, match="same size"):
        agreement(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))


def test_what_differs_is_coloured() -> None:
    shown = differing_picture(np.full((1, 2, 3), 100, np.uint8), np.array([[True, False]])).astype(int)
    assert np.ptp(shown[0, 1]) == 0
    assert shown[0, 0, 0] > 150 > shown[0, 0, 1]
