"""Where the feature cache lies unless a folder is given."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def default_cache_folder() -> Path:
    """``$STEGO_CACHE``, or ``stego`` in the user's cache folder of this platform."""
    if chosen := os.environ.get("STEGO_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "stego"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "stego" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stego"
