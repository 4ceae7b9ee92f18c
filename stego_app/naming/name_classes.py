"""Which of some words fits each class of a segmenter, and how surely."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from models.errors import StegoError
from stego_app.naming.prototypes import class_prototypes
from stego_app.naming.tower import TextTower, probabilities
from stego_app.naming.words import NONE, Word
from stego_app.segmenter import Segmenter

SHOWN = 3


@dataclass(frozen=True)
class ClassName:
    """What was found for one class.

    Attributes:
        label: the class.
        name: the word that fits best; None where none of them is taken.
        confidence: 0 to 1: the probability of that word, or of none of them.
        candidates: the best words with their probabilities, the best first; they and that of none of the words sum to at most 1.
    """

    label: int
    name: str | None
    confidence: float
    candidates: tuple[tuple[str, float], ...]

    @property
    def shown(self) -> str:
        """The name, or `NONE`."""
        return NONE if self.name is None else self.name


def name_classes(
    segmenter: Segmenter,
    words: Sequence[Word],
    tower: TextTower,
    *,
    classes: int | None = None,
    images: Iterable[npt.NDArray[np.uint8]] | None = None,
    least: float = 0.0,
) -> list[ClassName]:
    """A word, or none, for each class.

    Args:
        segmenter: whose classes to name.
        words: to choose from.
        tower: compares words with patches.
        classes: the granularity; the segmenter's own if None.
        images: to look at; the mean patches kept in the segmenter's file if None.
        least: confidence below which no word is taken either.

    Raises:
        StegoError: neither images nor mean patches, or a class that is in none of the images and so cannot be looked at.
    """
    vectors = _from_file(segmenter, tower, classes) if images is None else _from_images(segmenter, tower, images, classes)
    scores = tower.scores(vectors, tower.words(words))
    chances = probabilities(scores, tower.calibration).numpy()
    return [_named(label, row, words, least) for label, row in enumerate(chances)]


def rename_classes(segmenter: Segmenter, names: Sequence[tuple[int, str]], classes: int | None = None) -> Segmenter:
    """``segmenter`` with these classes called so: one edit a class, each of which can be undone; a name that several get is numbered.

    Raises:
        StegoError: a class that does not exist, or a name that cannot be one.
    """
    table = segmenter.table(classes)
    often = {name: sum(other == name for _, other in names) for _, name in names}
    given: dict[str, int] = {}
    for label, name in names:
        given[name] = given.get(name, 0) + 1
        segmenter = segmenter.rename(table.leaves_of(label), f"{name} {given[name]}" if often[name] > 1 else name)
    return segmenter


def _named(label: int, chances: npt.NDArray[np.float32], words: Sequence[Word], least: float) -> ClassName:
    order = np.argsort(-chances[:-1], kind="stable")
    best, none = float(chances[order[0]]), float(chances[-1])
    candidates = tuple((words[index].name, float(chances[index])) for index in order[:SHOWN])
    taken = best > none and best >= least
    return ClassName(label, words[order[0]].name if taken else None, best if taken else none, candidates)


def _from_file(segmenter: Segmenter, tower: TextTower, classes: int | None) -> torch.Tensor:
    prototypes = segmenter.model.prototypes
    if prototypes is None:
        raise StegoError(f"'{segmenter.name}' was made before segmenters kept what their classes look like; give images that show them: --images FOLDER")
    return tower.tokens(class_prototypes(prototypes, segmenter.model.shares, segmenter.table(classes)))


def _from_images(segmenter: Segmenter, tower: TextTower, images: Iterable[npt.NDArray[np.uint8]], classes: int | None) -> torch.Tensor:
    """Vectors (K, D) of the classes: the mean over all patches of ``images``, weighted by each patch's probability of the class."""
    total: torch.Tensor | None = None
    for image in images:
        encoded = segmenter.encode(image)
        weights = torch.from_numpy(segmenter.probabilities(encoded, classes=classes))[:-1].flatten(1)
        # Only the patches that a class wins say what it looks like.
        weights = weights * (weights == weights.max(0, keepdim=True).values)
        found = weights @ normalize(tower.image(encoded).float().cpu(), dim=1)
        total = found if total is None else total + found
    if total is None:
        raise StegoError("no image to look at; expected at least one")
    missing = [str(label) for label, row in enumerate(total) if not row.any()]
    if missing:
        raise StegoError(f"class {', '.join(missing)}: in none of the images; give more of them, or images of the kind that the segmenter was trained on")
    return normalize(total, dim=1)
