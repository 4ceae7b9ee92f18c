"""What a benchmark's process has taken at most."""

from __future__ import annotations

import resource
import sys


def peak_megabytes() -> float:
    """Peak resident memory of this process (macOS counts bytes, Linux kilobytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
