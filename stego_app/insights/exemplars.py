"""Where a class can be seen: surely and well inside its segments, in several images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from stego_app.data.dataset import evenly
from stego_app.insights.insight import Spot
from stego_app.insights.survey import Survey


def class_spots(
    survey: Survey, label: int, caption: str, count: int = 3, members: npt.NDArray[np.bool_] | None = None, leaves: Sequence[int] | None = None
) -> list[Spot]:
    """Patches of class ``label`` from ``count`` images or fewer, evenly spaced among the better half of those that show it.

    Args:
        survey: the images.
        label: the class.
        caption: of each spot.
        count: how many.
        members: (N,) images to choose from; all if None.
        leaves: fine clusters to choose from; all of the class if None.
    """
    found: list[tuple[float, Spot]] = []
    for image, (labels, sure) in enumerate(zip(survey.maps, survey.sure, strict=True)):
        mask = labels == label if leaves is None else (labels == label) & np.isin(survey.leaf_maps[image], leaves)
        if (members is None or members[image]) and mask.any():
            inner = cv2.blur(mask * sure, (3, 3), borderType=cv2.BORDER_CONSTANT)
            row, column = np.unravel_index(int(inner.argmax()), inner.shape)
            found.append((float(inner[row, column]), Spot(image, caption, mask, (int(row), int(column)))))
    found.sort(key=lambda pair: (-pair[0], pair[1].image))
    better = found[: max(count, (len(found) + 1) // 2)]
    return [spot for _, spot in evenly(better, count)]


def pair_spots(survey: Survey, names: Sequence[str], first: int, second: int, count: int = 3) -> list[Spot]:
    """`class_spots` of two classes to be compared, ``count`` of each."""
    return [*class_spots(survey, first, names[first], count), *class_spots(survey, second, names[second], count)]
