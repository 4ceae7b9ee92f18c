"""The published way to score, against torchvision's crops and STEGO's arithmetic written out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from published_trees import cityscapes_tree, coco_tree, potsdam_tree
from scipy.optimize import linear_sum_assignment
from torchvision import transforms as T

from benchmarks.published import linear
from benchmarks.published.linear import linear_probe_scores
from benchmarks.published.protocol import CentreCropped, centre_crop, crop_side, published_miou
from benchmarks.published.recipes import load_recipe
from benchmarks.published.stages import run_stage
from benchmarks.published.table import results_table
from models.errors import StegoError
from stego_app.data import open_dataset
from stego_app.encoder import Encoded
from stego_app.evaluation import hungarian_scores


class InProcess:
    """Stands in for the pool of processes."""

    def __init__(self, _workers: int | None = None) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def run(self, function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        return (function(*each) for each in arguments)


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 90), st.integers(8, 90), st.integers(5, 40), st.integers(0, 9))
def test_the_crop_is_torchvisions(height: int, width: int, side: int, seed: int) -> None:
    label = np.random.default_rng(seed).integers(0, 255, (height, width), dtype=np.uint8)
    published = T.Compose([T.Resize(side, T.InterpolationMode.NEAREST), T.CenterCrop(side)])
    np.testing.assert_array_equal(centre_crop(label, side, Image.Resampling.NEAREST), np.asarray(published(Image.fromarray(label))))


def test_sides_fit_the_patch() -> None:
    assert [crop_side(320, patch) for patch in (8, 14, 16)] == [320, 322, 320]
    assert crop_side(5, 14) == 14


def test_images_and_labels_are_cropped_alike_in_every_layout(tmp_path: Path) -> None:
    for layout, tree in (("cocostuff27", coco_tree), ("cityscapes27", cityscapes_tree), ("potsdam3", potsdam_tree)):
        source = open_dataset(tree(tmp_path / layout), split="val", layout=layout)
        cropped = CentreCropped.of(source, 32)
        assert cropped.name == f"{source.name}, centre 32"
        assert len(cropped) == len(source)
        assert cropped.class_names == source.class_names
        image, label = cropped.read_pair(cropped.samples[0])
        assert (image.shape, label.shape) == ((32, 32, 3), (32, 32))
        np.testing.assert_array_equal(image, cropped.read_image(cropped.samples[0]))
        np.testing.assert_array_equal(label, cropped.read_label(cropped.samples[0]))
        assert set(np.unique(label)) <= set(np.unique(source.read_label(source.samples[0])))
        sky = image[label == label[4, 16]].mean(axis=0)
        assert sky.argmax() in (0, 1, 2)


def test_the_crop_does_not_hide_a_label_of_another_size(tmp_path: Path) -> None:
    coco_tree(tmp_path)
    dataset = CentreCropped.of(open_dataset(tmp_path, split="val"), 32)
    label = dataset.samples[0].label
    assert label is not None
    Image.fromarray(np.zeros((96, 128), dtype=np.uint8)).save(label)
    with pytest.raises(StegoError, match="label is 128 × 96; expected 64 × 48, the size of its image"):
        dataset.read_pair(dataset.samples[0])


def naive_miou(histogram: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    """STEGO's numbers from (clusters, classes) counts, class by class."""
    cluster_of = {column: row for row, column in zip(*linear_sum_assignment(histogram, maximize=True), strict=True)}
    found = []
    for label in range(histogram.shape[1]):
        right = histogram[cluster_of[label], label]
        union = histogram[:, label].sum() + histogram[cluster_of[label]].sum() - right
        if union:
            found.append(right / union)
    return 100 * float(np.mean(found))


@pytest.mark.parametrize("absent", [(), (2,), (0, 4)])
def test_miou_counts_classes_that_only_clusters_use(absent: tuple[int, ...]) -> None:
    histogram = np.random.default_rng(len(absent)).integers(1, 99, (5, 5))
    histogram[:, list(absent)] = 0
    scores = hungarian_scores(histogram, [str(label) for label in range(5)])
    assert published_miou(scores) == pytest.approx(naive_miou(histogram))
    if absent:
        assert published_miou(scores) == pytest.approx(scores.miou * (5 - len(absent)) / 5)
    else:
        assert published_miou(scores) == pytest.approx(scores.miou)


def test_miou_of_nothing() -> None:
    assert published_miou(hungarian_scores(np.zeros((3, 3), dtype=np.int64), ["a", "b", "c"])) == 0


# Linear probes -----------------------------------------------------------------------------------------------------


class Colours:
    """A segmenter whose features are mean colours of 4 x 4 pixels, and whose codes say nothing."""

    flipped = 0

    def encode(self, image: np.ndarray[Any, np.dtype[np.uint8]], *, flip: bool = False, resolution: int) -> Encoded:
        self.flipped += flip
        side = len(image) // 4
        assert resolution == len(image)
        cells = image.reshape(side, 4, side, 4, 3).astype(np.float32).mean(axis=(1, 3)) / 255
        return Encoded(image, torch.from_numpy(cells.reshape(-1, 3)), (side, side))

    def codes(self, encoded: Encoded) -> torch.Tensor:
        return torch.ones(len(encoded.tokens), 2)


def test_probes_learn_from_one_split_and_are_scored_on_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "CrfPool", InProcess)
    coco_tree(tmp_path)
    train, val = (CentreCropped.of(open_dataset(tmp_path, split=split), 48) for split in ("train", "val"))
    segmenter = Colours()
    found = linear_probe_scores(segmenter, train, val, side=48, images=4, seed=0)  # type: ignore[arg-type]
    assert segmenter.flipped == len(val)
    assert set(found) == {"features", "features + CRF", "codes", "codes + CRF"}
    labels = np.concatenate([val.read_label(sample).ravel() for sample in val.samples])
    most = 100 * np.bincount(labels[labels != 255]).max() / (labels != 255).sum()
    assert found["features"]["accuracy"] > 85 > most
    assert found["codes"]["accuracy"] == pytest.approx(most)
    assert found["codes"]["miou"] < 25
    only = linear_probe_scores(Colours(), train, val, probed=("codes",), side=48, images=4, seed=0)  # type: ignore[arg-type]
    assert only == {name: scores for name, scores in found.items() if "codes" in name}


# Stages and table --------------------------------------------------------------------------------------------------


def test_a_stage_is_done_once_for_the_same_inputs(tmp_path: Path) -> None:
    folder, done, said = tmp_path / "stage", [], []

    def work() -> dict[str, int]:
        done.append(1)
        (folder / "file").write_text("x")
        return {"score": len(done)}

    def stage(**inputs: object) -> dict[str, int]:
        return run_stage(folder, inputs, ["file"], work, said.append)

    assert stage(seed=0) == stage(seed=0) == {"score": 1}
    assert said == ["stage: …", "stage: done before"]
    assert stage(seed=1) == {"score": 2}
    (folder / "file").write_text("changed")
    assert stage(seed=1) == {"score": 3}
    (folder / "file").unlink()
    assert stage(seed=1) == {"score": 4}
    (folder / "record.json").write_text("{")
    assert stage(seed=1) == {"score": 5}
    assert stage(seed=1) == {"score": 5}


def test_a_stage_that_fails_leaves_no_record(tmp_path: Path) -> None:
    def work() -> dict[str, int]:
        raise StegoError("no")

    with pytest.raises(StegoError):
        run_stage(tmp_path / "stage", {}, [], work, lambda _line: None)
    assert not (tmp_path / "stage/record.json").exists()


def test_the_table_says_what_was_chosen_with_labels() -> None:
    scores = {"accuracy": 50.04, "miou": 20.0}
    found = {"clusters": {"plain": scores, "flip": scores, "flip+crf": scores}, "linear": {"codes": scores, "codes + CRF": scores, "features": scores}}
    recipe = load_recipe("cocostuff27")
    table = results_table(recipe, [], "tiny", {"ours": found}, "Here: tiny.")
    assert "| **ours**, flip + CRF | tiny | 50.0 | 20.0 | 50.0 | 20.0 |" in table
    assert "| **ours** | tiny | 50.0 | 20.0 | – | – |" in table
    assert "| plain features, flip | tiny | – | – | 50.0 | 20.0 |" in table
    assert "Published numbers are chosen with labels" in table
    assert all(line in table for line in (*recipe.deviations, "Here: tiny."))
