"""Whether two divisions agree on how images are divided.

Over all pairs of patches, as usual, two divisions that only tell whole images apart would agree perfectly, though they divide no image. So
patches are compared with those of their own image: by the adjusted Rand index (Hubert & Arabie 1985), which says how well divisions
agree, and by mutual information, which says on how much.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import entropy

from stego_app.discovery.tree import Labels


def agreement_within_images(first: Labels, second: Labels, images: Labels) -> float:
    """The adjusted Rand index over pairs of patches of one image.

    At most 1; 0 where they agree no more than by chance, drawn anew in each image, and where neither divides any image.

    Args:
        first, second: (n,) class of each patch.
        images: (n,) number of the image of each.
    """
    table = _in_images(first, second, images)
    both = _pairs(table).sum((1, 2))
    one, other, all_ = _pairs(table.sum(2)).sum(1), _pairs(table.sum(1)).sum(1), _pairs(table.sum((1, 2)))
    expected = (one * other / np.maximum(all_, 1)).sum()
    most = (one + other).sum() / 2
    return float((both.sum() - expected) / (most - expected)) if most - expected > 1e-9 * most else 0.0


def information_within_images(first: Labels, second: Labels, images: Labels) -> float:
    """What one division tells of the other about a patch whose image is known: their mutual information given the image, in nats.

    Args:
        first, second, images: as above.
    """
    table = _in_images(first, second, images)
    own = _entropies(table.sum(2)) + _entropies(table.sum(1)) - _entropies(table.reshape(len(table), -1))
    return float(np.average(own, weights=table.sum((1, 2))))


def _in_images(first: Labels, second: Labels, images: Labels) -> npt.NDArray[np.int64]:
    """Counts (I, K, L) of patches by image and both classes."""
    _, image = np.unique(images, return_inverse=True)
    wide, high = int(first.max()) + 1, int(second.max()) + 1
    counts = np.bincount((image * wide + first) * high + second, minlength=(int(image.max()) + 1) * wide * high)
    return counts.reshape(-1, wide, high)


def _entropies(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Of each row (I, n), in nats."""
    return np.asarray(entropy(counts, axis=1))


def _pairs(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Pairs among so many."""
    return np.asarray(counts * (counts - 1.0) / 2)
