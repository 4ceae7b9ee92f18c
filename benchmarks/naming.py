"""How often the right word is found for labelled regions, and for a segmenter's clusters: tables of docs/naming.md.

    python benchmarks/naming.py DATA --words a,b,c --bridge bridge.safetensors [--segmenter s.safetensors] [--every 3]

DATA is a data set with label maps (see `stego_app.data`); the words are those of its classes, in the order of their numbers.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from models.backbone_sources import load_backbone
from models.text.bridge import Bridge, read_bridge
from models.text.sentences import MiniLm
from stego_app.data import Dataset, open_dataset
from stego_app.features import FeatureCache
from stego_app.naming.bridge_tower import BridgeTower
from stego_app.naming.name_classes import name_classes
from stego_app.naming.tower import probabilities
from stego_app.naming.words import parse_words
from stego_app.segmenter import Segmenter

LEAST_PATCHES = 4
MADE_UP = [
    "blorptang",
    "quivvle",
    "snorbet",
    "fraxindle",
    "mulgrath",
    "zeppitor",
    "dwimmelo",
    "crasticle",
    "yonderfip",
    "gloamwick",
    "trundlex",
    "bexamot",
    "plinthar",
    "vorskell",
    "jabbernot",
]


def regions(dataset: Dataset, cache: FeatureCache, classes: int) -> tuple[torch.Tensor, np.ndarray]:
    """Mean unit tokens (n, C) of each class in each image, and the class."""
    means, labels = [], []
    for row, sample in enumerate(dataset.samples):
        height, width = cache.grid(row)
        truth = dataset.read_label(sample)
        # The label at the centre of each patch.
        rows = ((np.arange(height) + 0.5) * truth.shape[0] / height).astype(int)
        columns = ((np.arange(width) + 0.5) * truth.shape[1] / width).astype(int)
        grid = truth[rows][:, columns].ravel()
        tokens = normalize(torch.from_numpy(cache.tokens(row).astype(np.float32)), dim=1)
        for label in range(classes):
            inside = torch.from_numpy(grid == label)
            if int(inside.sum()) >= LEAST_PATCHES:
                means.append(tokens[inside].mean(0))
                labels.append(label)
    return torch.stack(means), np.array(labels)


def balanced(hits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over classes of the share of ``hits``."""
    return float(np.mean([hits[labels == label].mean() for label in np.unique(labels)]))


def report_regions(bridge: Bridge, model: MiniLm, means: torch.Tensor, labels: np.ndarray, words: list[str]) -> None:
    """One line of scores over all regions, then the share of each class."""
    patches = bridge.patches(means)
    scores = bridge.scores(patches, bridge.words(model, [(word,) for word in words]))
    order = scores.argsort(dim=1, descending=True)[:, :3].numpy()
    first, three = order[:, 0] == labels, (order == labels[:, None]).any(1)
    chances = probabilities(scores, bridge.calibration).numpy()
    taken = chances.argmax(1) < len(words)
    made_up = bridge.scores(patches, bridge.words(model, [(word,) for word in MADE_UP]))
    refused = float((made_up.max(1).values <= bridge.calibration.threshold).float().mean())
    print(
        f"regions {len(labels)}, words {len(words)}: class-balanced top-1 {balanced(first, labels):.1%}, top-3 {balanced(three, labels):.1%}, "
        f"chance {1 / len(words):.1%}; a word taken for {taken.mean():.0%}, right for {first[taken].mean() if taken.any() else 0:.0%} of these; "
        f"{len(MADE_UP)} made-up words alone refused for {refused:.0%}"
    )
    print("  " + ", ".join(f"{words[label]} {first[labels == label].mean():.0%} of {(labels == label).sum()}" for label in np.unique(labels)))


def report_clusters(path: Path, bridge: Bridge, model: MiniLm, dataset: Dataset, words: list[str]) -> None:
    """Each class of a segmenter: its name, and what most of its labelled pixels are."""
    segmenter = Segmenter.load(path)
    found = name_classes(segmenter, parse_words(words, where="words", unit="word"), BridgeTower(bridge, model))
    counts = np.zeros((len(found), len(words)))
    for sample in dataset.samples:
        made = segmenter(dataset.read_image(sample), crf=False).labels
        truth = dataset.read_label(sample)
        known = (truth >= 0) & (truth < len(words)) & (made < len(found))
        np.add.at(counts, (made[known], truth[known]), 1)
    right, three, taken, taken_right = 0.0, 0.0, 0, 0
    for entry, row in zip(found, counts, strict=True):
        truth_name = words[int(row.argmax())] if row.any() else "?"
        best = [name for name, _ in entry.candidates]
        right += best[0] == truth_name
        three += truth_name in best
        taken += entry.name is not None
        taken_right += entry.name == truth_name
        purity = row.max() / max(1, row.sum())
        print(f"  {entry.label:>2} {entry.shown:<15} {entry.confidence:4.0%}  mostly {truth_name} ({purity:.0%}); best words: {', '.join(best)}")
    total = len(found)
    print(f"clusters {total}: top-1 {right / total:.1%}, top-3 {three / total:.1%}, chance {1 / len(words):.1%}; named {taken}, of these right {taken_right}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--words", required=True)
    parser.add_argument("--bridge", type=Path, action="append", required=True)
    parser.add_argument("--segmenter", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    words = given.words.split(",")
    dataset = open_dataset(given.data, split=given.split, layout="auto", labels=given.labels)
    dataset = replace(dataset, samples=dataset.samples[:: given.every])
    paths = [sample.image for sample in dataset.samples]
    cache = FeatureCache.build(paths, load_backbone("default"), resolution=given.resolution, folder=given.cache)
    means, labels = regions(dataset, cache, len(words))
    model = MiniLm.load()
    for path in given.bridge:
        bridge = read_bridge(path)
        print(f"{path.name}: {bridge.calibration}")
        report_regions(bridge, model, means, labels, words)
        if given.segmenter is not None:
            report_clusters(given.segmenter, bridge, model, dataset, words)


if __name__ == "__main__":
    main()
