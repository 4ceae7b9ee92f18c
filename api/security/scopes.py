"""Which scope a request needs, by its path and method. One table, so that nothing is open by being forgotten."""

from __future__ import annotations

from api.paths import is_below

OPEN = ("/health", "/v2/health", "/openapi.json")
"""Answered without a key: what a load balancer and a client's generator ask, neither of which tells anything of the data."""

ANY = "any"
"""A key is needed, whatever its scopes."""

_READING = frozenset({"GET", "HEAD"})
_BY_PATH: tuple[tuple[str, str], ...] = (
    ("/v1/segment", "segment"),
    ("/v1/predict", "segment"),
    ("/v1/jobs", "jobs"),
    ("/v1/fit", "jobs"),
    ("/metrics", "metrics"),
    ("/predict", "segment"),
    ("/setup", "segment"),
    ("/webhook", "segment"),
    ("/label-studio", "segment"),
    ("/xanylabeling", "segment"),
)


def scope_of(method: str, path: str) -> str | None:
    """The scope that a request needs; `ANY` for any key, None for no key at all.

    The browser page does all that the service can, so everything that is not named here needs "admin".
    """
    if is_below(path, *OPEN):
        return None
    for start, scope in _BY_PATH:
        if is_below(path, start):
            return scope
    if is_below(path, "/v1/models"):
        return ANY if method in _READING else "models"
    if is_below(path, "/v2"):
        return ANY
    return "admin"
