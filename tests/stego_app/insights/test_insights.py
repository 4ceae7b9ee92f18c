"""Each insight on constructed data whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import roc_auc_score

from stego_app.insights.advice import advice
from stego_app.insights.duplicates import DUPLICATE, closest_pairs, merged_groups
from stego_app.insights.insight import Spot
from stego_app.insights.measure import Measurements
from stego_app.insights.outliers import find_outliers, mix_distance, modified_z, partner_similarity
from stego_app.insights.partners import PARTNERS, class_affinity, linked_share
from stego_app.insights.places import CELLS, find_places, place_maps
from stego_app.insights.stability import Stability, again, class_stability, matched_overlap, refits
from stego_app.insights.styles import Style, dark_share, find_confined, rank_accuracy, sequences
from stego_app.insights.survey import Survey
from stego_app.partners import find_partners
from stego_app.report.spots import SIDE, spot_picture


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _kinds(seed: int = 0, each: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patches of three kinds in four files: tokens (n, 8), kind (n,), file (n,)."""
    random = np.random.default_rng(seed)
    kind = np.repeat([0, 1, 2], each)
    tokens = _unit(np.eye(8)[kind] + random.normal(0, 0.15, (3 * each, 8)))
    return tokens, kind, np.arange(3 * each) % 4


def test_partners_equal_a_naive_search() -> None:
    tokens, _, files = _kinds()
    found = find_partners(torch.from_numpy(tokens), files, count=3, chunk=50)
    similarity = tokens @ tokens.T
    for row in range(len(tokens)):
        candidates = [other for other in range(len(tokens)) if files[other] != files[row]]
        best = sorted(candidates, key=lambda other: -similarity[row, other])[:3]
        assert found.nearest[row].tolist() == best
        assert found.cosine[row] == pytest.approx(similarity[row, best[0]])
    assert linked_share(found.cosine, 2.0) == 0
    assert linked_share(found.cosine, -1.0) == 1


def test_a_single_file_has_no_partners() -> None:
    tokens, _, files = _kinds()
    found = find_partners(torch.from_numpy(tokens), np.zeros_like(files), PARTNERS)
    assert found.nearest.shape == (len(tokens), 0)
    assert (found.cosine == -1).all()


def test_a_class_divided_at_random_is_a_near_duplicate_and_others_are_not() -> None:
    tokens, kind, files = _kinds(each=200)
    labels = np.where((kind == 0) & (np.random.default_rng(1).random(len(kind)) < 0.3), 3, kind)
    pairs = closest_pairs(class_affinity(labels, find_partners(torch.from_numpy(tokens), files, PARTNERS).nearest, 4))
    assert (pairs[0].first, pairs[0].second) == (0, 3)
    assert pairs[0].affinity == pytest.approx(1, abs=0.15)
    assert all(pair.affinity < DUPLICATE for pair in pairs[1:])
    assert merged_groups(pairs, 4) == 3


def test_affinity_is_symmetric_with_ones_on_the_diagonal() -> None:
    tokens, kind, files = _kinds()
    affinity = class_affinity(kind, find_partners(torch.from_numpy(tokens), files, PARTNERS).nearest, 3)
    assert np.allclose(affinity, affinity.T)
    assert np.allclose(np.diag(affinity), 1)


def test_a_planted_outlier_is_found_and_named() -> None:
    random = np.random.default_rng(0)
    similarity, fit, mix = random.normal(0.7, 0.02, 40), random.normal(0.9, 0.01, 40), random.normal(0.1, 0.01, 40)
    assert [outlier for outlier in find_outliers(similarity, fit, mix) if outlier.score > 6] == []
    similarity[17] = 0.1
    first = find_outliers(similarity, fit, mix)[0]
    assert first.image == 17
    assert first.reasons == ("its patches have no good match in any other image",)
    assert find_outliers(similarity[:5], fit[:5], mix[:5]) == []


def test_modified_z_of_equal_values_is_zero_and_of_a_known_set_is_right() -> None:
    assert modified_z(np.ones(9)).tolist() == [0] * 9
    assert modified_z(np.array([1.0, 2, 3, 4, 5]))[4] == pytest.approx(0.6745 * 2)


def test_mix_distance_equals_scipys() -> None:
    histogram = np.random.default_rng(0).dirichlet(np.ones(4), 6)
    numbers = np.array([0, 0, 1, 2, 3, 4])
    expected = [min(jensenshannon(histogram[i], histogram[j], 2) for j in range(6) if numbers[j] != numbers[i]) for i in range(6)]
    assert np.allclose(mix_distance(histogram, numbers), expected)


def test_partner_similarity_is_the_mean_over_an_images_patches() -> None:
    assert partner_similarity(np.array([0.2, 0.4, 0.9]), np.array([0, 0, 1]), 2).tolist() == pytest.approx([0.3, 0.9])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=8, max_size=60), st.permutations([0, 1, 2, 3]))
def test_overlap_does_not_depend_on_the_numbering(labels: list[int], order: list[int]) -> None:
    given_labels = np.array(labels)
    overlap = matched_overlap(given_labels, np.array(order)[given_labels], 4)
    present = np.isin(np.arange(4), given_labels)
    assert (overlap[present] == 1).all()
    assert np.isnan(overlap[~present]).all()


def test_what_is_said_of_refits_is_what_they_saw() -> None:
    for files in (2, 7, 8, 30):
        halves = len(refits(np.arange(files), seed=0)[0]) < files
        assert again(np.arange(files)) == ("in half of the images" if halves else "with another seed")


def test_stability_tells_a_lasting_class_from_a_chance_one() -> None:
    tokens, kind, _ = _kinds(each=300)
    random = np.random.default_rng(3)
    labels = np.where(kind == 2, 2 + random.integers(0, 2, len(kind)), kind)

    def refit(_entries: object, seed: int):  # type: ignore[no-untyped-def]
        again = np.random.default_rng(seed)

        def label(given: np.ndarray) -> dict[int, np.ndarray]:
            kinds = given.argmax(1)
            return {4: np.where(kinds == 2, 2 + again.integers(0, 2, len(kinds)), kinds), 3: np.minimum(kinds, 2)}

        return label

    cuts = {4: labels, 3: np.minimum(labels, 2), 2: np.minimum(labels, 1)}
    found = class_stability(cuts, tokens, np.arange(12), refit, seed=0)
    assert sorted(found) == [3, 4]  # of two classes the refits know nothing
    assert (found[4].overlap[:2] > 0.9).all()
    assert (found[4].overlap[2:] < 0.6).all()
    assert found[4].agreement < 0.9
    assert (found[3].overlap > 0.9).all()
    assert found[3].agreement > 0.99
    assert class_stability(cuts, tokens, np.arange(12), lambda _entries, _seed: None, seed=0) == {}


def test_refits_use_disjoint_halves_of_the_files() -> None:
    numbers = np.repeat(np.arange(10), 2)
    first, second = refits(numbers, 0)
    assert sorted([*first, *second]) == list(range(20))
    assert not set(numbers[first]) & set(numbers[second])
    assert refits(np.arange(3), 0) == [[0, 1, 2]] * 2


def test_a_class_that_is_always_at_the_top_is_found_by_place() -> None:
    random = np.random.default_rng(0)
    maps = []
    for _ in range(30):
        labels = random.integers(1, 4, (12, 16))
        labels[:4] = 0
        maps.append(labels)
    places = place_maps(maps, 4)
    assert places.shape == (4, CELLS, CELLS)
    assert np.allclose(places.sum(0), 1)
    found = find_places(places)
    assert [(place.label, place.where) for place in found] == [(0, "the top")]
    assert found[0].overlap == pytest.approx(1)


def test_a_planted_style_split_is_found() -> None:
    histogram = np.zeros((20, 3))
    histogram[:8, 0], histogram[8:, 1] = 0.6, 0.6  # one thing, two classes: by night and by day
    histogram[:, 2] = 0.4
    night = Style("named night…", np.arange(20) < 8)
    means = np.array([[1.0, 0], [0.9, 0.1], [0, 1]])
    found = find_confined(histogram, [night], {}, [means / np.linalg.norm(means, axis=1, keepdims=True)])
    assert [(item.label, item.counterpart) for item in found] == [(0, 1)]
    assert found[0].inside == 1
    assert find_confined(np.full((20, 3), 1 / 3), [night], {}) == []


def test_sequences_come_from_names_and_folders() -> None:
    paths = [Path(f"day_{number:03}.jpg") for number in range(6)] + [Path(f"night_{number:03}.jpg") for number in range(7)]
    assert [(style.name, int(style.members.sum())) for style in sequences(paths)] == [("named day…", 6), ("named night…", 7)]
    assert sequences([Path(f"{number}.jpg") for number in range(9)]) == []
    both = [Path(folder) / f"photo_{number}.jpg" for folder in ("july", "may") for number in range(5)]
    assert [style.name for style in sequences(both)] == ["named photo… in july", "named photo… in may"]
    plain = [Path(folder) / f"{number}.jpg" for folder in ("july", "may") for number in range(5)]
    assert [style.name for style in sequences(plain)] == ["in july", "in may"]


def test_rank_accuracy_equals_scikit_learns() -> None:
    random = np.random.default_rng(0)
    values, positive = random.integers(0, 9, 50).astype(float), random.random(50) < 0.4
    assert rank_accuracy(values, positive) == pytest.approx(roc_auc_score(positive, values))


def test_a_spot_shows_its_patch_bright_and_the_rest_dimmed() -> None:
    image = np.full((160, 240, 3), 200, np.uint8)
    mask = np.zeros((16, 24), dtype=bool)
    mask[8, 12] = True
    whole = spot_picture(image, Spot(0, "", mask), (16, 24))
    assert whole.shape == (160, SIDE, 3)
    assert set(np.unique(whole)) == {60, 200}
    cut = spot_picture(image, Spot(0, "", mask, (8, 12)), (16, 24))
    assert cut.shape == (SIDE, SIDE, 3)
    assert cut[SIDE // 2, SIDE // 2, 0] == 200


def _seen(labels: np.ndarray) -> Survey:
    """Two images of 6 x 6 patches with the class of each patch, all of them kept."""
    maps = list(labels.reshape(2, 6, 6))
    owners, flat = np.repeat([0, 1], 36), labels.ravel()
    tokens = _unit(np.eye(4)[flat] + 0.01)
    paths = [Path("a.png"), Path("b.png")]
    sure = [np.ones((6, 6), np.float32)] * 2
    numbers = np.array([0, 1])
    return Survey(numbers, paths, numbers, maps, maps, sure, np.ones(2), tokens, tokens, owners, flat, flat, 4)


def _measured(stability: dict[int, Stability]) -> Measurements:
    return Measurements(stability, [], [], [], [], 0.0, [], None, None, [])


@pytest.mark.parametrize(("agreement", "said"), [(0.9, True), (0.7, False)])
def test_a_cut_of_the_tree_that_comes_back_is_proposed_with_what_it_joins(agreement: float, said: bool) -> None:
    labels = np.repeat([0, 1, 2, 3], 18)
    coarse = np.where(labels < 3, 0, 1)
    stability = {4: Stability(labels, np.array([0.5, 0.5, 0.5, 0.9]), 0.5), 2: Stability(coarse, np.full(2, agreement), agreement)}
    names = ["wet soil", "dry soil", "stones", "plants"]
    section = advice(_seen(labels), names, _measured(stability), "m.safetensors", 224)
    texts = [insight.text for insight in section.insights]
    assert any("--classes 2" in text and "wet soil, dry soil, stones become one." in text for text in texts) == said


def test_dark_images_are_counted_by_what_is_not_black() -> None:
    framed = np.zeros((4, 4))
    framed[1:3, 1:3] = 0.6
    dark, gone = np.full((4, 4), 0.2), np.full((4, 4), np.nan)
    assert dark_share([framed, dark, np.full((4, 4), 0.5), np.zeros((4, 4)), gone], 0.35) == 0.25
    assert dark_share([gone], 0.35) == 0.0
