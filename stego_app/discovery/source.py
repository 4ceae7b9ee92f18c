"""What discovery needs to know of a set of images: their patch tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt


class TokenSource(Protocol):
    """Patch tokens of a set of entries (images, or crops of them); `stego_app.features.FeatureCache` is one."""

    @property
    def paths(self) -> Sequence[Path]:
        """The image that each entry comes from."""
        ...

    def __len__(self) -> int: ...

    def grid(self, index: int, /) -> tuple[int, int]:
        """Height and width of the grid of patches of entry ``index``."""
        ...

    def tokens(self, index: int, /) -> npt.NDArray[np.floating]:
        """Tokens (h·w, C) of entry ``index`` in reading order."""
        ...

    def sample(self, n_tokens: int, seed: int, /) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Tokens (n, C) drawn without replacement in random order, and the entry (n,) of each."""
        ...


def image_numbers(source: TokenSource) -> npt.NDArray[np.int64]:
    """Number (N,) of the image that each entry comes from: crops of one image share theirs."""
    numbers: dict[Path, int] = {}
    return np.array([numbers.setdefault(path, len(numbers)) for path in source.paths], dtype=np.int64)
