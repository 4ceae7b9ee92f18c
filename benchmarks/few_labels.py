"""Classes from a few labelled images, `stego teach` beside a linear probe: a markdown table of mIoU and accuracy against label count.

usage: python benchmarks/few_labels.py --data CAMVID --segmenter FILE [--counts 1,5,20] [--draws 3] [--cache FOLDER]

FILE was trained on CAMVID's training images (`stego train CAMVID --split train --classes 11`). For each count, that many training images,
evenly spaced and from another start in each draw, are labelled; the others are used without labels. Scored on the images of val at the
resolution of their labels, without CRF; a class that no labelled image shows counts as wrong. The probe is `stego eval`'s, on the features.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stego_app.data import Dataset, open_dataset
from stego_app.edits import Rename
from stego_app.evaluation.histogram import accumulate
from stego_app.evaluation.linear_probe import LinearProbe, ProbePoints
from stego_app.evaluation.scores import matched_scores
from stego_app.features import FeatureCache
from stego_app.progress import terminal_progress
from stego_app.segmenter import Segmenter
from stego_app.teaching import teach
from stego_app.teaching.teach import POINTS


def chosen(total: int, count: int, draw: int, draws: int) -> list[int]:
    """``count`` indices below ``total``, evenly spaced, the first of them moved on by ``draw`` of ``draws`` parts of a space."""
    return [int((number + (draw + 0.5) / draws) * total / count) for number in range(count)]


def with_labels(dataset: Dataset, kept: list[int]) -> Dataset:
    """The same images, of which only ``kept`` have labels."""
    return replace(dataset, samples=[sample if index in kept else replace(sample, label=None) for index, sample in enumerate(dataset.samples)])


def probe_of(dataset: Dataset, cache: FeatureCache, classes: int) -> LinearProbe:
    """A linear probe on the features of the labelled images, with as many pixels as `teach` takes."""
    points = ProbePoints(len(dataset.labelled), classes, 0, POINTS)
    for index, sample in enumerate(dataset.samples):
        if sample.label is not None:
            points.add(torch.from_numpy(cache.tokens(index).astype(np.float32)), cache.grid(index), dataset.read_label(sample))
    return points.fit()


def predict(segmenter: Segmenter, tokens: torch.Tensor, grid: tuple[int, int], size: tuple[int, int], place: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Class (H, W): the leaf with the largest probability, upsampled, at its ``place`` (F,) among the data set's classes."""
    model = segmenter.model.clusters
    maps = model.fine_probabilities(model.fine_logits(tokens)).T.reshape(1, -1, *grid)
    leaves = interpolate(maps, size=size, mode="bilinear", align_corners=False)[0].argmax(dim=0).numpy()
    return place[leaves].astype(np.uint8)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--segmenter", type=Path, required=True)
    parser.add_argument("--counts", default="1,5,20")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    segmenter = Segmenter.load(options.segmenter)
    train, val = (open_dataset(options.data, split=split) for split in ("train", "val"))
    names = train.class_names or ()
    seen = segmenter.model.settings
    with terminal_progress() as progress:
        fitted_on, scored_on = (
            FeatureCache.build(
                [one.image for one in part.samples],
                segmenter.model.backbone,
                resolution=seen.resolution,
                brighten=seen.brighten,
                folder=options.cache,
                progress=progress,
            )
            for part in (train, val)
        )
    labels = [val.read_label(sample) for sample in val.samples]
    print(f"| labelled images | taught: mIoU / accuracy, {options.draws} draws | linear probe on features: mIoU / accuracy |\n|---|---|---|", flush=True)
    for count in [int(text) for text in options.counts.split(",")]:
        found: dict[str, list[tuple[float, float]]] = {"taught": [], "probe": []}
        for draw in range(options.draws):
            part = with_labels(train, chosen(len(train), count, draw, options.draws))
            taught = teach(segmenter, part, cache=options.cache).segmenter
            place = np.array([names.index(name) for name in (edit.name for edit in taught.edits if isinstance(edit, Rename))])
            probe = probe_of(part, fitted_on, len(names))
            counts = {what: np.zeros((len(names), len(names)), np.int64) for what in found}
            for index, label in enumerate(labels):
                tokens, grid, size = torch.from_numpy(scored_on.tokens(index).astype(np.float32)), scored_on.grid(index), (label.shape[0], label.shape[1])
                counts["taught"] += accumulate(predict(taught, tokens, grid, size, place), label, len(names), len(names))
                counts["probe"] += accumulate(probe.predict(tokens, grid, size), label, len(names), len(names))
            for what, histogram in counts.items():
                scores = matched_scores(histogram, np.arange(len(names)), names)
                found[what].append((scores.miou, scores.accuracy))
        cells = [" / ".join(f"{np.mean(column):.1f} ± {np.std(column):.1f}" for column in zip(*found[what], strict=True)) for what in ("taught", "probe")]
        print(f"| {count} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
