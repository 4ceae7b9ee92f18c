"""At which size a backbone should see images: larger where they show things that are smaller than its patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import avg_pool2d

from models.errors import StegoError
from stego_app.data.dataset import evenly
from stego_app.features.extract import resize_for_backbone
from stego_app.progress import Progress, silent

USUAL = 224
"""Short side in pixels at which most images are seen. Larger ones tell more of details and less of what they are part of."""
LARGER = 448
KEPT = 2 / 3
"""Below this much kept, `LARGER` is taken. Of what is in docs/results.md photos of streets, things and faces keep 0.74 and more in patches of 14 pixels,
fields, and cells and rock under a microscope, 0.42 to 0.63."""
_LOOKED_AT = 40


class Sized(NamedTuple):
    """``resolution``: the short side in pixels; ``kept``: the median over images of `kept_by_patches` at `USUAL`."""

    resolution: int
    kept: float


def kept_by_patches(image: torch.Tensor, patch: int) -> float:
    """How much of what its colours vary by an image keeps where each patch has only its mean colour: the variance between patches by the whole, 0 to 1.

    (The correlation ratio η² of analysis of variance.) Pixels are averaged two by two first, since what differs from one to the next is mostly noise.

    Args:
        image: (3, h, w); both sides are multiples of ``patch``.
        patch: side of a patch, 2 or more.
    """
    seen, patches = (avg_pool2d(image[None], side)[0].flatten(1).var(1, correction=0).sum() for side in (2, patch))
    return float(patches / seen) if seen > 0 else 1.0


def choose_resolution(paths: Sequence[Path], patch: int, read: Callable[[Path], npt.NDArray[np.uint8]], progress: Progress = silent) -> Sized:
    """`LARGER` where most images lose more than patches should at `USUAL`, told from up to `_LOOKED_AT` of them, evenly spaced.

    Images that cannot be read are passed over; `USUAL` where none can.

    Args:
        paths: of the images.
        patch: side of the backbone's patches.
        read: a path to (H, W, 3) uint8 RGB.
        progress: called as ``progress("detail", done, total)``.
    """
    looked_at = evenly(paths, _LOOKED_AT)
    kept = []
    for number, path in enumerate(looked_at, start=1):
        with suppress(StegoError):  # the features are built from all images: what cannot be read is told there
            kept.append(kept_by_patches(resize_for_backbone(read(path), USUAL, patch), patch))
        progress("detail", number, len(looked_at))
    median = float(np.median(kept)) if kept else 1.0
    return Sized(USUAL if median >= KEPT else LARGER, median)
