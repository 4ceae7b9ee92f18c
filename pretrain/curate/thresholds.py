"""From which similarity two images count as one picture: learnt from copies made of the pool's own images, without labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pretrain.curate.copies import SAME_PICTURE

Floats = npt.NDArray[np.float32]

MISSED = 0.02
"""Share of resized and re-encoded copies that may lie below ``copies``."""
STRANGE = 0.99
"""Share of images whose nearest different image is expected below ``strangers``."""

ALIKE = 1 - 1e-5
"""What the inner product of a unit vector with itself reaches, whatever its rounding: the highest similarity that may be asked for."""

_TURNS = 10


@dataclass(frozen=True)
class Thresholds:
    """Similarities from which images are removed, and what they were made of.

    Attributes:
        pool: within the pool.
        evaluation: against evaluation sets; lower.
        copies: what all but 2 % of resized and re-encoded copies reach.
        strangers: what the nearest different image of 99 % of images stays below.
        found: share of the copies of each kind that ``pool`` finds.
    """

    pool: float
    evaluation: float
    copies: float
    strangers: float
    found: dict[str, float]

    @property
    def separable(self) -> bool:
        """Whether copies are more alike than different images."""
        return self.strangers < self.copies


def learn_thresholds(copies: dict[str, Floats], nearest: Floats, given: float | None = None) -> Thresholds:
    """Thresholds half-way (pool) and a quarter of the way (evaluation) from ``strangers`` up to ``copies``; ``copies`` where that lies lower.

    The pool holds copies already, unknown which, and more of them make the nearest neighbours look more alike. So
    ``strangers`` is extrapolated from the lower half of the nearest neighbours that are no copies by the threshold itself, in
    turns until it stands still: the largest of many similarities follows Gumbel's law, which two of its quantiles determine.
    Where every image is as alike to another as copies are, strangers are taken to be alike without limit, so that the user is warned.

    Args:
        copies: for each kind of copy, the similarity (n,) of each with its original.
        nearest: (N,) similarity of each image of the pool with its nearest other.
        given: takes the place of ``pool``, up to `ALIKE`; ``evaluation`` is then at most that.
    """
    level = float(np.quantile(np.concatenate([copies[kind] for kind in SAME_PICTURE]), MISSED))
    middle = low = level
    strangers = 1.0  # what is known where no image is less alike to its nearest than copies are: nothing tells the two apart
    for _ in range(_TURNS):
        below = nearest[nearest < middle]
        if not len(below):
            break
        strangers = gumbel_quantile(below, STRANGE)
        low = min(strangers, level)
        middle = (low + level) / 2
    pool = min(middle if given is None else given, ALIKE)
    evaluation = min(pool, low + (level - low) / 4)
    found = {kind: float((values >= pool).mean()) for kind, values in copies.items()}
    return Thresholds(pool, evaluation, level, strangers, found)


def gumbel_quantile(values: Floats, share: float) -> float:
    """The quantile ``share`` of the Gumbel distribution that has the 10 % quantile and the median of ``values``; -1 if there are none."""
    if len(values) == 0:
        return -1.0
    lower, median = np.quantile(values, [0.1, 0.5])
    scale = (median - lower) / (_gumbel(0.5) - _gumbel(0.1))
    return float(median + scale * (_gumbel(share) - _gumbel(0.5)))


def _gumbel(share: float) -> float:
    """Quantile of the standard Gumbel distribution."""
    return float(-np.log(-np.log(share)))
