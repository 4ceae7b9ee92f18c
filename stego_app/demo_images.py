"""Photos that other installed packages bring along: examples that need no network and no copy of ours.

They are never part of the training data of the embedded models.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_PHOTOS = (
    ("sklearn", "datasets/images/china.jpg"),
    ("gradio", "media_assets/images/lion.jpg"),
    ("gradio", "media_assets/images/tower.jpg"),
    ("gradio", "media_assets/images/cheetah1.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)


def example_images() -> list[Path]:
    """Paths of the demo photos that are installed here, in a fixed order; those of absent packages are left out."""
    return [path for package, inside in _PHOTOS if (path := _inside(package, inside)) is not None and path.is_file()]


def _inside(package: str, inside: str) -> Path | None:
    """A file inside an installed package, found without importing the package; None where it is not installed."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / inside
