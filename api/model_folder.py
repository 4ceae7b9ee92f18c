"""The folder of segmenter files: one file a model, called as the model is. Names are checked, so that none leads elsewhere."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from models.errors import StegoError
from stego_app.atomic import output_error, replacing

SUFFIX = ".safetensors"
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_NAME = re.compile(NAME_PATTERN)
_UNFINISHED = re.compile(r"\..*(?:\.stego-part|\.stego-part\.\w{8}\.part|\.safetensors\.\w{8}\.part)")  # of saving a segmenter, now and before
_DAY = 86_400.0


class NameTakenError(StegoError):
    """A model of that name exists."""


class NoSuchModelError(StegoError):
    """The folder has no model of that name."""


def is_model_name(text: str) -> bool:
    """Whether ``text`` can be a model's name: 1 to 64 letters, digits, dots, dashes and underscores, the first no sign."""
    return _NAME.fullmatch(text) is not None


class ModelFolder:
    """Segmenter files by name; other programs may add, change and remove files at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Names of the models, sorted; none where the folder does not exist."""
        try:
            files = [entry.name for entry in os.scandir(self.path) if entry.is_file()]
        except OSError:
            return []
        return sorted(name.removesuffix(SUFFIX) for name in files if name.endswith(SUFFIX) and is_model_name(name.removesuffix(SUFFIX)))

    def file(self, name: str) -> Path:
        """Where the model ``name`` is or would be.

        Raises:
            NoSuchModelError: it cannot be a model's name.
        """
        if not is_model_name(name):
            raise NoSuchModelError("no model can have that name; expected 1 to 64 letters, digits, dots, dashes and underscores")
        return self.path / f"{name}{SUFFIX}"

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            StegoError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(self.path, error) from error

    def add(self, name: str, source: Path) -> None:
        """Publish a segmenter file under ``name``; adding the same file again is no error, since a killed job does so.

        Raises:
            NameTakenError: another model has the name.
            StegoError: the folder cannot be written to.
        """
        target = self.file(name)
        self.prepare()
        try:
            _link(source, target)
        except FileExistsError:
            if not filecmp.cmp(source, target, shallow=False):
                raise NameTakenError(f"name: there is a model '{name}' already; choose another name, or remove that model first") from None
        except OSError as error:
            raise output_error(target, error) from error

    def rename(self, name: str, new: str) -> None:
        """Give a model another name.

        Raises:
            NoSuchModelError: there is none of that name.
            NameTakenError: another model has the new name.
            StegoError: the folder cannot be written to.
        """
        source, target = self.file(name), self.file(new)
        try:
            _link(source, target)
            source.unlink()
        except FileExistsError:
            raise NameTakenError(f"name: there is a model '{new}' already; choose another name, or remove that model first") from None
        except FileNotFoundError:
            raise NoSuchModelError(f"no model '{name}'") from None
        except OSError as error:
            raise output_error(target, error) from error

    def remove_unfinished(self) -> None:
        """Delete what killed processes left half written a day ago or longer; nothing else in the folder is touched."""
        for path in self.path.iterdir() if self.path.is_dir() else ():
            with suppress(OSError):  # gone in the meantime, or not ours to delete
                if _UNFINISHED.fullmatch(path.name) and time.time() - path.stat().st_mtime > _DAY:
                    path.unlink()

    def remove(self, name: str) -> None:
        """Remove a model.

        Raises:
            NoSuchModelError: there is none of that name.
            StegoError: the folder cannot be written to.
        """
        path = self.file(name)
        try:
            path.unlink()
        except FileNotFoundError:
            raise NoSuchModelError(f"no model '{name}'") from None
        except OSError as error:
            raise output_error(path, error) from error


def snapshot(source: Path, target: Path) -> None:
    """A copy of ``source`` as it is now, at ``target``; a second name for it would not do, since `cp` writes into the file that is there.

    Raises:
        StegoError: the file is gone, or the folder of ``target`` cannot be written to.
    """
    try:
        with replacing(target) as part:
            shutil.copyfile(source, part)
    except FileNotFoundError:
        raise NoSuchModelError(f"{source.name}: the model's file is gone") from None
    except OSError as error:
        raise output_error(target, error) from error


def _link(source: Path, target: Path) -> None:
    """A second name for a file, never in place of another; a copy where the file systems differ or know no links."""
    try:
        os.link(source, target)
        return
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:
        pass
    if target.exists():
        raise FileExistsError(target)
    with replacing(target) as part:
        shutil.copyfile(source, part)
