"""Measure the table of agreement and calibrate confidence, at training, without labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.isotonic import IsotonicRegression

from stego_app.clusters import ClusterModel, cut, sum_parts
from stego_app.confidence.agreement import Agreement, Floats, Reliability
from stego_app.confidence.calibration import calibration_error
from stego_app.confidence.maps import raw_scores
from stego_app.confidence.partners import Patches, agreement_rates, partners_of, transitions_of
from stego_app.discovery.source import TokenSource, image_numbers
from stego_app.progress import Progress, silent

FEWEST_IMAGES = 4
"""Two halves of two images each: the fewest of which one half can be checked on the other."""
_IMAGES = 200
_PATCHES = 20_000
_KNOTS = 33


class _Image(NamedTuple):
    """An image looked at: ``fine`` (F, h, w) probabilities, and the ``places`` (p,) of the patches drawn, in reading order."""

    number: int
    fine: Floats
    places: npt.NDArray[np.int64]


@torch.inference_mode()
def fit_agreement(clusters: ClusterModel, source: TokenSource, *, seed: int = 0, progress: Progress = silent) -> Agreement | None:
    """The table of agreement of ``clusters`` on the images of ``source``, at their own number of classes.

    Transitions are counted on one half of the images, and the curve from score to agreement is fitted (isotonic regression) on
    the other half, both ways round; what is kept is counted and fitted on all. Looks at 200 images and 20,000 patches at most.

    Args:
        clusters: with the metric in which patches are compared.
        source: patch tokens, e.g. a `stego_app.features.FeatureCache`.
        seed: of the images and patches drawn.
        progress: called as ``progress("confidence", done, total)``.

    Returns:
        None for fewer than `FEWEST_IMAGES` images, which cannot be checked on each other.
    """
    numbers = image_numbers(source)
    if len(np.unique(numbers)) < FEWEST_IMAGES:
        return None
    random = np.random.default_rng(seed)
    images, patches = _look(clusters, source, numbers, random, progress)
    part_of_leaf = cut(clusters.merges, clusters.classes)
    classes = class_of_patches(patches.fine, part_of_leaf, clusters.classes)
    shuffled = random.permutation(np.unique(patches.images))
    first = np.isin(patches.images, shuffled[: len(shuffled) // 2])
    tried = []
    for learnt, held_out in ((first, ~first), (~first, first)):
        known = patches.take(learnt)
        table = transitions_of(known.fine, partners_of(known))
        scores = _scores(images, table, part_of_leaf, clusters.classes)
        own = scores[np.flatnonzero(held_out), classes[held_out]]
        tried.append((own, agreement_rates(classes[held_out], partners_of(patches.take(held_out)))))
    table = transitions_of(patches.fine, partners_of(patches))
    knots, rates = curve(np.concatenate([scores for scores, _ in tried]), np.concatenate([found for _, found in tried]))
    return Agreement(table, knots, rates, _reliability(tried))


def class_of_patches(fine: torch.Tensor, part_of_leaf: npt.NDArray[np.int64], parts: int) -> npt.NDArray[np.int64]:
    """Class (n,) of each patch: the most probable one."""
    return np.asarray(sum_parts(fine, part_of_leaf, parts).argmax(1).numpy())


def _look(
    clusters: ClusterModel, source: TokenSource, numbers: npt.NDArray[np.int64], random: np.random.Generator, progress: Progress
) -> tuple[list[_Image], Patches]:
    """The images drawn, whole, and the patches drawn from them, in the same order."""
    chosen = np.sort(random.permutation(len(source))[:_IMAGES])
    if len(np.unique(numbers[chosen])) < FEWEST_IMAGES:  # many crops of few images: take one of each image first
        chosen = np.sort(np.unique(numbers, return_index=True)[1])
    share = -(-_PATCHES // len(chosen))
    images, tokens, fine, owner = [], [], [], []
    for done, index in enumerate(chosen.tolist(), start=1):
        grid = source.grid(index)
        # A copy, since the features of a cache are a read-only view of a file.
        found = torch.from_numpy(np.array(source.tokens(index), dtype=np.float32))
        probabilities = clusters.fine_probabilities(clusters.fine_logits(found))
        places = np.sort(random.permutation(len(found))[:share])
        images.append(_Image(int(numbers[index]), probabilities.T.reshape(-1, *grid).numpy(), places))
        tokens.append(clusters.project(found[torch.from_numpy(places)]))
        fine.append(probabilities[torch.from_numpy(places)])
        owner.append(np.full(len(places), numbers[index], dtype=np.int64))
        progress("confidence", done, len(chosen))
    return images, Patches(torch.cat(tokens), torch.cat(fine), np.concatenate(owner))


def _scores(images: list[_Image], transitions: Floats, part_of_leaf: npt.NDArray[np.int64], classes: int) -> Floats:
    """(n, K) raw score of each class at each patch drawn."""
    return np.concatenate([raw_scores(image.fine, transitions, part_of_leaf, classes).reshape(classes, -1).T[image.places] for image in images])


def curve(scores: npt.NDArray[np.floating], rates: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Knots (n,) and never decreasing rates (n,) of the curve from score to agreement: isotonic regression, kept at quantiles of the scores."""
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, rates)
    knots = np.unique(np.quantile(scores, np.linspace(0, 1, _KNOTS)).astype(np.float32))
    if len(knots) < 2:  # every patch has the same score
        knots = np.array([0, 1], dtype=np.float32)
    return knots, np.maximum.accumulate(np.clip(fitted.predict(knots), 0, 1)).astype(np.float32)


def _reliability(tried: list[tuple[Floats, npt.NDArray[np.float64]]]) -> Reliability:
    """Each half's curve tried on the other half."""
    predicted, found = [], []
    for learnt, held_out in (tried, tried[::-1]):
        knots, rates = curve(*learnt)
        predicted.append(np.interp(held_out[0], knots, rates))
        found.append(held_out[1])
    joined, met = np.concatenate(predicted), np.concatenate(found)
    return Reliability(len(met), float(met.mean()), calibration_error(joined, met, np.ones(len(met))))
