"""Files that several formats fill at once, each whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stego_app.atomic import PART, output_error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, named after ``path``, since others in the same folder may be under way; it takes its place at the end of the block.

    Raises:
        StegoError: the folder cannot be written to, or the disk is full.
    """
    part = path.with_name(f".{path.name}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise output_error(path, error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
