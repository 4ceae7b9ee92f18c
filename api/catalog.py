"""The segmenters a service offers, by name: those it was started with, and the files of a folder that may change at any time."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType

from api.model_facts import Facts, read_facts
from api.model_folder import ModelFolder, NameTakenError, is_model_name
from models.errors import StegoError
from stego_app.atomic import OutputError
from stego_app.turns import turn
from ui.contract import SegmenterLike

log = logging.getLogger("stego.models")

_LOADED = 4
Stamp = tuple[int, int, int]
"""Tells one state of a file from another: time of change, size, number in the file system."""


class UnknownModelError(StegoError):
    """A model name that the service does not offer."""


class FixedModelError(StegoError):
    """A model that cannot be changed here: it is built in, or not in the folder of models."""


class StaleEditError(StegoError):
    """The model was changed since the client looked at it."""


class Catalog:
    """Segmenters by name, the first being the default. Threads may share it.

    A file is loaded when it is asked for, and again when it has changed: an edit by the command line, by REST or by the
    page is what the others see next. Of the folder's files, the ones used last are held.

    Args:
        segmenters: in memory; they never change.
        files: segmenter files, which stay where they are; names must not be those of ``segmenters``.
        folder: of further segmenter files.
        load: reads a file; `stego_app.Segmenter.load` if None.
        loaded: how many of the folder's segmenters are held.

    Raises:
        StegoError: no segmenter, a name that does not fit into a URL, a file that cannot be loaded, or a segmenter whose
            description is not fit for JSON.
    """

    def __init__(
        self,
        segmenters: Mapping[str, SegmenterLike],
        *,
        files: Mapping[str, Path] | None = None,
        folder: ModelFolder | None = None,
        load: Callable[[Path], SegmenterLike] | None = None,
        loaded: int = _LOADED,
        order: tuple[str, ...] | None = None,
    ) -> None:
        self._segmenters = MappingProxyType(dict(segmenters))
        self._files = MappingProxyType(dict(files or {}))
        self._folder = folder
        self._load = load or _load_file
        self._loaded = loaded
        self._given = order or (*self._segmenters, *self._files)
        self._held: OrderedDict[str, tuple[Stamp, SegmenterLike]] = OrderedDict()
        self._known: dict[str, tuple[Stamp, Facts | None]] = {}
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        if not self._given:
            raise StegoError("--model: expected at least one segmenter to serve")
        for name in self._given:
            if not is_model_name(name):
                raise StegoError(f"--model: '{name}' cannot be a model's name; expected 1 to 64 letters, digits, dots, dashes and underscores")
            _check_description(name, self._read(name))

    @property
    def default(self) -> str:
        """Name of the segmenter used where a request names none."""
        return self._given[0]

    def names(self) -> list[str]:
        """All names, the default's first; files that cannot be read as segmenters are left out."""
        return [*self._given, *(name for name in self._in_folder() if self._is_segmenter(name))]

    def get(self, name: str | None = None) -> SegmenterLike:
        """The segmenter called ``name``, or the default. Reads its file where that is new or has changed, which takes a moment.

        Raises:
            UnknownModelError: there is none of that name, or its file is gone or damaged.
        """
        name = name or self.default
        try:
            return self._read(name)
        except UnknownModelError:
            raise
        except StegoError as error:
            log.error("model '%s': %s", name, error)
            raise UnknownModelError(f"model '{name}': its file cannot be read as a segmenter; the service's log has the reason") from error

    def _read(self, name: str) -> SegmenterLike:
        if name in self._segmenters:
            return self._segmenters[name]
        path = self._path(name)
        self._stamp(name, path)  # a name that nothing has gets no lock, which would be kept
        with self._only_one(name):
            stamp = self._stamp(name, path)
            with self._lock:
                held = self._held.get(name)
                if held is not None and held[0] == stamp:
                    self._held.move_to_end(name)
                    return held[1]
            segmenter = self._load(path)
            with self._lock:
                self._held[name] = (stamp, segmenter)
                self._held.move_to_end(name)
                others = [held for held in self._held if held not in self._files]
                for oldest in others[: max(0, len(others) - self._loaded)]:
                    del self._held[oldest]
            return segmenter

    def facts(self, name: str) -> Facts:
        """What the list tells of a model; its weights are not loaded for it.

        Raises:
            UnknownModelError: there is none of that name, or its file is gone.
        """
        if name in self._segmenters:
            segmenter = self._segmenters[name]
            return Facts(segmenter.default_classes, segmenter.max_classes, segmenter.has_confidence, editable=False, removable=False)
        facts = self._facts_of_file(name)
        if facts is None:
            raise UnknownModelError(f"model '{name}': its file cannot be read as a segmenter")
        return facts

    def all_facts(self) -> dict[str, Facts]:
        """`facts` of all models in the order of `names`, without those whose file is gone or damaged: the others are there all the same."""
        found = {}
        for name in self.names():
            with suppress(UnknownModelError):
                found[name] = self.facts(name)
        return found

    def tag(self, name: str) -> str | None:
        """Changes whenever the model's file does; None for a model that never changes.

        Raises:
            UnknownModelError: there is none of that name, or its file is gone.
        """
        if name in self._segmenters:
            return None
        return "-".join(f"{part:x}" for part in self._stamp(name, self._path(name)))

    def source(self, name: str) -> Path | None:
        """The file of a model; None for the built-in one.

        Raises:
            UnknownModelError: there is none of that name, or its file is gone.
            FixedModelError: it lives in memory alone.
        """
        if name in self._segmenters:
            if name != "default":
                raise FixedModelError(f"model '{name}' has no file; jobs need one")
            return None
        path = self._path(name)
        self._stamp(name, path)
        return path

    @property
    def keeps_models(self) -> bool:
        """Whether there is a folder that edited and new models can be put into."""
        return self._folder is not None

    # Changing ----------------------------------------------------------------------------------------------------

    def edit(self, name: str, change: Callable[[SegmenterLike], SegmenterLike], *, save_as: str | None = None, expected: str | None = None) -> str:
        """Change a model's classes in its file, or ``save_as`` another; the name under which the result is.

        Args:
            change: from the segmenter to the edited one; its errors are passed on.
            expected: the `tag` that the model must still have.

        Raises:
            UnknownModelError: there is none of that name.
            FixedModelError: it is built in, and no ``save_as`` is given.
            StaleEditError: its tag is not the expected one any more.
            NameTakenError: a model ``save_as`` exists.
            StegoError: the file cannot be written.
        """
        if name not in self.names():
            raise self._unknown()
        if save_as is None and name in self._segmenters:
            raise FixedModelError(f"model '{name}' is built in and cannot be changed; give 'save_as', a name for the edited one")
        with self._changing(name) if save_as is None else nullcontext():
            self._check_tag(name, expected)
            edited = change(self.get(name))
            if save_as is None:
                _save(edited, self._path(name))
                return name
        self.save_new(save_as, edited)
        return save_as

    def save_new(self, name: str, segmenter: SegmenterLike) -> None:
        """Put a segmenter into the folder of models under a new name.

        Raises:
            FixedModelError: there is no such folder.
            NameTakenError: a model of that name exists.
            StegoError: it cannot be written, or cannot have that name.
        """
        folder = self._need_folder()
        self.check_free(name)
        folder.prepare()
        part = folder.path / f".{uuid.uuid4().hex}.stego-part"
        try:
            _save(segmenter, part)
            folder.add(name, part)
        finally:
            part.unlink(missing_ok=True)

    def check_free(self, name: str) -> None:
        """That a model can be made under ``name``.

        Raises:
            FixedModelError: there is no folder of models.
            NameTakenError: a model of that name exists.
            StegoError: it cannot be a name.
        """
        folder = self._need_folder()
        if name in self._given or folder.file(name).exists():
            raise NameTakenError(f"name: there is a model '{name}' already; choose another name, or remove that model first")

    def rename(self, name: str, new: str, *, expected: str | None = None) -> None:
        """Give a model of the folder another name.

        Raises:
            UnknownModelError: there is none of that name.
            FixedModelError: the service was started with it.
            StaleEditError: its tag is not the ``expected`` one any more.
            NameTakenError: a model ``new`` exists.
            StegoError: the folder cannot be written to.
        """
        folder = self._need_own(name)
        self.check_free(new)
        with self._changing(name):
            self._check_tag(name, expected)
            folder.rename(name, new)

    def remove(self, name: str, *, expected: str | None = None) -> None:
        """Remove a model of the folder.

        Raises:
            UnknownModelError: there is none of that name.
            FixedModelError: the service was started with it.
            StaleEditError: its tag is not the ``expected`` one any more.
            StegoError: the folder cannot be written to.
        """
        folder = self._need_own(name)
        with self._changing(name):
            self._check_tag(name, expected)
            folder.remove(name)

    # Files -------------------------------------------------------------------------------------------------------

    def _in_folder(self) -> list[str]:
        return [] if self._folder is None else [name for name in self._folder.names() if name not in self._given]

    def _is_segmenter(self, name: str) -> bool:
        try:
            return self._facts_of_file(name) is not None
        except UnknownModelError:  # removed in the meantime
            return False

    def _path(self, name: str) -> Path:
        if name in self._files:
            return self._files[name]
        if self._folder is None or not is_model_name(name):
            raise self._unknown()
        return self._folder.file(name)

    def _stamp(self, name: str, path: Path) -> Stamp:
        try:
            status = path.stat()
        except OSError:
            if name in self._given:
                raise UnknownModelError(f"model '{name}': its file is gone ({path.name}); put it back, or use another model") from None
            raise self._unknown() from None
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def _unknown(self) -> UnknownModelError:
        return UnknownModelError(f"model: no model of that name; expected one of {', '.join(self.names())}")

    def _facts_of_file(self, name: str) -> Facts | None:
        """None for a file that is no segmenter, which the log tells once.

        Raises:
            UnknownModelError: there is no such file.
        """
        path = self._path(name)
        stamp = self._stamp(name, path)
        with self._lock:
            known = self._known.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        own = name in self._given
        try:
            facts: Facts | None = read_facts(path, removable=not own)
        except StegoError as error:
            log.warning("the folder of models holds a file that is no segmenter: %s", error)
            facts = None
        with self._lock:
            self._known[name] = (stamp, facts)
        return facts

    def _need_folder(self) -> ModelFolder:
        if self._folder is None:
            raise FixedModelError("the service has no folder of models; start it with --data or --models")
        return self._folder

    def _need_own(self, name: str) -> ModelFolder:
        if name in self._given:
            raise FixedModelError(f"model '{name}' is one that the service was started with; it can be neither renamed nor removed here")
        if name not in self._in_folder():
            raise self._unknown()
        return self._need_folder()

    @contextmanager
    def _changing(self, name: str) -> Iterator[None]:
        """Nobody else edits, renames or removes the model within the block: an edit under way would bring back what was removed.

        Threads of this service first, then other programs: `stego classes` takes the same turn.
        """
        with self._only_one(f"edit {name}"), turn(self._path(name)):
            yield

    def _check_tag(self, name: str, expected: str | None) -> None:
        if expected is not None and expected != self.tag(name):
            raise StaleEditError(f"model '{name}' was changed since; look at its classes again")

    def _only_one(self, key: str) -> threading.Lock:
        """A lock of this name: nobody else reads or edits that model meanwhile."""
        with self._lock:
            return self._busy.setdefault(key, threading.Lock())


def _save(segmenter: SegmenterLike, path: Path) -> None:
    """Write a segmenter file.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        segmenter.save(path)
    except StegoError as error:
        raise OutputError(str(error)) from error


def _load_file(path: Path) -> SegmenterLike:
    from stego_app.segmenter import Segmenter  # imports torch, which a service with given segmenters need not have

    return Segmenter.load(path)


def _check_description(name: str, segmenter: SegmenterLike) -> None:
    """Have a segmenter describe itself once, so that a file with an odd provenance is told at the start, not by failing requests.

    Raises:
        StegoError: it cannot, or not in JSON.
    """
    try:
        json.dumps(segmenter.info(), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StegoError(f"--model {name}: the segmenter's provenance cannot be shown ({error}); expected names with JSON values") from error
