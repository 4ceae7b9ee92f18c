"""Images unlike all others, by three measures; each is compared with its own spread over the images, so nothing is set by hand.

The rule is the modified z-score of Iglewicz and Hoaglin, "How to detect and handle outliers", 1993: the distance from the
median in units of the median absolute deviation, times 0.6745; beyond 3.5 an observation is an outlier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

OUTLYING = 3.5
FEWEST = 12
"""With fewer images there is no spread to speak of."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outlier:
    """``image`` 0 to N - 1; ``reasons`` in plain words; ``score`` its largest modified z-score."""

    image: int
    reasons: tuple[str, ...]
    score: float


def modified_z(values: Values) -> Values:
    """Modified z-scores (N,); 0 everywhere where all values are equal."""
    away = values - np.median(values)
    spread = np.median(np.abs(away)) / 0.6745
    if spread == 0:  # more than half are equal: the authors fall back on the mean deviation
        spread = 1.253314 * np.abs(away).mean()
    return np.asarray(away / spread) if spread > 0 else np.zeros(len(values))


def partner_similarity(cosine: Values, owners: npt.NDArray[np.int64], images: int) -> Values:
    """Mean (N,) over an image's patches of the cosine (n,) with their best partner in another file."""
    return np.asarray(np.bincount(owners, cosine, images) / np.maximum(np.bincount(owners, minlength=images), 1))


def mix_distance(histogram: Values, numbers: npt.NDArray[np.int64]) -> Values:
    """Jensen-Shannon distance (N,), 0 to 1, from each image's mix of classes (N, K) to the nearest mix in another file."""
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(histogram > 0, histogram * np.log2(histogram), 0).sum(1)
    result = np.empty(len(histogram))
    for row, mix in enumerate(histogram):
        middle = (histogram + mix) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            joint = -np.where(middle > 0, middle * np.log2(middle), 0).sum(1)
        divergence = np.clip(joint - (entropy + entropy[row]) / 2, 0, 1)
        others = divergence[numbers != numbers[row]]
        result[row] = np.sqrt(others.min()) if len(others) else 0.0
    return result


def find_outliers(similarity: Values, fit: Values, mix: Values) -> list[Outlier]:
    """Images beyond `OUTLYING` in any of the three, the most unusual first; none with fewer than `FEWEST` images.

    Args:
        similarity: (N,) see `partner_similarity`; low is unusual.
        fit: (N,) mean cosine with the nearest fine cluster; low is unusual.
        mix: (N,) see `mix_distance`; high is unusual.
    """
    if len(similarity) < FEWEST:
        return []
    scores = np.stack([-modified_z(similarity), -modified_z(fit), modified_z(mix)])
    words = ("its patches have no good match in any other image", "its patches lie far from all classes", "no other image has a similar mix of classes")
    found = [
        Outlier(image, tuple(word for word, score in zip(words, scores[:, image], strict=True) if score > OUTLYING), float(scores[:, image].max()))
        for image in range(len(similarity))
        if scores[:, image].max() > OUTLYING
    ]
    return sorted(found, key=lambda outlier: -outlier.score)
