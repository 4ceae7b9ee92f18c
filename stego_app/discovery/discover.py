"""From the features of a set of images to its classes, from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from models.errors import StegoError
from models.head import LookupHead
from stego_app.clusters import ClusterModel, Head
from stego_app.discovery.class_count import choose_classes, unchecked_classes
from stego_app.discovery.codebook import sum_by_code
from stego_app.discovery.crop_pairs import CropPairs
from stego_app.discovery.distil_head import distil_head
from stego_app.discovery.division import Way, choose_way, tree_beneath
from stego_app.discovery.draws import Bank, Draw, classes_of_draws, make_draws
from stego_app.discovery.halves import Split
from stego_app.discovery.image_weight import STRONG_IMAGE_WEIGHT, choose_image_weight
from stego_app.discovery.metric import position_whitening, same_point_similarity
from stego_app.discovery.settings import DiscoverySettings
from stego_app.discovery.source import TokenSource, image_numbers
from stego_app.discovery.spectral import Matrix, code_vectors
from stego_app.discovery.tree import Labels, Tree
from stego_app.progress import Progress, silent

_CALIBRATED_ON = 5_000
_CHECKABLE = 20
"""Images from which halves of them can check a division on each other."""
_SPLITS = 4
_SHARED = 0.5
"""Share of patches with a match in another image under which images have too little in common to check each other."""
_CONSTANT = 1e-6
"""Variance of unit tokens under which only rounding is left."""


@dataclass(frozen=True)
class Discovery:
    """What was found.

    Attributes:
        model: the clusters.
        notes: what could not be known, and what was adapted, in plain words.
        threshold: cosine from which patches of different images counted as corresponding.
        linked: share of patches with a corresponding patch in another image.
        way: how the classes were found; see `division`.
        losses: mean cosine to the target code at each step of the head's training; empty for a lookup.
    """

    model: ClusterModel
    notes: list[str]
    threshold: float
    linked: float
    way: Way
    losses: list[float] = field(default_factory=list)


def discover(
    source: TokenSource,
    pairs: CropPairs,
    *,
    classes: int | None = None,
    way: Way | None = None,
    seed: int = 0,
    settings: DiscoverySettings | None = None,
    progress: Progress = silent,
) -> Discovery:
    """Find classes that hold across the images of ``source``, with nothing labelled and nothing to tune.

    Memory is bounded by ``settings.bank`` and ``settings.head_tokens``, whatever the number of images. The same seed gives
    the same bits on one machine and thread count.

    Args:
        source: patch tokens, e.g. a `stego_app.features.FeatureCache`.
        pairs: two views of the same points of these images; see `collect_crop_pairs`.
        classes: K; None lets `class_count.choose_classes` decide.
        way: how to find them; None lets `image_weight.choose_image_weight` and `division.choose_way` decide.
        seed: of all draws.
        settings: see `DiscoverySettings`.
        progress: called as ``progress(stage, done, total)`` with the stages "classes" and "head".

    Raises:
        StegoError: ``classes`` is below one, or more than the images can tell apart; all images look the same.
    """
    settings = settings or DiscoverySettings()
    if classes is not None and classes < 1:
        raise StegoError(f"classes {classes}: expected at least 1")
    notes: list[str] = []
    steps = settings.draws + 2
    sampled, entries = source.sample(max(settings.bank, settings.head_tokens), seed)
    images = image_numbers(source)
    mean = _mean(sampled)
    metric = position_whitening(pairs, mean, settings.whitening_floor)
    threshold = same_point_similarity(pairs, mean, settings.whitening_floor, settings.miss_rate)
    bank = Bank(metric.project(sampled), images[entries])
    draws = []
    for draw in make_draws(bank, source, metric, threshold, settings, seed):
        draws.append(draw)
        progress("classes", len(draws), steps)
    codes = max(len(draw.book) for draw in draws)
    if classes is not None and classes > codes:
        raise StegoError(f"classes {classes}: the images hold only {codes} distinct features; ask for at most {codes}")
    linked = _linked(draws, bank, notes)
    splits = _splits(draws, bank, linked, threshold, settings, seed) if classes is None or way is None else []
    count = _count(draws, splits, seed, notes) if classes is None else classes
    way = _way(draws, splits, count, seed, notes) if way is None else way
    progress("classes", settings.draws + 1, steps)
    found, labels = classes_of_draws(draws, count, way, settings.fine, seed)
    vectors, tree, directions = _fine_clusters(found, labels, way, min(len(found.book), max(settings.fine, count)))
    progress("classes", steps, steps)
    head, losses = _head(bank, found, torch.from_numpy(vectors).float(), settings, seed, progress)
    model = ClusterModel(metric.mean, metric.matrix, head, directions, 1.0, tree.merges, count)
    shown = sampled[:_CALIBRATED_ON]
    model = model.calibrated(torch.from_numpy(shown), torch.from_numpy(tree.leaf_of_code[found.codes.numpy()[: len(shown)]]))
    return Discovery(model, notes, threshold, linked, way, losses)


def _mean(tokens: npt.NDArray[np.float32]) -> torch.Tensor:
    """The mean (C,) of unit tokens."""
    unit = normalize(torch.from_numpy(tokens), dim=1)
    mean = unit.mean(0)
    if float(((unit - mean) ** 2).sum(1).mean()) < _CONSTANT:
        raise StegoError("the images look the same everywhere: no two classes can be told apart")
    return mean


def _linked(draws: Sequence[Draw], bank: Bank, notes: list[str]) -> float:
    """Share of patches with a match in another image, and what to say of it."""
    linked = float(np.mean([draw.cross.linked for draw in draws]))
    if len(np.unique(bank.images)) < 2:
        notes.append("only one image: correspondences were drawn inside it, so classes may follow shading or place")
    elif linked < _SHARED:
        notes.append(f"only {linked:.0%} of patches have a match in another image: expect classes that belong to single images")
    return linked


def _splits(draws: Sequence[Draw], bank: Bank, linked: float, threshold: float, settings: DiscoverySettings, seed: int) -> list[Split]:
    """The images in two halves, several times; never where they are too few, or share too little, to check anything on each other."""
    numbers = np.unique(bank.images)
    if len(numbers) < _CHECKABLE or linked < _SHARED:
        return []
    random = np.random.default_rng(seed)
    halves = [random.permutation(numbers)[: len(numbers) // 2] for _ in range(_SPLITS)]
    return [draws[number % len(draws)].split(bank, half, threshold, settings.adjacent_weight) for number, half in enumerate(halves)]


def _count(draws: Sequence[Draw], splits: Sequence[Split], seed: int, notes: list[str]) -> int:
    if not splits:
        count = unchecked_classes(draws[0].pairs.eigen(), seed)
        notes.append(f"the images are too few, or share too little, to check a number of classes on each other: {count} were taken; set it if it looks wrong")
        return count
    choice = choose_classes(splits, seed)
    if choice.classes == max(choice.losses):
        notes.append(f"more than {choice.classes} classes may hold; ask for more, or cut the tree finer")
    return choice.classes


def _way(draws: Sequence[Draw], splits: Sequence[Split], count: int, seed: int, notes: list[str]) -> Way:
    way = choose_way(splits, count, choose_image_weight(draws, count, seed), seed)
    if way.image_weight == STRONG_IMAGE_WEIGHT:
        notes.append("what tells whole images apart counted less than usual: classes would have divided images far less otherwise")
    if way.begun > count:
        notes.append(f"the classes are {way.begun} clusters joined to {count}: halves of the images agree on them so, and not on {count} found at once")
    return way


def _fine_clusters(found: Draw, labels: Labels, way: Way, fine: int) -> tuple[Matrix, Tree, torch.Tensor]:
    """The vectors (M, E) of codes that the head learns, the tree of ``fine`` clusters beneath the classes ``labels``, and their directions (fine, E)."""
    eigen = found.pairs.eigen(way.image_weight)
    vectors = code_vectors(eigen, way.begun)
    tree = tree_beneath(found.pairs, labels, way, fine)
    weighted = torch.from_numpy(vectors * eigen.degrees[:, None]).float()
    return vectors, tree, normalize(sum_by_code(weighted, torch.from_numpy(tree.leaf_of_code), fine), dim=1)


def _head(bank: Bank, found: Draw, vectors: torch.Tensor, settings: DiscoverySettings, seed: int, progress: Progress) -> tuple[Head, list[float]]:
    if settings.head == "lookup":
        return LookupHead(found.book, vectors, settings.lookup_sharpness).eval(), []
    return distil_head(bank.tokens, found.codes, vectors, settings, seed, progress)
