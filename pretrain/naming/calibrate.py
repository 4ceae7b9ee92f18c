"""How far a bridge is to be trusted: measured on names that it was not fitted to, among words that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from models.text.bridge import Bridge, Calibration
from pretrain.naming.fit import Material

FOLDS = 4
LIST = 23
LISTS = 60
REJECTION = 0.8
"""Share of images for which no word is to be taken where all words are wrong."""
_TEMPERATURES = np.geomspace(0.02, 1.0, 24)


@dataclass(frozen=True)
class HeldOut:
    """CSLS scores of images with lists of words that the bridge was not fitted to.

    Attributes:
        right: (n, l) scores; the right word is in column 0. l is `LIST`, or fewer where there are fewer names.
        wrong: (n, l) scores with lists without the right word.
        names: (n,) the name of each row's image.
    """

    right: npt.NDArray[np.float64]
    wrong: npt.NDArray[np.float64]
    names: npt.NDArray[np.int64]

    @property
    def top1(self) -> float:
        """Share of the first places that the right word takes, every name weighing the same."""
        hits = self.right.argmax(1) == 0
        return float(np.mean([hits[self.names == name].mean() for name in np.unique(self.names)]))


def held_out_scores(material: Material, fit: Callable[[Material], Bridge], seed: int = 0) -> HeldOut:
    """Scores in `FOLDS` folds over names: fitted to the images of the other names, asked about the images of these, each in several random lists."""
    random = np.random.default_rng(seed)
    order = random.permutation(np.unique(material.names))
    size = min(LIST, len(order) // FOLDS - 1)
    parts: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]] = []
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        inside = np.isin(material.names, held)
        bridge = fit(material.subset(np.flatnonzero(~inside)))
        images = material.subset(np.flatnonzero(inside))
        words = normalize(material.vocabulary[torch.from_numpy(held)] - bridge.text_mean, dim=1)
        scores = bridge.scores(bridge.patches(images.cells.mean(1)), words).double().numpy()
        column = {int(name): place for place, name in enumerate(held)}
        parts.append(_listed(scores, np.array([column[int(name)] for name in images.names]), images.names, size, random))
    right, wrong, names = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return HeldOut(right, wrong, names)


def _listed(
    scores: npt.NDArray[np.float64], truth: npt.NDArray[np.int64], names: npt.NDArray[np.int64], size: int, random: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Each image with random lists: as many as make `LISTS` times `LIST` asked words a name or so, but one at least."""
    right, wrong, asked = [], [], []
    others = np.arange(scores.shape[1])
    for row, place, name in zip(scores, truth, names, strict=True):
        for _ in range(max(1, LISTS * LIST // len(scores))):
            drawn = random.choice(others[others != place], size, replace=False)
            right.append(row[[place, *drawn[: size - 1]]])
            wrong.append(row[drawn])
            asked.append(name)
    return np.stack(right), np.stack(wrong), np.array(asked)


def calibration_of(held: HeldOut, rejection: float = REJECTION) -> Calibration:
    """The threshold at which a share ``rejection`` of images takes none of the wrong words, and the temperature at which probabilities fit best."""
    threshold = float(np.quantile(held.wrong.max(1), rejection))
    scores = np.concatenate([held.right, held.wrong])
    rows = np.concatenate([scores, np.full((len(scores), 1), threshold)], axis=1)
    truth = np.concatenate([np.zeros(len(held.right), np.int64), np.full(len(held.wrong), rows.shape[1] - 1)])
    losses = [_loss(rows / temperature, truth) for temperature in _TEMPERATURES]
    taken = float((held.right.max(1) > threshold).mean())
    return Calibration(float(_TEMPERATURES[int(np.argmin(losses))]), threshold, float((held.wrong.max(1) <= threshold).mean()), taken)


def _loss(logits: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]) -> float:
    """Mean cross-entropy of the softmax of ``logits`` (n, k)."""
    top = logits.max(1, keepdims=True)
    normaliser = top[:, 0] + np.log(np.exp(logits - top).sum(1))
    return float((normaliser - logits[np.arange(len(truth)), truth]).mean())
