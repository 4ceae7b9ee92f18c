from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from stego_app.discovery.correspondences import CrossLinks, same_image_pairs
from stego_app.discovery.division import Way, divide
from stego_app.discovery.draws import CodeMaps, Draw
from stego_app.discovery.image_weight import STRONG_IMAGE_WEIGHT, choose_image_weight
from stego_app.discovery.pairs import IMAGE_WEIGHT, Pairs

KIND, THING = np.divmod(np.arange(40) // 10, 2)
"""Forty codes: of two kinds of image, each with a background and an object of its own."""


def draw(seed: int, across: float) -> Draw:
    """Ten images of each kind, which show all that their kind has, the same in every draw. ``across``: how much things of both kinds correspond."""
    random, places = np.random.default_rng(seed), np.random.default_rng(0)
    same_kind, same_thing = KIND[:, None] == KIND[None], THING[:, None] == THING[None]
    joint = random.poisson(60 * np.where(same_kind, np.where(same_thing, 1.0, 0.3), across * same_thing)) + 1e-6
    maps = [places.permutation(np.repeat(np.flatnonzero(kind == KIND), 2)).reshape(5, 8).astype(np.int16) for kind in [0, 1] * 10]
    pairs = Pairs((joint + joint.T) / (2 * joint.sum()), same_image_pairs(maps, 40))
    none = np.zeros(0, dtype=np.int64)
    return Draw(none, torch.eye(40), torch.zeros(0, dtype=torch.long), CrossLinks(joint, 1.0), CodeMaps(np.arange(20), maps, []), pairs)


def test_where_images_come_in_kinds_that_share_little_classes_lie_within_images() -> None:
    draws = [draw(seed, across=0.05) for seed in range(3)]
    assert adjusted_rand_score(KIND, divide(draws[0].pairs, 2, Way(2), seed=0)) == 1  # as usual the kinds are told apart
    weight = choose_image_weight(draws, 2, seed=0)
    assert weight == STRONG_IMAGE_WEIGHT
    assert adjusted_rand_score(THING, divide(draws[0].pairs, 2, Way(2, weight), seed=0)) == 1


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_where_things_are_shared_or_classes_are_enough_the_usual_weight_is_kept(classes: int) -> None:
    draws = [draw(seed, across=0.9) for seed in range(3)]
    assert choose_image_weight(draws, classes, seed=0) == IMAGE_WEIGHT


def test_one_draw_or_none_that_can_be_told_apart_says_nothing() -> None:
    assert choose_image_weight([draw(0, across=0.05)], 2, seed=0) == IMAGE_WEIGHT
    assert choose_image_weight([draw(0, across=0.05)] * 2, 41, seed=0) == IMAGE_WEIGHT
