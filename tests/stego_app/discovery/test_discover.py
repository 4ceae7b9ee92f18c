from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from planted_tokens import DIM, GRID, PlantedSource, planted, source_of

from models.errors import StegoError
from stego_app.clusters import ClusterModel, cut
from stego_app.discovery import CropPairs, DiscoverySettings, discover
from stego_app.discovery.division import Way

SMALL = DiscoverySettings(codes=48, bank=1500, fine=12, steps=80, batch=128, head_tokens=1500)


def labels_of(model: ClusterModel, source: PlantedSource) -> npt.NDArray[np.int64]:
    return np.array([model.class_probabilities(torch.from_numpy(source.tokens(i))).argmax(1).numpy() for i in range(len(source))])


def agreement(found: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    """Share of patches in the largest true class of their found class."""
    counts = np.zeros((found.max() + 1, truth.max() + 1))
    np.add.at(counts, (found.ravel(), truth.ravel()), 1)
    return float(counts.max(1).sum() / counts.sum())


@pytest.mark.parametrize("head", ["segmentation", "lookup"])
def test_planted_classes_are_found_whatever_the_lighting(head: str) -> None:
    source, truth, pairs = planted(images=14, classes=4)
    settings = DiscoverySettings.model_validate(SMALL.model_dump() | {"head": head})
    found = discover(source, pairs, classes=4, settings=settings)
    labels = labels_of(found.model, source)
    assert len(np.unique(labels)) == 4
    assert agreement(labels, truth) > 0.97
    assert found.linked > 0.9
    assert found.notes == []
    assert bool(found.losses) == (head == "segmentation")


def test_without_whitening_and_image_weight_lighting_would_win() -> None:
    """The control of the test above: with pairs that show no nuisance, classes follow day and dusk."""
    source, truth, _ = planted(images=14, classes=4)
    blind = planted(images=2, classes=4, noise=0.05)[2]
    same = CropPairs(blind.first, blind.first + 1e-3 * torch.randn(blind.first.shape, generator=torch.Generator().manual_seed(0)))
    labels = labels_of(discover(source, same, classes=2, way=Way(2, image_weight=0.0), settings=SMALL).model, source)
    dusk = np.tile(np.arange(14)[:, None] % 2, (1, truth.shape[1]))
    assert agreement(labels, dusk) > 0.97


def test_the_number_of_classes_is_found() -> None:
    source, truth, pairs = planted(images=24, classes=5, seed=1)
    found = discover(source, pairs, settings=SMALL.model_copy(update={"head": "lookup"}))
    assert found.model.classes == 5
    assert agreement(labels_of(found.model, source), truth) > 0.97


def test_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    source, _, pairs = planted(images=6, classes=3)
    first, second, third = (discover(source, pairs, classes=3, seed=seed, settings=SMALL).model.to_tensors() for seed in (0, 0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(first[name].shape == third[name].shape and torch.equal(first[name], third[name]) for name in first)


def test_keeps_fine_clusters_and_cuts_nest_in_the_classes() -> None:
    source, _, pairs = planted(images=8, classes=3)
    model = discover(source, pairs, classes=3, settings=SMALL).model
    assert len(model.fine) == 12
    for finer in range(1, 12):
        coarse, fine = cut(model.merges, finer), cut(model.merges, finer + 1)
        assert len(set(zip(coarse, fine, strict=True))) == finer + 1


def test_more_classes_than_fine_clusters_keeps_as_many_as_asked() -> None:
    source, _, pairs = planted(images=8, classes=3, noise=0.3)
    assert len(discover(source, pairs, classes=20, settings=SMALL).model.fine) == 20


def test_progress_reaches_the_end_of_each_stage() -> None:
    source, _, pairs = planted(images=5, classes=3)
    seen: dict[str, tuple[int, int]] = {}
    discover(source, pairs, settings=SMALL, progress=lambda stage, done, total: seen.update({stage: (done, total)}))
    assert {"classes", "head"} == set(seen)
    assert all(done == total for done, total in seen.values())


def test_one_image_works_and_says_what_it_cannot_know() -> None:
    source, truth, pairs = planted(images=1, classes=3)
    found = discover(source, pairs, classes=3, settings=SMALL)
    assert agreement(labels_of(found.model, source), truth) > 0.9
    assert any("only one image" in note for note in found.notes)


@pytest.mark.parametrize("images", [1, 2, 3])
def test_few_images_choose_a_number_of_classes_with_a_note(images: int) -> None:
    source, _, pairs = planted(images=images, classes=3)
    found = discover(source, pairs, settings=SMALL)
    assert found.model.classes >= 2
    assert any("too few" in note for note in found.notes)


def test_crops_of_one_image_count_as_one_image() -> None:
    source, _, pairs = planted(images=5, classes=3)
    crops = PlantedSource(source.features, [Path("same.png")] * 5, [GRID] * 5)
    assert any("only one image" in note for note in discover(crops, pairs, classes=3, settings=SMALL).notes)


def test_images_that_share_nothing_are_reported() -> None:
    features = [np.tile(row, (GRID[0] * GRID[1], 1)).astype(np.float32) for row in np.eye(DIM)[:6]]
    random = np.random.default_rng(0)
    source = source_of([tokens + 0.02 * random.normal(size=tokens.shape).astype(np.float32) for tokens in features])
    pairs = planted(images=2, classes=6)[2]
    found = discover(source, pairs, classes=6, settings=SMALL)
    assert any("match in another image" in note for note in found.notes)


def test_constant_images_cannot_be_told_apart() -> None:
    pairs = planted(images=2, classes=3)[2]
    source = source_of([np.ones((GRID[0] * GRID[1], DIM), np.float32)] * 4)
    for classes in (3, None):
        with pytest.raises(StegoError, match="look the same everywhere"):
            discover(source, pairs, classes=classes, settings=SMALL)


def test_two_distinct_features_cannot_become_five_classes() -> None:
    pairs = planted(images=2, classes=3)[2]
    halves = np.repeat(np.eye(2, DIM, dtype=np.float32), GRID[0] * GRID[1] // 2, axis=0)
    with pytest.raises(StegoError, match="only 2 distinct"):
        discover(source_of([halves] * 4), pairs, classes=5, settings=SMALL)
    model = discover(source_of([halves] * 4), pairs, settings=SMALL).model
    assert model.classes == 2
    assert len(model.fine) == 2


@pytest.mark.parametrize(("classes", "message"), [(0, "at least 1"), (400, "at most")])
def test_impossible_numbers_of_classes_are_errors(classes: int, message: str) -> None:
    source, _, pairs = planted(images=4, classes=3)
    with pytest.raises(StegoError, match=message):
        discover(source, pairs, classes=classes, settings=SMALL)


def test_settings_refuse_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="miss_rate"):
        DiscoverySettings(miss_rate=0)
    with pytest.raises(ValueError, match="neighbours"):
        DiscoverySettings.model_validate({"neighbours": 7})


def test_one_class_is_everything() -> None:
    source, _, pairs = planted(images=4, classes=3)
    model = discover(source, pairs, classes=1, settings=SMALL).model
    probabilities = model.class_probabilities(torch.from_numpy(source.tokens(0)))
    np.testing.assert_allclose(probabilities.numpy(), 1, atol=1e-5)
