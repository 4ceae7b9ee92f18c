"""The parts of the data engine against independent calculations: whitening, thresholds, components, retrieval, hierarchy."""

from __future__ import annotations

from pathlib import Path

import networkx
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from models.errors import StegoError
from pretrain.curate.copies import KINDS, make_copy
from pretrain.curate.duplicates import against_set, components, pairs_above, representatives, within_pool
from pretrain.curate.hierarchy import balanced_sample, build_hierarchy, default_levels, even_quotas
from pretrain.curate.kmeans import assign, kmeans
from pretrain.curate.lists import fits_a_line, gather, list_text, read_image_list
from pretrain.curate.retrieval import nearest_to_each, sample_of_clusters
from pretrain.curate.thresholds import gumbel_quantile, learn_thresholds
from pretrain.curate.whitening import FLOOR, fit_whitening, unit
from stego_app.features.similar import most_similar
from tests.conftest import textured_image


def rows_of(count: int, width: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((count, width)))


# Whitening


@pytest.mark.parametrize(("count", "width"), [(200, 12), (30, 64)])
def test_whitening_is_that_of_principal_components(count: int, width: int) -> None:
    rows = rows_of(count, width) * np.linspace(1, 3, width, dtype=np.float32) + 0.3
    whitening = fit_whitening(rows, 8)
    pca = PCA(8).fit(unit(rows).astype(np.float64))
    expected = unit(pca.transform(unit(rows).astype(np.float64)) / np.sqrt(pca.explained_variance_ + FLOOR * pca.explained_variance_.mean()))
    found = whitening(rows)
    assert np.abs(found @ found.T - expected @ expected.T).max() < 1e-3  # up to the sign of each component


def test_whitening_of_few_rows_keeps_half_as_many_components() -> None:
    assert fit_whitening(rows_of(12, 40), 32).matrix.shape == (40, 6)
    assert fit_whitening(np.ones((20, 4), np.float32), 3)(np.ones((2, 4), np.float32)).tolist() == [[0] * 3] * 2


# Thresholds


def test_gumbel_quantile_is_scipys() -> None:
    law = scipy.stats.gumbel_r(0.3, 0.05)
    values = law.ppf(np.linspace(0.0005, 0.9995, 2001)).astype(np.float32)
    assert gumbel_quantile(values, 0.99) == pytest.approx(law.ppf(0.99), abs=2e-3)
    assert gumbel_quantile(values[:0], 0.99) == -1


def copies(level: float, spread: float = 0.0) -> dict[str, np.ndarray]:
    return {kind: np.linspace(level - spread, level, 101, dtype=np.float32) for kind in KINDS}


def test_thresholds_lie_between_strangers_and_copies() -> None:
    nearest = scipy.stats.gumbel_r(0.3, 0.05).rvs(4000, random_state=0).astype(np.float32)
    found = learn_thresholds(copies(1.0, 0.1), nearest)
    assert found.copies == pytest.approx(0.902, abs=1e-3)
    assert found.strangers == pytest.approx(0.3 - 0.05 * np.log(-np.log(0.99)), abs=0.02)
    assert found.separable
    assert found.pool == pytest.approx((found.copies + found.strangers) / 2)
    assert found.strangers < found.evaluation < found.pool
    assert found.found["cropped"] == 1


def test_copies_in_the_pool_hardly_move_the_threshold() -> None:
    clean = scipy.stats.gumbel_r(0.3, 0.05).rvs(2000, random_state=0).astype(np.float32)
    dirty = np.concatenate([clean, np.random.default_rng(0).uniform(0.7, 1, 1200).astype(np.float32)])
    assert learn_thresholds(copies(0.95), dirty).pool == pytest.approx(learn_thresholds(copies(0.95), clean).pool, abs=0.02)


def test_inseparable_copies_are_said_to_be_so() -> None:
    found = learn_thresholds(copies(0.5), np.full(50, 0.49, np.float32) + np.linspace(-0.2, 0, 50, dtype=np.float32))
    assert not found.separable
    assert found.pool == found.evaluation == pytest.approx(0.5)
    given_one = learn_thresholds(copies(0.9), np.full(50, 0.2, np.float32), 0.3)
    assert given_one.pool == 0.3 >= given_one.evaluation


# Components


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.floats(-0.2, 0.9), st.integers(0, 10_000))
def test_components_are_those_of_networkx(count: int, threshold: float, seed: int) -> None:
    rows = rows_of(count, 3, seed)
    labels = components(count, *pairs_above(*most_similar(rows, rows, count), threshold))
    every = rows @ rows.T
    graph = networkx.from_numpy_array((every >= threshold) & ~np.eye(count, dtype=bool))
    borderline = np.abs(every[~np.eye(count, dtype=bool)] - threshold).min() < 1e-5
    expected = {frozenset(part) for part in networkx.connected_components(graph)}
    assert borderline or {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())} == expected


def test_the_largest_image_of_a_component_is_kept() -> None:
    labels = np.array([0, 1, 0, 0, 1, 2])
    quality = np.array([[10, 5], [7, 9], [20, 1], [20, 3], [7, 9], [1, 1]])
    kept = representatives(labels, quality)
    assert kept.tolist() == [3, 1, 3, 3, 1, 5]  # most pixels, then most bytes, then the first
    vectors = rows_of(6, 4)
    removed = within_pool(vectors, labels, kept)
    assert [(removal.row, removal.like, removal.of) for removal in removed] == [(0, 3, "pool"), (2, 3, "pool"), (4, 1, "pool")]
    assert removed[0].similarity == pytest.approx(float(vectors[0] @ vectors[3]))


def test_a_component_goes_with_its_image_that_resembles_an_evaluation_image() -> None:
    similarities = np.array([[0.1], [0.9], [0.2], [0.3], [0.95]], np.float32)
    found = against_set(similarities, np.array([[4], [2], [4], [4], [3]]), np.array([0, 0, 1, 1, 2]), 0.8, "evaluation")
    assert [(removal.row, removal.like, round(removal.similarity, 2)) for removal in found] == [(0, 2, 0.9), (1, 2, 0.9), (4, 3, 0.95)]
    assert against_set(similarities, np.array([[4], [2], [4], [4], [3]]), np.arange(5), 0.99, "evaluation") == []


# Retrieval


def test_retrieval_takes_first_neighbours_first_and_each_image_once() -> None:
    pool, queries = rows_of(40, 6), rows_of(5, 6, 1)
    found = nearest_to_each(queries, pool, 3)
    order = np.argsort(-(queries @ pool.T), axis=1)[:, :3]
    assert set(found.rows) == set(order.ravel().tolist())
    assert len(found.rows) == len(set(found.rows))
    firsts = len(set(order[:, 0].tolist()))
    assert set(found.rows[:firsts]) == set(order[:, 0].tolist())
    for row, query, similarity in zip(found.rows, found.queries, found.similarities, strict=True):
        assert similarity == pytest.approx(float(pool[row] @ queries[query]), abs=1e-6)
    assert nearest_to_each(queries, pool, 3, limit=4).rows == found.rows[:4]


def test_clusters_of_curated_images_are_sampled_and_no_others() -> None:
    centres = np.eye(4, 8, dtype=np.float32)
    pool = unit(np.repeat(centres, 25, axis=0) + 0.05 * np.random.default_rng(0).standard_normal((100, 8)))
    found = sample_of_clusters(centres[[1, 1, 3]], pool, 4, 10, seed=0)
    assert sorted(np.array(found.rows) // 25) == [1] * 10 + [3] * 10
    assert {query for row, query in zip(found.rows, found.queries, strict=True) if row // 25 == 3} == {2}
    limited = sample_of_clusters(centres[[1, 1, 3]], pool, 4, 10, seed=0, limit=6)
    assert sorted(np.array(limited.rows) // 25) == [1] * 3 + [3] * 3
    assert sample_of_clusters(centres[[1, 1, 3]], pool, 4, 10, seed=0).rows == found.rows


# Hierarchy


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(0, 200))
def test_quotas_are_as_even_as_sizes_allow(sizes: list[int], total: int) -> None:
    quotas = even_quotas(np.array(sizes), total)
    assert quotas.sum() == min(total, sum(sizes))
    assert (quotas <= sizes).all()
    assert (quotas >= 0).all()
    full = quotas == np.array(sizes)
    if not full.all():  # whoever still has some gives as much as anyone, but for the remainder of one
        assert quotas[~full].min() >= quotas.max() - 1


def test_k_means_finds_blobs_and_is_the_same_each_time() -> None:
    rows = np.repeat(np.eye(3, 5, dtype=np.float32) * 9, 20, axis=0) + np.random.default_rng(0).normal(0, 0.1, (60, 5)).astype(np.float32)
    labels, distances = assign(rows, kmeans(rows, 3, 0))
    assert all(len(set(labels[start : start + 20].tolist())) == 1 for start in (0, 20, 40))
    assert len(set(labels.tolist())) == 3
    assert distances.max() < 1
    assert np.array_equal(kmeans(rows, 3, 0), kmeans(rows, 3, 0))
    assert kmeans(rows[:2], 5, 0).shape == (2, 5)


def test_a_balanced_sample_is_even_over_the_support_and_not_over_the_images() -> None:
    random = np.random.default_rng(0)
    crowd = random.uniform(0.4, 0.5, (900, 2))  # nine tenths of the images in a hundredth of the square
    rows = np.concatenate([crowd, random.uniform(0, 1, (300, 2))]).astype(np.float32)
    levels = default_levels(len(rows))
    assert levels == [120, 12]
    hierarchy = build_hierarchy(rows, levels, 0)
    assert len(hierarchy[0]) == 1200
    assert len(hierarchy[1]) <= 120
    chosen = balanced_sample(hierarchy, 60, 0)
    assert len(chosen) == len(set(chosen.tolist())) == 60
    assert (chosen < 900).mean() < 0.4  # a random sample has 0.75
    assert np.array_equal(chosen, balanced_sample(build_hierarchy(rows, levels, 0), 60, 0))
    assert balanced_sample(hierarchy, 5000, 0).tolist() == list(range(1200))


def test_a_tree_is_sampled_as_its_shape_says() -> None:
    leaves = np.array([0] * 8 + [1] * 2 + [2] * 5)  # leaves 0 and 1 lie under the first branch
    chosen = balanced_sample([leaves, np.array([0, 0, 1])], 8, 0)
    assert np.bincount(leaves[chosen]).tolist() == [2, 2, 4]


def test_levels_of_a_tiny_pool() -> None:
    assert default_levels(5) == [1]
    assert default_levels(25) == [2]
    hierarchy = build_hierarchy(rows_of(5, 3), [1], 0)
    assert len(balanced_sample(hierarchy, 3, 0)) == 3


# Copies and lists


def test_copies_are_of_their_kind() -> None:
    image = textured_image(60, 90, 0)
    found = {kind: make_copy(image, kind, 5) for kind in KINDS}
    assert found["re-encoded"].shape == found["flipped"].shape == image.shape
    assert not np.array_equal(found["re-encoded"], image)
    assert np.abs(found["flipped"][:, ::-1].astype(int) - image).mean() < 12 < np.abs(found["flipped"].astype(int) - image).mean()
    area = found["cropped"].shape[0] * found["cropped"].shape[1] / (60 * 90)
    assert 0.55 < area < 0.9
    assert found["resized"].shape != image.shape
    assert np.array_equal(make_copy(image, "cropped", 5), found["cropped"])
    with pytest.raises(ValueError, match="kind of copy 'melted'"):
        make_copy(image, "melted", 0)


def test_lists_of_images(image_folder: Path, tmp_path: Path) -> None:
    images = gather([str(image_folder)])
    assert len(images) == 6
    assert all(path.is_absolute() for path in images)
    listed = tmp_path / "list.txt"
    listed.write_bytes(list_text(images[:2]) + b"\n")
    assert gather([f"@{listed}", str(images[1]), str(images[3])]) == [images[0], images[1], images[3]]
    assert read_image_list(listed) == images[:2]
    (tmp_path / "empty.txt").write_text("\n")
    for source, message in (
        (f"@{tmp_path / 'empty.txt'}", "the list is empty"),
        (f"@{tmp_path / 'none.txt'}", "cannot be read"),
        ("nowhere", "no such folder"),
    ):
        with pytest.raises(StegoError, match=message):
            gather([source])
    listed.write_text(f"{image_folder}\n")
    with pytest.raises(StegoError, match="names the folder"):
        gather([f"@{listed}"])
    odd = [Path("/a/b\u2028c\x0bd.png"), Path("/a/ e .png")]
    listed.write_bytes(list_text(odd))
    assert read_image_list(listed) == odd
    listed.write_bytes(b"\xef\xbb\xbf/a/b.png\r\n\r\n/a/c.png")
    assert read_image_list(listed) == [Path("/a/b.png"), Path("/a/c.png")]
    assert [fits_a_line(Path(name)) for name in ("a b.png", "a\nb.png", "a\rb.png")] == [True, False, False]


def test_copies_that_are_less_alike_than_different_images_are_doubted() -> None:
    copies = {kind: np.full(40, -0.8, np.float32) for kind in ("resized", "re-encoded", "cropped", "flipped")}
    found = learn_thresholds(copies, np.linspace(-0.2, 0.3, 60, dtype=np.float32))
    assert not found.separable
    assert found.pool == pytest.approx(-0.8)  # not lower than the copies themselves
