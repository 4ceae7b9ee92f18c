"""How the published numbers are scored: a centre crop of 320 pixels, and the mean over every class that labels or clusters use.

STEGO's evaluation resizes the short side to 320 pixels and cuts the centre square, for images and labels alike (labels to the
nearest pixel); CAUSE does the same with 322 for patches of 14. On Cityscapes, twice as wide as high, half of each image is
never scored. Matching, accuracy and IoU are taken on the histogram of the whole validation set.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from stego_app.data import Dataset, Sample
from stego_app.evaluation import Scores

Bytes = npt.NDArray[np.uint8]


def crop_side(side: int, patch: int) -> int:
    """The multiple of the backbone's patch that is closest to ``side``: 320 for patches of 8 and 16, 322 for 14."""
    return max(1, round(side / patch)) * patch


def centre_crop(picture: Bytes, side: int, resampling: Image.Resampling) -> Bytes:
    """Short side to ``side`` pixels, then the centre square: (side, side) or (side, side, 3) of (H, W) or (H, W, 3).

    Sizes and corners are rounded as torchvision's Resize and CenterCrop do, so labels lie on the same pixels.
    """
    height, width = picture.shape[:2]
    short, long = min(height, width), max(height, width)
    scaled = int(side * long / short)
    size = (side, scaled) if height <= width else (scaled, side)
    resized = np.asarray(Image.fromarray(picture).resize((size[1], size[0]), resampling))
    top, left = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return np.ascontiguousarray(resized[top : top + side, left : left + side])


@dataclass(frozen=True)
class CentreCropped(Dataset):
    """A data set whose images and labels are seen as the published protocol does, ``side`` pixels square."""

    source: Dataset
    side: int

    @classmethod
    def of(cls, source: Dataset, side: int) -> Self:
        """``source`` seen that way."""
        shared = {item.name: getattr(source, item.name) for item in fields(Dataset)}
        return cls(**shared | {"name": f"{source.name}, centre {side}"}, source=source, side=side)

    def read_image(self, sample: Sample) -> Bytes:
        """(side, side, 3), by bicubic resampling with antialiasing, as the product resizes everywhere."""
        return centre_crop(self.source.read_image(sample), self.side, Image.Resampling.BICUBIC)

    def read_label(self, sample: Sample) -> Bytes:
        """Classes (side, side), each pixel the nearest of the stored ones."""
        return centre_crop(self.source.read_label(sample), self.side, Image.Resampling.NEAREST)

    def read_pair(self, sample: Sample) -> tuple[Bytes, Bytes]:
        """Both; sizes are compared before the crop, which would hide a label of another image."""
        image, label = self.source.read_pair(sample)
        return centre_crop(image, self.side, Image.Resampling.BICUBIC), centre_crop(label, self.side, Image.Resampling.NEAREST)


def published_miou(scores: Scores) -> float:
    """mIoU in per cent as STEGO takes it: over classes that occur in the labels *or* in the prediction.

    A class that the labels never show counts with 0 as soon as its cluster is used; `Scores.miou` leaves it out.
    """
    said, truth = scores.confusion[:, :-1], scores.confusion.sum(axis=1)
    right = np.diagonal(said)
    union = truth + said.sum(axis=0) - right
    counted = union > 0
    return float(100 * (right[counted] / union[counted]).mean()) if counted.any() else 0.0
