"""The segmenters a service offers, by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from api.settings import ServiceSettings
from models.errors import StegoError
from ui.contract import SegmenterLike

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class UnknownModelError(StegoError):
    """A model name that the service does not offer."""


class Catalog:
    """Segmenters by name, the first being the default.

    Raises:
        StegoError: no segmenter, a name that does not fit into a URL, or a segmenter whose description is not fit for JSON.
    """

    def __init__(self, segmenters: Mapping[str, SegmenterLike]) -> None:
        if not segmenters:
            raise StegoError("--model: expected at least one segmenter to serve")
        for name, segmenter in segmenters.items():
            if not _NAME.fullmatch(name):
                raise StegoError(f"--model: '{name}' cannot be a model's name; expected 1 to 64 letters, digits, dots, dashes and underscores")
            _check_description(name, segmenter)
        self._segmenters = MappingProxyType(dict(segmenters))

    @property
    def default(self) -> str:
        """Name of the segmenter used where a request names none."""
        return next(iter(self._segmenters))

    def names(self) -> list[str]:
        """All names, the default's first."""
        return list(self._segmenters)

    def get(self, name: str | None = None) -> SegmenterLike:
        """The segmenter called ``name``, or the default.

        Raises:
            UnknownModelError: there is none of that name.
        """
        try:
            return self._segmenters[name or self.default]
        except KeyError:
            raise UnknownModelError(f"model: no model of that name; expected one of {', '.join(self.names())}") from None


def _check_description(name: str, segmenter: SegmenterLike) -> None:
    """Have a segmenter describe itself once, so that a file with an odd provenance is told at the start, not by failing requests.

    Raises:
        StegoError: it cannot, or not in JSON.
    """
    try:
        json.dumps(segmenter.info(), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StegoError(f"--model {name}: the segmenter's provenance cannot be shown ({error}); expected names with JSON values") from error


def load_catalog(settings: ServiceSettings) -> Catalog:
    """Load every segmenter named in ``settings``.

    Raises:
        StegoError: a file that cannot be read as a segmenter, or two files with the same stem.
    """
    from stego_app.segmenter import Segmenter  # imports torch, which a service with given segmenters need not have

    sources: dict[str, str] = {}
    for source in settings.models:
        name = Path(source).stem
        if name in sources:
            raise StegoError(f"--model {source}: another model is already served as '{name}'; rename one of the files")
        sources[name] = source
    return Catalog({name: Segmenter.load(source, device=settings.device) for name, source in sources.items()})
