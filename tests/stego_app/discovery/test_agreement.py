"""Agreement and information within images, against loops over pairs and scikit-learn image by image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, mutual_info_score

from stego_app.discovery.agreement import agreement_within_images, information_within_images


def naive(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], images: npt.NDArray[np.int64]) -> float:
    """Over all pairs of patches of one image: together in both, less what chance gives in each image."""
    both = one = other = expected = 0.0
    for image in set(images.tolist()):
        here = np.flatnonzero(images == image)
        pairs = [(a, b) for number, a in enumerate(here) for b in here[number + 1 :]]
        in_first = sum(first[a] == first[b] for a, b in pairs)
        in_second = sum(second[a] == second[b] for a, b in pairs)
        both += sum(first[a] == first[b] and second[a] == second[b] for a, b in pairs)
        one, other = one + in_first, other + in_second
        expected += in_first * in_second / len(pairs) if pairs else 0
    most = (one + other) / 2
    return 0.0 if most - expected < 1e-12 else (both - expected) / (most - expected)


labels = st.lists(st.integers(0, 3), min_size=14, max_size=14)


@settings(max_examples=60, deadline=None)
@given(labels, labels, st.lists(st.integers(3, 6), min_size=14, max_size=14))
def test_it_is_its_definition_pair_by_pair(first: list[int], second: list[int], images: list[int]) -> None:
    given_ = np.array(first), np.array(second), np.array(images)
    assert agreement_within_images(*given_) == pytest.approx(naive(*given_))
    assert agreement_within_images(*given_) <= 1 + 1e-12


def test_in_one_image_it_is_the_adjusted_rand_index() -> None:
    first, second = np.random.default_rng(0).integers(0, 4, (2, 200))
    second[:120] = first[:120]
    assert agreement_within_images(first, second, np.zeros(200, dtype=np.int64)) == pytest.approx(adjusted_rand_score(first, second))


def test_telling_whole_images_apart_is_no_agreement_on_how_they_are_divided() -> None:
    images = np.repeat(np.arange(10), 20)
    assert agreement_within_images(images % 2, images % 2, images) == 0
    parts = np.tile(np.arange(20) % 3, 10)
    assert agreement_within_images(parts, (parts + 1) % 3, images) == 1
    assert information_within_images(images % 2, images % 2, images) == pytest.approx(0)
    assert information_within_images(parts, (parts + 1) % 3, images) == pytest.approx(mutual_info_score(parts[:20], parts[:20]))


@settings(max_examples=40, deadline=None)
@given(labels, labels, st.lists(st.integers(3, 6), min_size=14, max_size=14))
def test_information_is_that_of_each_image_weighted_by_its_patches(first: list[int], second: list[int], images: list[int]) -> None:
    one, other, image = np.array(first), np.array(second), np.array(images)
    expected = sum(mutual_info_score(one[image == i], other[image == i]) * (image == i).sum() for i in set(images)) / 14
    assert information_within_images(one, other, image) == pytest.approx(expected, abs=1e-9)
