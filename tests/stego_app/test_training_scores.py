"""Labels fill a table of the report; whatever is wrong with them, training and its result stay the same."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from models.artifact import read_header
from models.backbone import Backbone, save_backbone
from models.head import SegmentationHead
from stego_app import training_scores as module
from stego_app.clusters import ClusterModel
from stego_app.data import Dataset, open_dataset
from stego_app.discovery import DiscoverySettings
from stego_app.features import FeatureCache
from stego_app.training.stego import StegoConfig
from stego_app.training_run import TrainConfig, _histograms, train_segmenter
from stego_app.training_scores import TrainingScores, training_scores

SHARES = np.array([0.5, 0.3, 0.2])


@pytest.fixture
def labels(image_folder: Path, tmp_path: Path) -> Path:
    """A label for each image: 0 where it is blue, 4 elsewhere, void in the first row."""
    folder = tmp_path / "labels"
    for path in image_folder.rglob("*.png"):
        target = folder / path.relative_to(image_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        label = np.where(np.asarray(Image.open(path))[..., 2] < 150, 4, 0).astype(np.uint8)
        label[0] = 255
        Image.fromarray(label).save(target)
    return folder


@pytest.fixture
def clusters() -> ClusterModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        head = SegmentationHead(192, 8).eval()
        fine = torch.nn.functional.normalize(torch.randn(3, 8), dim=1)
    return ClusterModel(torch.zeros(192), torch.eye(192), head, fine, 0.1, np.array([[0, 1], [2, 3]]), 2)


def cached(dataset: Dataset, backbone: Backbone, folder: Path, **options: Any) -> FeatureCache:
    paths = [sample.image for sample in dataset.samples]
    return FeatureCache.build(paths, backbone, **{"resolution": 48, "device": "cpu", "precision": "fp32", "folder": folder / "cache", **options})


def on_grid(label: npt.NDArray[np.uint8], grid: tuple[int, int]) -> npt.NDArray[np.uint8]:
    rows = [int(row * label.shape[0] / grid[0]) for row in range(grid[0])]
    columns = [int(column * label.shape[1] / grid[1]) for column in range(grid[1])]
    return label[np.ix_(rows, columns)]


def test_clusters_are_matched_over_the_set_as_by_trying_every_matching(
    image_folder: Path, labels: Path, clusters: ClusterModel, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    dataset = open_dataset(image_folder, labels=labels)
    assert dataset.class_names is None
    cache = cached(dataset, tiny_backbone, tmp_path)
    scored = training_scores(clusters, dataset, cache, SHARES)
    said, truth = [], []
    for index, path in enumerate(cache.paths):
        leaves = clusters.fine_logits(torch.from_numpy(cache.tokens(index).astype(np.float32))).argmax(dim=1).numpy()
        said.append(np.array([0, 0, 1])[leaves])
        truth.append(on_grid(np.asarray(Image.open(labels / path.relative_to(image_folder))), cache.grid(index)).ravel())
    predicted, actual = np.concatenate(said), np.concatenate(truth)
    predicted, actual = predicted[actual != 255], actual[actual != 255] // 4
    best = max(permutations(range(2)), key=lambda order: float((np.array(order)[predicted] == actual).mean()))
    matched = np.array(best)[predicted]
    ious = [((matched == k) & (actual == k)).sum() / ((matched == k) | (actual == k)).sum() for k in range(2)]
    assert scored.rows[0] == ("2 classes, Hungarian, on patches, no CRF", f"{100 * np.mean(ious):.1f}", f"{100 * (matched == actual).mean():.1f}")
    assert [row[0].split(" (")[0] for row in scored.rows[1:]] == ["linear probe on features", "linear probe on codes", "linear probe on detailed codes"]
    assert not scored.failures
    assert any("every other" in note for note in scored.notes)


def test_a_probe_is_scored_on_images_it_was_not_trained_on(
    image_folder: Path, labels: Path, clusters: ClusterModel, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    dataset = open_dataset(image_folder, labels=labels)
    cache = cached(dataset, tiny_backbone, tmp_path)
    for number, sample in enumerate(dataset.samples):  # what was learnt from the even images is wrong on all the odd ones
        height, width = np.asarray(Image.open(sample.image)).shape[:2]
        Image.fromarray(np.full((height, width), number % 2, np.uint8)).save(str(sample.label))
    scored = training_scores(clusters, dataset, cache, SHARES)
    assert [row[2] for row in scored.rows[1:]] == ["0.0", "0.0", "0.0"]


def test_bad_labels_are_listed_and_the_rest_scored(image_folder: Path, labels: Path, clusters: ClusterModel, tiny_backbone: Backbone, tmp_path: Path) -> None:
    (labels / "meta.json").write_text("{}")
    (image_folder / "meta.json").write_text(json.dumps({"classes": ["a", "b", "c", "d", "e"]}))
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(labels / "photo0.png")
    Image.fromarray(np.full((64, 96), 99, np.uint8)).save(labels / "photo1.png")
    (labels / "photo2.png").write_bytes(b"no picture")
    dataset = open_dataset(image_folder, labels=labels)
    scored = training_scores(clusters, dataset, cached(dataset, tiny_backbone, tmp_path), SHARES)
    assert {Path(path).name: reason.split(": ", 1)[1][:14] for path, reason in scored.failures if "photo2" not in path} == {
        "photo0.png": "label is 5 × 5",
        "photo1.png": "unknown label ",
    }
    assert len(scored.failures) == 3
    assert all("\n" not in reason for _, reason in scored.failures)
    assert len(scored.rows) == 4


def test_why_there_are_no_scores_is_said(image_folder: Path, labels: Path, clusters: ClusterModel, tiny_backbone: Backbone, tmp_path: Path) -> None:
    bare = open_dataset(image_folder)
    assert training_scores(clusters, bare, cached(bare, tiny_backbone, tmp_path), SHARES) == TrainingScores()
    dataset = open_dataset(image_folder, labels=labels)
    crops = training_scores(clusters, dataset, cached(dataset, tiny_backbone, tmp_path, crops="five"), SHARES)
    assert not crops.rows
    assert "crops" in crops.notes[0]
    for path in labels.rglob("*.png"):
        path.write_bytes(b"no picture")
    broken = training_scores(clusters, dataset, cached(dataset, tiny_backbone, tmp_path), SHARES)
    assert not broken.rows
    assert "no scores" in broken.notes[-1]
    assert len(broken.failures) == 6


def test_one_labelled_image_gives_no_probe(image_folder: Path, labels: Path, clusters: ClusterModel, tiny_backbone: Backbone, tmp_path: Path) -> None:
    for path in sorted(labels.rglob("*.png"))[1:]:
        path.unlink()
    dataset = open_dataset(image_folder, labels=labels)
    scored = training_scores(clusters, dataset, cached(dataset, tiny_backbone, tmp_path), SHARES)
    assert len(scored.rows) == 1
    assert "No linear probe" in scored.notes[-1]


def test_a_large_set_is_scored_in_part_and_says_so(
    image_folder: Path, labels: Path, clusters: ClusterModel, tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IMAGES", 4)
    dataset = open_dataset(image_folder, labels=labels)
    seen: list[tuple[str, int, int]] = []
    scored = training_scores(clusters, dataset, cached(dataset, tiny_backbone, tmp_path), SHARES, progress=lambda *step: seen.append(step))
    assert "4 of the 6 labelled images" in scored.notes[0]
    assert [step for step in seen if step[0] == "scoring"][-1] == ("scoring", 4, 4)


def test_the_histograms_of_few_images_say_nothing_of_neighbours(
    image_folder: Path, tiny_backbone: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = cached(open_dataset(image_folder), tiny_backbone, tmp_path)
    config = TrainConfig(data=image_folder, classes=2)
    assert config.stego.neighbours > len(cache) - 1
    assert _histograms(config, cache) is not None
    assert "neighbours" not in caplog.text


@pytest.mark.parametrize("objective", ["auto", "stego"])
def test_no_label_however_bad_changes_or_stops_a_training(
    objective: str, image_folder: Path, labels: Path, tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEGO_CACHE", str(tmp_path / "cache"))
    save_backbone(tmp_path / "tiny.safetensors", tiny_backbone, precision="fp32")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(labels / "photo0.png")
    (labels / "photo2.png").write_bytes(b"no picture")
    settings: dict[str, Any] = (
        {"stego": StegoConfig(steps=6, batch=4)} if objective == "stego" else {"discovery": DiscoverySettings(codes=32, steps=20, batch=128, fine=12)}
    )
    common: dict[str, Any] = {
        "data": image_folder,
        "backbone": str(tmp_path / "tiny.safetensors"),
        "objective": objective,
        "classes": 3,
        "resolution": 96,
        **settings,
    }
    train_segmenter(TrainConfig(**common), tmp_path / "without.safetensors")
    result = train_segmenter(TrainConfig(**common, labels=labels), tmp_path / "with.safetensors")
    header, beside = (read_header(tmp_path / f"{name}.safetensors") for name in ("without", "with"))
    assert header["sha256"] == beside["sha256"]
    summary = json.loads(result.report.with_name("report.json").read_text())
    assert [row[0].split(" (")[0] for row in summary["scores"]][1:] == ["linear probe on features", "linear probe on codes", "linear probe on detailed codes"]
    assert sorted(Path(path).name for path, _ in summary["failures"]) == ["photo0.png", "photo2.png"]
    assert json.loads((tmp_path / "without.report" / "report.json").read_text())["scores"] == []
