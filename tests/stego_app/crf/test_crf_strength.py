"""The strength of the CRF, as the page's slider sets it."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import StegoError
from stego_app.crf import CrfSettings, refine


def test_one_changes_nothing_and_nought_takes_the_neighbours_out() -> None:
    assert CrfSettings().scaled(1) == CrfSettings()
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    probabilities = random.dirichlet(np.ones(3), (24, 32)).transpose(2, 0, 1).astype(np.float32)
    np.testing.assert_allclose(refine(image, probabilities, CrfSettings().scaled(0)), probabilities, atol=1e-4)


def test_stronger_means_fewer_borders() -> None:
    random = np.random.default_rng(0)
    image = np.full((24, 32, 3), 100, np.uint8)
    probabilities = random.dirichlet(np.ones(3), (24, 32)).transpose(2, 0, 1).astype(np.float32)
    borders = []
    for strength in (0.0, 0.1, 0.25, 1.0):
        labels = refine(image, probabilities, CrfSettings().scaled(strength)).argmax(0)
        borders.append(int((labels[:, 1:] != labels[:, :-1]).sum()))
    assert borders == sorted(borders, reverse=True)
    assert borders[0] > borders[-1]


@pytest.mark.parametrize("strength", [-0.1, 2.1, float("nan")])
def test_out_of_range(strength: float) -> None:
    with pytest.raises(StegoError, match="strength"):
        CrfSettings().scaled(strength)
