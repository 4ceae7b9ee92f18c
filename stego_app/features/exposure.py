"""Dark images brightened to what a backbone has mostly seen, so that a place looks alike by day and at dusk."""

from __future__ import annotations

from math import log

import torch

DARK = 0.35
"""Mean luminance below which an image counts as dark: five of six photos of ImageNet are brighter."""

_DARKEST = 0.02
"""A black image has no exposure to mend: no power below log(0.35) / log(0.02), about 0.27."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def brightened(images: torch.Tensor) -> torch.Tensor:
    """Each image with a mean luminance below `DARK` raised to the power that takes that value to `DARK`; the others as they are.

    A power (gamma correction) keeps black, white and the order of brightness, and depends on nothing but the image itself, so that
    images yet to come are seen as those of the training were. Backbones take a street at dusk for something else than one by
    day: without this, classes are divided by lighting. What is wholly black (a frame, no data) says nothing of the exposure and does not count.

    Args:
        images: (..., 3, H, W) RGB in [0, 1].
    """
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device)
    pixels = (images * weights[:, None, None]).sum(-3)
    luminance = pixels.sum((-2, -1)) / (pixels > 0).sum((-2, -1)).clamp(min=1)
    power = log(DARK) / luminance.clamp(_DARKEST, DARK).log()
    return torch.where((luminance < DARK)[..., None, None, None], images ** power[..., None, None, None], images)
