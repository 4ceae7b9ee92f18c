"""Paths of requests."""

from __future__ import annotations


def is_below(path: str, *starts: str) -> bool:
    """Whether ``path`` is one of ``starts``, or lies below one: "/v1/jobs" and "/v1/jobs/7", but not "/v1/jobsite", are below "/v1/jobs"."""
    return any(path == start or path.startswith(f"{start}/") for start in starts)
