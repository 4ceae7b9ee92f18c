from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted_tokens import planted

from models.errors import StegoError
from stego_app.discovery import DiscoverySettings
from stego_app.discovery.borders import adjacent_cosines
from stego_app.discovery.correspondences import adjacent_links, cross_image_links, pair_distribution, same_image_pairs
from stego_app.discovery.division import Way
from stego_app.discovery.draws import Bank, Draw, classes_of_draws, make_draws
from stego_app.discovery.metric import Metric, position_whitening, same_point_similarity
from stego_app.discovery.pairs import IMAGE_WEIGHT, Pairs
from stego_app.discovery.source import TokenSource

SMALL = DiscoverySettings(codes=32, bank=600, draws=3)


def planted_bank() -> tuple[TokenSource, Metric, Bank, float]:
    """Six images of three planted classes, their metric, 1,500 of their patches, and the cosine from which these correspond."""
    source, _, pairs = planted(images=6, classes=3)
    sampled, entries = source.sample(1500, 0)
    mean = torch.nn.functional.normalize(torch.from_numpy(sampled), dim=1).mean(0)
    metric = position_whitening(pairs, mean)
    return source, metric, Bank(metric.project(sampled), entries), same_point_similarity(pairs, mean, 0.01, 0.05)


def test_draws_differ_and_each_counts_adjacent_patches_on_its_own_codebook() -> None:
    source, metric, bank, threshold = planted_bank()
    draws = list(make_draws(bank, source, metric, threshold, SMALL, seed=0))
    assert len(draws) == 3
    assert not torch.equal(draws[0].book, draws[1].book)
    for draw in draws:
        grids = [(metric.project(source.tokens(i)) @ draw.book.T).argmax(1).numpy().reshape(source.grid(i)) for i in range(len(source))]
        np.testing.assert_array_equal(np.stack(draw.seen.maps), np.stack(grids))
        np.testing.assert_allclose(draw.pairs.joint, pair_distribution(draw.cross.counts, adjacent_links(grids, len(draw.book)), SMALL.adjacent_weight))
        for i, found in enumerate(draw.seen.cosines):
            np.testing.assert_allclose(found, adjacent_cosines(metric.project(source.tokens(i)), source.grid(i)), atol=1e-6)
        assert draw.pairs.joint.sum() == pytest.approx(1)
        np.testing.assert_allclose(draw.pairs.same_image, same_image_pairs(grids, len(draw.book)))
    found, labels = classes_of_draws(draws, 3, Way(3), 64, seed=0)
    assert any(found is draw for draw in draws)
    assert set(labels.tolist()) == {0, 1, 2}
    with pytest.raises(StegoError, match="classes 32"):
        classes_of_draws([_flat(draw) for draw in draws], 32, Way(32), 64, seed=0)
    assert classes_of_draws([_flat(draws[0]), draws[1]], 3, Way(3), 64, seed=0)[0] is draws[1]
    few = replace(draws[0], pairs=Pairs(np.full((2, 2), 0.25), np.zeros((2, 2))))
    assert classes_of_draws([few, draws[1]], 3, Way(3), 64, seed=0)[0] is draws[1]
    with pytest.raises(StegoError, match="classes 3: a draw holds only 2 distinct features"):
        classes_of_draws([few], 3, Way(3), 64, seed=0)


def test_a_split_counts_each_half_apart() -> None:
    source, metric, bank, threshold = planted_bank()
    [draw] = make_draws(bank, source, metric, threshold, SMALL.model_copy(update={"draws": 1}), seed=0)
    split = draw.split(bank, np.array([0, 2, 4]), threshold, 0.3)
    for half, images in ((split.first, [0, 2, 4]), (split.second, [1, 3, 5])):
        rows = draw.rows[np.isin(bank.images[draw.rows], images)]
        expected = cross_image_links(bank.tokens[rows], bank.images[rows], draw.codes[rows], len(draw.book), threshold).counts
        np.testing.assert_array_equal(half.cross, expected)
        shown = np.unique(draw.codes[rows])
        among, maps = np.ix_(shown, shown), [draw.seen.maps[number] for number in images]
        np.testing.assert_allclose(half.pairs.joint, pair_distribution(expected[among], adjacent_links(maps, len(draw.book))[among], 0.3))
        together = same_image_pairs(maps, len(draw.book))[among]
        np.testing.assert_allclose(half.pairs.same_image, together / together.sum())
    np.testing.assert_array_equal(split.codes, np.stack(draw.seen.maps).ravel())
    np.testing.assert_array_equal(split.images, np.repeat(np.arange(6), draw.seen.maps[0].size))


def _flat(draw: Draw) -> Draw:
    """The same draw, but with codes that cannot be told apart."""
    eigen = draw.pairs.eigen()
    vectors = np.zeros_like(eigen.vectors)
    vectors[:, 0] = 1
    return replace(draw, pairs=Pairs(draw.pairs.joint, draw.pairs.same_image, {IMAGE_WEIGHT: eigen._replace(vectors=vectors)}))
