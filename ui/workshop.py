"""What every tab of the page works with: the segmenters, the limits, and where work and files go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ui.contract import CatalogLike, SegmenterLike
from ui.downloads import Downloads

Runner = Callable[[Callable[[], Any]], Any]
"""Calls a function where segmenting is meant to happen, e.g. on the service's worker, and returns its result."""

Save = Callable[[str, SegmenterLike], None]
"""Keeps an edited segmenter on the server under a name, for the command line and REST; a `StegoError` says why it cannot."""

HELD_IMAGES = 6
"""Largest images held in memory at once by each part of the page, over all browser tabs."""


def at_once(work: Callable[[], Any]) -> Any:
    """Run ``work`` in the calling thread."""
    return work()


@dataclass(frozen=True)
class Workshop:
    """The page's means.

    Attributes:
        catalog: the segmenters on offer.
        files: folder for what browsers fetch, of this process alone.
        max_pixels: largest image taken.
        run: where segmenting happens.
        folder: a folder of images on the server that visitors may have segmented, or None.
        save: keeps edited segmenters on the server; None where there is no place for them.
    """

    catalog: CatalogLike
    files: Path
    max_pixels: int = 40_000_000
    run: Runner = at_once
    folder: Path | None = None
    save: Save | None = None
    downloads: Downloads = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "downloads", Downloads(self.files))

    @property
    def held_pixels(self) -> int:
        """Pixels that each part of the page may hold in memory."""
        return self.max_pixels * HELD_IMAGES
