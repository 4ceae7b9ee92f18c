"""Puts the layers of `api.security` around an application."""

from __future__ import annotations

import os
import re

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from api.security.guard import Guard
from api.security.keys import load_keys
from api.security.rate import RateLimit
from api.settings import ServiceSettings
from models.errors import StegoError

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?")
_REMEMBERED = 600  # seconds that a browser may keep the answer to "may I?"


def install_security(app: FastAPI, settings: ServiceSettings) -> None:
    """Add what ``settings`` ask for around ``app``; layers added afterwards are met before these.

    Raises:
        StegoError: keys or origins that are not as expected.
    """
    for origin in settings.cors_origins:
        if not _ORIGIN.fullmatch(origin):
            raise StegoError(f"--cors {origin}: expected an origin in lower case without a path, as https://example.org")
    keys = load_keys(settings.keys, os.environ)
    rate = RateLimit(settings.rate) if settings.rate is not None else None
    app.add_middleware(Guard, keys=keys, rate=rate, origins=settings.cors_origins)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-Match", "X-API-Key", "X-Request-ID"],
            expose_headers=["ETag", "Location", "X-Request-ID", "Retry-After", "Server-Timing"],
            max_age=_REMEMBERED,
        )
