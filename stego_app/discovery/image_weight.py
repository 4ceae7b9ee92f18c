"""How much it counts that two patches lie in one image (see `spectral`): chosen by what draws agree on within images.

Where images come in kinds that have nothing in common, classes would tell the kinds apart and divide no image, unless it counts much; where
things are seen in few images each, the same would tear them apart. So it counts little, unless counting it much shows far more of how images
are divided that does not depend on the draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from models.errors import StegoError
from stego_app.discovery.agreement import information_within_images
from stego_app.discovery.division import Way, divide
from stego_app.discovery.draws import Draw
from stego_app.discovery.pairs import IMAGE_WEIGHT

STRONG_IMAGE_WEIGHT = 0.5
"""From here to 1 it makes little difference."""
FAR_MORE = 1.25
"""By how much more draws must agree on. Of the sets in docs/results.md those whose classes lose clearly by the strong weight have at most 1.16, those
that gain 1.39 to 43; defects of tiles, which no weight finds, have 1.6."""


def choose_image_weight(draws: Sequence[Draw], classes: int, seed: int) -> float:
    """`STRONG_IMAGE_WEIGHT` where draws then agree on `FAR_MORE` about how images are divided into ``classes``, else `IMAGE_WEIGHT`."""
    usual, strong = (_agreed(draws, Way(classes, weight), classes, seed) for weight in (IMAGE_WEIGHT, STRONG_IMAGE_WEIGHT))
    return STRONG_IMAGE_WEIGHT if strong > FAR_MORE * usual else IMAGE_WEIGHT


def _agreed(draws: Sequence[Draw], way: Way, classes: int, seed: int) -> float:
    """Mean information (nats a patch) that two draws have of each other within images; 0 where there are no two."""
    found = []
    for number, draw in enumerate(draws):
        try:
            labels = divide(draw.pairs, classes, way, seed + number)
        except StegoError:  # this draw cannot be told apart into so many
            continue
        found.append(labels[draw.seen.codes()])
    images = draws[0].seen.numbers()
    told = [information_within_images(first, second, images) for first, second in combinations(found, 2)]
    return float(np.mean(told)) if told else 0.0
