"""The archive that a client downloads."""

from __future__ import annotations

import zipfile
from pathlib import Path

from stego_app.atomic import output_error, replacing

_PACKED = {".png", ".jpg", ".jpeg", ".zip", ".tif", ".tiff", ".safetensors"}  # packing them again gains nothing


def write_result(folder: Path, path: Path) -> int:
    """Write all files under ``folder``, but for hidden ones, to the archive ``path``, whole or not at all; its size in bytes.

    Raises:
        OutputError: the disk is full, or the folder may not be written to.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts))
    try:
        with replacing(path) as part:
            with zipfile.ZipFile(part, "w", strict_timestamps=False) as archive:
                for file in files:
                    packing = zipfile.ZIP_STORED if file.suffix.lower() in _PACKED else zipfile.ZIP_DEFLATED
                    archive.write(file, file.relative_to(folder).as_posix(), packing)
            size = part.stat().st_size
    except OSError as error:
        raise output_error(path, error) from error
    return size
