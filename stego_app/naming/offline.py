"""Names from words for a segmenter that is held in memory, by the embedded tower: what the service and the page do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from models.errors import StegoError
from stego_app.naming.bridge_tower import EMBEDDED, BridgeTower
from stego_app.naming.name_classes import ClassName, name_classes
from stego_app.naming.words import Word
from stego_app.segmenter import Segmenter


def nameable(segmenter: object) -> Segmenter:
    """``segmenter``, if it is one whose classes can be compared with words.

    Raises:
        StegoError: it is not.
    """
    if not isinstance(segmenter, Segmenter):
        raise StegoError("this model cannot be named from words; rename its classes instead")
    return segmenter


def offline_names(segmenter: Segmenter, words: Sequence[Word], *, classes: int | None = None, least: float = 0.0) -> list[ClassName]:
    """`name_classes` by the embedded tower, from the mean patches in the segmenter's file.

    Raises:
        StegoError: a model that keeps no mean patches or has another backbone than the bridge, or the extra ``text`` is missing.
    """
    return name_classes(segmenter, words, embedded_tower(segmenter.model.backbone.fingerprint), classes=classes, least=least)


@lru_cache(maxsize=1)
def embedded_tower(backbone_fingerprint: str) -> BridgeTower:
    """The embedded bridge, kept from one call to the next: its sentence model is large.

    Raises:
        StegoError: see `BridgeTower.load`.
    """
    return BridgeTower.load(EMBEDDED, backbone_fingerprint)
