"""The REST service: `create_app` builds it, `serve` runs it.

They are imported when they are asked for: worker processes need other parts of this room, and start often.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api.app import create_app
    from api.server import serve
    from api.settings import ServiceSettings

__all__ = ["ServiceSettings", "create_app", "serve"]

_PLACES = {"ServiceSettings": "api.settings", "create_app": "api.app", "serve": "api.server"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'api' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
