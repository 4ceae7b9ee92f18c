"""safetensors files that whoever may read the folder's other new files may read, too."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write contiguous ``tensors`` to ``path`` with the permissions of any new file.

    safetensors 0.8 leaves its files to their owner alone, so that a service of another user, or a colleague, cannot read a model.

    Raises:
        OSError, SafetensorError: whatever writing meets.
    """
    path.touch()
    usual = stat.S_IMODE(path.stat().st_mode)
    save_file(dict(tensors), str(path), metadata=metadata)
    path.chmod(usual)
