from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import normalize

from stego_app.discovery.halves import half_of


def test_codes_that_a_half_lacks_go_with_the_one_most_like_them() -> None:
    random = np.random.default_rng(0)
    book = normalize(torch.from_numpy(random.normal(size=(9, 4))).float(), dim=1)
    shown = np.array([1, 0, 1, 1, 0, 0, 1, 1, 0], dtype=bool)
    half = half_of(np.zeros((9, 9)), np.zeros((9, 9)), np.zeros((9, 9)), 0.3, shown, book)
    there = np.flatnonzero(shown).tolist()
    for code in range(9):
        cosines = [float(book[code] @ book[other]) for other in there]
        assert half.carry[code] == int(np.argmax(cosines))
    assert [there[place] for place in half.carry[shown]] == there


def test_pairs_are_those_of_the_codes_it_shows() -> None:
    random = np.random.default_rng(1)
    cross, adjacent, same_image = random.random((3, 5, 5))
    shown = np.array([True, False, True, True, False])
    half = half_of(cross, adjacent, same_image, 0.5, shown, torch.eye(5))
    kept = [0, 2, 3]
    parts = []
    for counts in (cross, adjacent):
        table = np.array([[counts[a, b] + counts[b, a] for b in kept] for a in kept])
        parts.append(table / table.sum())
    expected = (parts[0] + 0.5 * parts[1] + 1e-6 / 9) / (1.5 + 1e-6)
    np.testing.assert_allclose(half.pairs.joint, expected, rtol=1e-9)
    together = np.array([[same_image[a, b] for b in kept] for a in kept])
    np.testing.assert_allclose(half.pairs.same_image, together / together.sum())
    assert half.cross is cross
