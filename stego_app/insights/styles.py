"""Classes that follow how or where pictures were taken rather than what is in them.

A *style* is a part of the images: those of one sequence (by file name), or the darker or brighter ones. A class that occurs
in one style only is suspicious where the other images hold a counterpart: a class that is as exclusively theirs and is the
most similar one, and the other way round, once the mean of each style is taken away.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

CONFINED = 0.95
"""Share of a class's patches that lie in one style: all but one in twenty."""
PREDICTED = 0.95
"""Brightness tells whether a class is in an image where it ranks a pair of images, one with and one without it, right so often."""
PRESENT = 0.01
"""A class is in an image where it has so much of its patches."""
_FEWEST = 5
_COUNTERPART = 0.5
_GROUPS = 20

Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Style:
    """A part of the images: ``name`` in plain words, ``members`` (N,) bool."""

    name: str
    members: Mask


@dataclass(frozen=True)
class Confined:
    """``label`` has ``inside`` of its patches in ``style``, which holds ``images`` of all images; ``counterpart`` is its like elsewhere, if any."""

    label: int
    style: Style
    inside: float
    images: float
    counterpart: int | None = None
    similarity: float = 0.0


def sequences(paths: Sequence[Path]) -> list[Style]:
    """Images by folder and by what their names begin with, up to the last number; none where that gives one group, or many small ones.

    A style is called by what tells it apart: the beginning of the names, the folder, or both where several folders have names of one beginning.
    """
    keys = [(str(path.parent), re.sub(r"[^A-Za-z0-9]*[A-Za-z]{0,3}\d+\D{0,3}$", "", path.stem)) for path in paths]
    groups = sorted(set(keys))
    if not 2 <= len(groups) <= _GROUPS:
        return []
    several_folders = len({folder for folder, _ in groups}) > 1
    folders_with = Counter(prefix for _, prefix in groups)
    styles = []
    for folder, prefix in groups:
        named = [f"named {prefix}…"] if prefix else []
        placed = [f"in {Path(folder).name}"] if folders_with[prefix] > 1 or (several_folders and not prefix) else []
        styles.append(Style(" ".join([*named, *placed]) or "with other names", np.array([key == (folder, prefix) for key in keys])))
    return [style for style in styles if style.members.sum() >= _FEWEST]


def class_brightness(maps: Sequence[Labels], brightness: Sequence[Values], classes: int) -> Values:
    """Mean brightness of each image (N, K) *outside* each class, so that a dark thing does not make its picture dark; NaN where nothing is outside."""
    rows = []
    for labels, values in zip(maps, brightness, strict=True):
        total = np.bincount(labels.ravel(), values.ravel(), classes)
        outside = labels.size - np.bincount(labels.ravel(), minlength=classes)
        rows.append(np.divide(values.sum() - total, outside, out=np.full(classes, np.nan), where=outside > 0))
    return np.stack(rows)


def dark_share(brightness: Sequence[Values], limit: float) -> float:
    """Share of the images with a mean brightness below ``limit``; wholly black patches do not count, nor images with NaN."""
    known = [values[values > 0] for values in brightness if not np.isnan(values).any()]
    return float(np.mean([bool(len(seen)) and seen.mean() < limit for seen in known])) if known else 0.0


def rank_accuracy(values: Values, positive: Mask) -> float:
    """How often a positive has the larger value in a pair of one positive and one negative (the area under the ROC curve)."""
    ranks = rankdata(values)
    pairs = positive.sum() * (~positive).sum()
    return float((ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2) / pairs)


def lighting(histogram: Values, brightness: Values) -> dict[int, Style]:
    """Class to the style of brightness that it follows, for those that do.

    Args:
        histogram: (N, K) share of each image's patches in each class.
        brightness: (N, K) see `class_brightness`.
    """
    found = {}
    for label in range(histogram.shape[1]):
        known = ~np.isnan(brightness[:, label])
        present = (histogram[:, label] >= PRESENT) & known
        absent = known & ~present
        if min(present.sum(), absent.sum()) < _FEWEST:
            continue
        values = brightness[:, label]
        accuracy = rank_accuracy(values[known], present[known])
        if max(accuracy, 1 - accuracy) >= PREDICTED:
            brighter = accuracy > 0.5
            limit = (np.median(values[present]) + np.median(values[absent])) / 2
            found[label] = Style("that are bright" if brighter else "that are dark", values > limit if brighter else values <= limit)
    return found


def find_confined(histogram: Values, styles: Sequence[Style], by_light: dict[int, Style], centroids: Sequence[Values] = ()) -> list[Confined]:
    """Classes that lie in one style of at most half of the images, largest class first.

    Args:
        histogram: (N, K) share of each image's patches in each class.
        styles: any class may lie in these.
        by_light: class to a style of brightness, see `lighting`.
        centroids: for each of ``styles`` and then of ``by_light``'s, the class means (K, D) of patches with the mean of their
            side (inside or outside the style) taken away; see `centred_means`. Without them no counterparts are looked for.
    """
    share = histogram.mean(0)
    found: dict[int, Confined] = {}
    for number, style in enumerate([*styles, *by_light.values()]):
        within = histogram[style.members].sum(0) / np.maximum(histogram.sum(0), 1e-12)
        images = float(style.members.mean())
        owners = range(len(share)) if number < len(styles) else [list(by_light)[number - len(styles)]]
        for label in owners:
            present = (histogram[:, label] >= PRESENT).sum()
            if images > 0.5 or label in found or present < _FEWEST or within[label] < CONFINED or share[label] == 0:
                continue
            counterpart, similarity = _counterpart(label, within, share, centroids[number]) if len(centroids) else (None, 0.0)
            found[label] = Confined(label, style, float(within[label]), images, counterpart, similarity)
    return sorted(found.values(), key=lambda confined: -share[confined.label])


def centred_means(tokens: npt.NDArray[np.float32], labels: Labels, inside: Mask, classes: int) -> Values:
    """Unit means (K, D) of the patches of each class, each patch less the mean of its side of a style.

    Args:
        tokens: (n, D) patches.
        labels: (n,) their classes.
        inside: (n,) which of them lie in images of the style.
        classes: K.
    """
    centred = tokens.astype(np.float64)
    for side in (inside, ~inside):
        if side.any():
            centred[side] -= centred[side].mean(0)
    means = np.stack([centred[labels == label].mean(0) if (labels == label).any() else np.zeros(tokens.shape[1]) for label in range(classes)])
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12))


def _counterpart(label: int, within: Values, share: Values, means: Values) -> tuple[int | None, float]:
    """The class of the other side that is most similar to ``label``, and the other way round."""
    inner = [k for k in range(len(share)) if share[k] > 0 and within[k] >= CONFINED]
    outer = [k for k in range(len(share)) if share[k] > 0 and within[k] <= 1 - CONFINED]
    if not outer:
        return None, 0.0
    similarity = means[inner] @ means[outer].T
    row = inner.index(label)
    column = int(similarity[row].argmax())
    mutual = int(similarity[:, column].argmax()) == row
    value = float(similarity[row, column])
    return (outer[column], value) if mutual and value >= _COUNTERPART else (None, value)
