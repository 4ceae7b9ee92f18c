"""Random views of an image, drawn from a generator of their own so that a resumed run sees the same ones.

lightly's and torchvision's transforms draw from torch's global generator, which threads and workers share; these draw from one
NumPy generator a view. The strengths are those of SimCLR (Chen et al., 2020, appendix A) and of what followed it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

Floats = npt.NDArray[np.floating]
LUMA = np.array([0.299, 0.587, 0.114])
"""Shares of red, green and blue in luma (ITU-R BT.601)."""
YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""Colours to luma and two axes of chroma (the NTSC's of 1953)."""
FROM_YIQ = np.linalg.inv(YIQ)


@dataclass(frozen=True)
class Crop:
    """One kind of view.

    Attributes:
        size: side in pixels.
        scale: smallest and largest share of the image's area.
        flip: probability of mirroring.
        jitter: probability of colour jitter; its strengths are ``brightness``, ``contrast``, ``saturation`` (factors of 1 ± strength) and
            ``hue`` (a turn of the colour circle up to ± that share).
        grey, blur, solarize: probabilities. Blur has a Gaussian sigma of 0.1 to 2 pixels at size 224, smaller in proportion below.
    """

    size: int
    scale: tuple[float, float] = (0.2, 1.0)
    flip: float = 0.5
    jitter: float = 0.0
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey: float = 0.0
    blur: float = 0.0
    solarize: float = 0.0


def plain_crop(size: int, scale: tuple[float, float] = (0.2, 1.0)) -> Crop:
    """Cropping and mirroring alone: what masked image models need (He et al., 2022, table 1e)."""
    return Crop(size, scale)


def simclr_crop(size: int, scale: tuple[float, float] = (0.08, 1.0)) -> Crop:
    """SimCLR's augmentation at strength 1 (0.8, 0.8, 0.8, 0.2 times 0.5 as ImageNet's later recipes use it)."""
    return Crop(size, scale, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, grey=0.2, blur=0.5 if size >= 64 else 0.0)


def byol_crops(size: int, scale: tuple[float, float] = (0.08, 1.0)) -> tuple[Crop, Crop]:
    """BYOL's two asymmetric views (Grill et al., 2020, table 6): blur always and never solarized; blur seldom and solarized at 0.2."""
    first = Crop(size, scale, jitter=0.8, grey=0.2, blur=1.0 if size >= 64 else 0.0)
    return first, replace(first, blur=0.1 if size >= 64 else 0.0, solarize=0.2)


def make_view(pixels: npt.NDArray[np.uint8], crop: Crop, rng: np.random.Generator) -> tuple[torch.Tensor, tuple[float, float, float, float], bool]:
    """A view of ``pixels`` (H, W, 3) uint8.

    Returns:
        The view (3, size, size) uint8; its box (left, top, right, bottom) as shares of the image's sides in [0, 1]; whether it is mirrored.
    """
    rows, columns = pixels.shape[:2]
    box = random_box(rows, columns, crop.scale, rng)
    view = np.asarray(Image.fromarray(pixels).resize((crop.size, crop.size), Image.Resampling.BICUBIC, box=box))
    flipped = bool(rng.random() < crop.flip)
    if flipped:
        view = np.ascontiguousarray(view[:, ::-1])
    colours = random_colours(crop, view, rng)
    if colours is not None:
        view = cv2.transform(view, colours)
    if rng.random() < crop.blur:
        view = cv2.GaussianBlur(view, (0, 0), rng.uniform(0.1, 2.0) * min(1.0, crop.size / 224))
    if rng.random() < crop.solarize:
        view = np.where(view < 128, view, 255 - view)
    tensor = torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))
    left, top, right, bottom = box
    return tensor, (left / columns, top / rows, right / columns, bottom / rows), flipped


def random_box(rows: int, columns: int, scale: tuple[float, float], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A random resized crop's box in pixels, of aspect 3/4 to 4/3 where the image has room for it."""
    area = rows * columns * rng.uniform(*scale)
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    width, height = min(columns, np.sqrt(area * aspect)), min(rows, np.sqrt(area / aspect))
    left, top = rng.uniform(0, columns - width), rng.uniform(0, rows - height)
    return float(left), float(top), float(left + width), float(top + height)


def random_colours(crop: Crop, view: npt.NDArray[np.uint8], rng: np.random.Generator) -> Floats | None:
    """Colour jitter and greying of ``view`` (H, W, 3) as one affine map (3, 4) of its colours, or None for none.

    Brightness, contrast, saturation and hue, in a random order, are each affine, so that they are multiplied before they are
    applied: pixels are clipped and rounded once. Hue turns the colour circle of YIQ, which keeps luma, where the papers' code turns HSV's.
    """
    jittered, greyed = rng.random() < crop.jitter, rng.random() < crop.grey
    if not (jittered or greyed):
        return None
    colours: Floats = np.eye(3, 4)
    if jittered:
        mean = np.array([*cv2.mean(view)[:3], 1.0])
        for step in rng.permutation(4):
            if step == 0 and crop.brightness:
                colours = rng.uniform(max(0, 1 - crop.brightness), 1 + crop.brightness) * colours
            elif step == 1 and crop.contrast:
                colours = contrast(colours, rng.uniform(max(0, 1 - crop.contrast), 1 + crop.contrast), mean)
            elif step == 2 and crop.saturation:
                colours = saturation(rng.uniform(max(0, 1 - crop.saturation), 1 + crop.saturation)) @ colours
            elif step == 3 and crop.hue:
                colours = hue(rng.uniform(-crop.hue, crop.hue)) @ colours
    return saturation(0.0) @ colours if greyed else colours


def contrast(colours: Floats, factor: float, mean: Floats) -> Floats:
    """``colours`` (3, 4), then a blend with the mean luma of an image whose mean colour was ``mean`` (3 channels and a 1)."""
    blended: Floats = factor * colours
    blended[:, 3] += (1 - factor) * (LUMA @ (colours @ mean))
    return blended


def saturation(factor: float) -> Floats:
    """The map (3, 3) that blends each colour with its luma: 0 gives grey, 1 changes nothing."""
    mixed: Floats = factor * np.eye(3) + (1 - factor) * LUMA
    return mixed


def hue(turn: float) -> Floats:
    """The map (3, 3) that turns chroma by ``turn`` of the colour circle."""
    cos, sin = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    turned: Floats = FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ YIQ
    return turned


def centre_view(pixels: npt.NDArray[np.uint8], size: int) -> torch.Tensor:
    """The central square of an image, resized: (3, size, size) uint8; for probes."""
    rows, columns = pixels.shape[:2]
    side = min(rows, columns)
    left, top = (columns - side) / 2, (rows - side) / 2
    view = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return torch.from_numpy(np.ascontiguousarray(np.asarray(view).transpose(2, 0, 1)))
