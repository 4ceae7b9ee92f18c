"""Where clusters meet: counted against plain loops, and what is joined across a border that is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from stego_app.discovery.borders import LIKE, SOFT, Borders, adjacent_cosines, borders, join_across
from stego_app.discovery.division import Way, divide, mend
from stego_app.discovery.pairs import Pairs
from stego_app.discovery.spectral import Matrix
from stego_app.discovery.tree import Labels

GRIDS = [(3, 4), (2, 5), (1, 1)]


def images(seed: int, size: int) -> tuple[list[Labels], list[torch.Tensor]]:
    """Maps of codes, and unit tokens of their patches."""
    random = np.random.default_rng(seed)
    maps = [random.integers(0, size, grid) for grid in GRIDS]
    tokens = [torch.from_numpy(random.normal(size=(grid[0] * grid[1], 6)).astype(np.float32)) for grid in GRIDS]
    return maps, [torch.nn.functional.normalize(found, dim=1) for found in tokens]


def counted(maps: list[Labels], tokens: list[torch.Tensor], size: int) -> Matrix:
    """(3, M, M): number, sum and sum of squares of the cosines of adjacent patches, patch by patch."""
    tables = np.zeros((3, size, size))
    for codes, found in zip(maps, tokens, strict=True):
        height, width = codes.shape
        for row in range(height):
            for column in range(width):
                for down, right in ((1, 0), (0, 1)):
                    if row + down < height and column + right < width:
                        here, there = row * width + column, (row + down) * width + column + right
                        cosine = float(found[here] @ found[there])
                        for first, second in ((here, there), (there, here)):
                            tables[:, codes.flat[first], codes.flat[second]] += (1, cosine, cosine**2)
    return tables


def test_borders_are_counted_as_a_plain_loop_counts_them() -> None:
    maps, tokens = images(0, 4)
    found = borders(maps, [adjacent_cosines(token, grid) for token, grid in zip(tokens, GRIDS, strict=True)], 4)
    np.testing.assert_allclose(found, counted(maps, tokens, 4), atol=1e-6)
    labels = np.array([1, 0, 1, 2])
    clusters = [labels[codes] for codes in maps]
    np.testing.assert_allclose(found.of(labels), counted(clusters, tokens, 3), atol=1e-6)


def test_the_change_is_in_standard_deviations_of_what_lies_inside() -> None:
    random = np.random.default_rng(1)
    inside = [random.normal(0.8, 0.1, 40), random.normal(0.6, 0.2, 60)]
    across = random.normal(0.5, 0.1, 30)
    tables = [np.array([[2 * power(inside[0]), power(across)], [power(across), 2 * power(inside[1])]]) for power in (len, np.sum, lambda x: np.sum(x**2))]
    expected = (np.mean([inside[0].mean(), inside[1].mean()]) - across.sum() / (30 + 0.03 * 30)) / np.mean([inside[0].std(), inside[1].std()])
    assert Borders(*tables).change()[0, 1] == pytest.approx(expected)


def test_nothing_is_known_of_clusters_that_never_meet_or_have_no_inside() -> None:
    count = np.array([[10.0, 0, 3], [0, 10, 3], [3, 3, 0]])
    change = Borders(count, 0.5 * count, 0.3 * count).change()
    assert change[0, 1] == np.inf
    assert change[0, 2] == np.inf


def met(sizes: tuple[int, ...], across: dict[tuple[int, int], float], number: int = 500) -> Borders:
    """Clusters whose adjacent patches have a cosine of 0.8 ± 0.1 inside, and the ones given where two meet."""
    count, cosine = np.diag(np.array(sizes, dtype=float)), np.diag(0.8 * np.array(sizes))
    for (first, second), mean in across.items():
        count[first, second] = count[second, first] = number
        cosine[first, second] = cosine[second, first] = number * mean
    return Borders(count, cosine, np.diag(0.65 * np.array(sizes)))


def test_a_thing_cut_in_two_is_joined_before_things_that_look_more_alike() -> None:
    tilted = np.array([[1, 0, 0], [0.5, 0.5**0.5, 0.5], [0.6, -0.8, 0], [0, 0, 1.0]])
    soft, hard = 0.8 - 0.1 * (SOFT - 0.8), 0.8 - 0.1 * (SOFT + 0.3)
    found = met((5000,) * 4, {(0, 1): soft, (0, 2): hard, (1, 3): hard})
    np.testing.assert_array_equal(join_across(np.arange(4), 3, found, tilted, np.ones(4)), [0, 0, 1, 2])
    # With no soft border left the pair that is most alike goes together.
    np.testing.assert_array_equal(join_across(np.arange(4), 3, met((5000,) * 4, {(0, 1): hard}), tilted, np.ones(4)), [0, 1, 0, 2])


def test_neither_a_soft_border_between_unlike_clusters_nor_a_short_one_joins() -> None:
    unlike = np.array([[1, 0, 0], [LIKE - 0.1, 1, 0], [0.5, 0, 0.75**0.5], [0, -1, 0]])
    found = met((5000,) * 4, {(0, 1): 0.8})
    np.testing.assert_array_equal(join_across(np.arange(4), 3, found, unlike, np.ones(4)), [0, 1, 0, 2])
    alike = np.array([[1, 0, 0], [0.3, 0.91**0.5, 0], [0.5, 0, 0.75**0.5], [0, -1, 0]])
    long = met((5000,) * 4, {(0, 1): 0.79, (0, 2): 0.3, (1, 3): 0.3})
    np.testing.assert_array_equal(join_across(np.arange(4), 3, long, alike, np.ones(4)), [0, 0, 1, 2])
    short = Borders(*(table.copy() for table in long))
    for table in short:
        table[0, 1] = table[1, 0] = table[0, 1] / 100  # 5 pairs where each has 500 others
    np.testing.assert_array_equal(join_across(np.arange(4), 3, short, alike, np.ones(4)), [0, 1, 0, 2])


def random_pairs(random: np.random.Generator, codes: int) -> Pairs:
    joint = random.random((codes, codes)) ** 4 + 1e-6
    return Pairs((joint + joint.T) / (2 * joint.sum()), np.zeros((codes, codes)))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), classes=st.integers(1, 12))
def test_mended_classes_are_as_many_as_before_and_all_in_use(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    pairs = random_pairs(random, 24)
    count = random.integers(0, 50, (24, 24)).astype(float)
    cosine = count * random.random((24, 24))
    found = Borders(count + count.T, cosine + cosine.T, cosine + cosine.T)
    labels = divide(pairs, classes, Way(classes), seed)
    mended = mend(pairs, found, labels, Way(classes), 64)
    assert set(mended.tolist()) == set(range(classes))
    if classes < 4:
        np.testing.assert_array_equal(mended, labels)


def test_where_all_borders_are_hard_classes_stay_as_they_are() -> None:
    thing = np.arange(40) // 5
    rate = np.where(thing[:, None] == thing[None], 1.0, 0.02)
    pairs = Pairs(rate / rate.sum(), np.zeros((40, 40)))
    count = np.where(thing[:, None] == thing[None], 100.0, 4.0)
    found = Borders(count, np.where(thing[:, None] == thing[None], 0.8, 0.4) * count, 0.65 * count)
    labels = divide(pairs, 8, Way(8), seed=0)
    assert adjusted_rand_score(labels, thing) == 1
    assert adjusted_rand_score(labels, mend(pairs, found, labels, Way(8), 64)) == 1


def test_classes_cut_through_a_thing_are_joined_where_the_spectrum_half_agrees() -> None:
    """A strip of twenty codes, each alike to its neighbours, comes in three classes, although nothing changes where they meet."""
    place = np.arange(20) / 19
    thing = np.concatenate([np.zeros(20, dtype=int), 1 + np.arange(25) // 5])
    rate = np.where(thing[:, None] == thing[None], 1.0, 0.05)
    rate[:20, :20] = np.exp(-((place[:, None] - place[None]) ** 2) / 0.045)
    pairs = Pairs(rate / rate.sum(), np.zeros((45, 45)))
    labels = np.concatenate([np.arange(20) // 7, 2 + thing[20:]])
    inside = np.where(np.arange(45) < 20, 0.8, 0.79)  # of two soft borders the strip's are the softer
    count = np.where(thing[:, None] == thing[None], 100.0, 4.0)
    cosine = np.where(thing[:, None] == thing[None], inside[:, None], 0.4) * count
    mended = mend(pairs, Borders(count, cosine, 0.65 * count), labels, Way(8), 64)
    assert labels[9] != labels[15]
    assert mended[9] == mended[15]
    assert len(set(mended.tolist())) == 8
