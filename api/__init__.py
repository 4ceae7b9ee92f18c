"""The REST service: `create_app` builds it, `serve` runs it."""

from __future__ import annotations

from api.app import create_app
from api.server import serve
from api.settings import ServiceSettings

__all__ = ["ServiceSettings", "create_app", "serve"]
