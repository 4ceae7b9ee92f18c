"""Two photos and a point in one of them: which patches of both correspond to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.correspondence_view import best_point, cosine_heat, feature_at, heat_picture, mark
from ui.held import Held
from ui.seen import Seen, look_at, seen_before
from ui.sitting import Sitting
from ui.workshop import Workshop

ORDINAL = ("first", "second")


@dataclass(frozen=True)
class Point:
    """A place (``x``, ``y``), shares of width and height in [0, 1], in photo number ``side``, 0 or 1."""

    side: int
    x: float
    y: float


@dataclass(frozen=True)
class Pair:
    """Up to two photos, encoded by the segmenter ``model``."""

    model: str
    photos: tuple[Seen | None, Seen | None] = (None, None)
    point: Point = Point(0, 0.5, 0.5)

    @property
    def pixels(self) -> int:
        """Memory held, counted in pixels."""
        return sum(photo.pixels for photo in self.photos if photo is not None)


@dataclass(frozen=True)
class PairView:
    """What to show: a picture (h, w, 3) uint8 for each photo there is, and a line about the best correspondence."""

    pictures: tuple[npt.NDArray[np.uint8] | None, npt.NDArray[np.uint8] | None]
    point: Point
    status: str


class PairDesk:
    """The tab's work, for all browsers."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self._pairs: Held[Pair] = Held(shop.held_pixels)

    def find(self, tab: str) -> Pair | None:
        """The pair of ``tab``; None where there is none (any more)."""
        return self._pairs.get(tab)

    def begin(self, tab: str, sitting: Sitting | None) -> Pair | None:
        """The pair of ``tab``; where it has none yet, the photo of the tab "Segment" is its first."""
        with self._pairs.changing(tab):
            pair = self._pairs.get(tab)
            if pair is not None or sitting is None:
                return pair
            return self._pairs.put(tab, Pair(sitting.model, (seen_before(sitting), None)))

    def open(self, tab: str, side: int, path: Path, model: str) -> Pair:
        """Take the image file at ``path`` as photo number ``side``. Photos that another model has encoded are let go of.

        Raises:
            StegoError: not an image, too large, an unknown model, or no turn to be had.
        """
        seen = look_at(self.shop, path, model)
        with self._pairs.changing(tab):
            pair = self._pairs.get(tab)
            if pair is None or pair.model != model:
                pair = Pair(model)
            photos = (seen, pair.photos[1]) if side == 0 else (pair.photos[0], seen)
            point = replace(pair.point, side=side) if pair.photos[pair.point.side] is None else pair.point
            return self._pairs.put(tab, replace(pair, photos=photos, point=point))

    def close(self, tab: str, side: int) -> Pair | None:
        """Take photo number ``side`` away."""
        with self._pairs.changing(tab):
            pair = self._pairs.get(tab)
            if pair is None:
                return None
            photos = (None, pair.photos[1]) if side == 0 else (pair.photos[0], None)
            if photos == (None, None):
                self._pairs.drop(tab)
                return None
            return self._pairs.put(tab, replace(pair, photos=photos, point=replace(pair.point, side=0 if photos[0] else 1)))

    def point(self, tab: str, point: Point) -> Pair:
        """Ask about another point.

        Raises:
            StegoError: there is no photo (any more), or not that one.
        """
        with self._pairs.changing(tab):
            pair = self._pairs.need(tab)
            if pair.photos[point.side] is None:
                raise StegoError(f"there is no {ORDINAL[point.side]} photo yet: drop one first")
            return self._pairs.put(tab, replace(pair, point=point))

    def drop(self, tab: str) -> None:
        """Forget the photos of ``tab``."""
        with self._pairs.changing(tab):
            self._pairs.drop(tab)


def view_pair(pair: Pair, space: str, low: float) -> PairView:
    """Heat maps of both photos for the pair's point.

    Args:
        pair: the photos and the point.
        space: where patches are compared, one of `stego_app.patch_features.SPACES`.
        low: cosine at which the glow begins, 0 to below 1.
    """
    point = pair.point
    asked = pair.photos[point.side]
    assert asked is not None  # `PairDesk` keeps the point in a photo that is there
    query = feature_at(asked.features[space], point.x, point.y)
    pictures: list[npt.NDArray[np.uint8] | None] = [None, None]
    status = f"Drop a {ORDINAL[1 - point.side]} photo to see what corresponds to this point there"
    for side, photo in enumerate(pair.photos):
        if photo is None:
            continue
        heat = cosine_heat(query, photo.features[space])
        picture = heat_picture(photo.picture, heat, low=low)
        if side == point.side:
            pictures[side] = mark(picture, point.x, point.y, cross=True)
        else:
            pictures[side] = mark(picture, *best_point(heat), cross=False)
            alike = f"{np.mean(heat > 0.5):.0%}".replace("%", " %")
            status = f"Best match in the {ORDINAL[side]} photo: cosine **{heat.max():.2f}** (ring) · {alike} of its patches are above 0.5"
    return PairView((pictures[0], pictures[1]), point, status)
