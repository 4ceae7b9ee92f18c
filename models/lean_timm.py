"""timm's ViTs, without what importing timm would load beside them: torch's compiler, torchvision, and some hundred other networks.

Nothing here compiles a network, but timm and the torchvision that it imports touch ``torch._dynamo`` while they are imported,
one to ask whether it is there, the other to mark methods of networks that are not used here. Loading it takes two thirds of
timm's import, some five seconds of processor time before the first label. So a stand-in takes its place meanwhile: it has the
two things that are asked for, and loads the real one if anything else is. Afterwards it is gone, and ``torch.compile`` works
as ever.

Of the rest of the import two thirds are torchvision, of which timm's layers ask for one class, and networks of other kinds. So timm's packages run
their own code only when something is asked of them that is not in the file of its plain ViTs.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_COMPILER, _QUESTIONS = "torch._dynamo", "torch._dynamo.utils"


class _StandIn(types.ModuleType):
    """A module that becomes the real one when it is asked for what it does not have."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and (name, self.__name__) != ("__path__", _COMPILER):  # asked of every module; a path, where a part of it is to be imported
            raise AttributeError(name)
        for stand_in in (_COMPILER, _QUESTIONS):
            if isinstance(sys.modules.get(stand_in), _StandIn):
                del sys.modules[stand_in]
        return getattr(importlib.import_module(self.__name__), name)


def _unmarked(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    """In place of ``torch._dynamo.disable``: the function itself, since there is nothing that it should be kept from."""
    return function if function is not None else _unmarked


@contextmanager
def _no_compiler() -> Iterator[None]:
    if _COMPILER in sys.modules:  # somebody uses it: it is loaded already, and asking it costs nothing
        yield
        return
    compiler, questions = _StandIn(_COMPILER), _StandIn(_QUESTIONS)
    vars(compiler).update(disable=_unmarked, utils=questions)
    vars(questions).update(is_compile_supported=lambda _device: False)
    sys.modules.update({_COMPILER: compiler, _QUESTIONS: questions})
    try:
        yield
    finally:
        for name, stand_in in ((_COMPILER, compiler), (_QUESTIONS, questions)):
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


class _Package(types.ModuleType):
    """A package whose parts can be imported before its own code has run, which it does when something else is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked of every module
            raise AttributeError(name)
        with _RUNNING:
            if self.__name__ not in _begun:
                _begun.add(self.__name__)
                spec = self.__spec__
                assert spec is not None
                assert spec.loader is not None
                with _no_compiler():
                    spec.loader.exec_module(self)
                self.__class__ = types.ModuleType  # type: ignore[assignment]  # mypy takes it for final
            if name in vars(self):  # another thread waited here for this one
                return vars(self)[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


_RUNNING, _begun = threading.RLock(), set[str]()


def _package(name: str) -> Any:
    """The package ``name``, which has not run its code."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    package = importlib.util.module_from_spec(spec)
    package.__class__ = _Package
    sys.modules[name] = package
    return package


@contextmanager
def _bare_torchvision() -> Iterator[None]:
    """torchvision without what its packages import, if it is not there already; gone afterwards, to be imported as ever."""
    if "torchvision" in sys.modules:
        yield
        return
    for name in ("torchvision", "torchvision.ops"):
        _package(name)
    sys.modules["torchvision.models"] = None  # type: ignore[assignment]  # so its import fails: timm does without its feature extraction
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]


def _load_vits() -> None:
    """timm's plain ViTs and the functions that build them."""
    if "timm" not in sys.modules:
        timm, data, networks = (_package(name) for name in ("timm", "timm.data", "timm.models"))
        timm.data, timm.models = data, networks
        timm.__version__ = importlib.import_module("timm.version").__version__
        constants = importlib.import_module("timm.data.constants")
        vars(data).update({name: value for name, value in vars(constants).items() if name.isupper()})
    with _no_compiler(), _bare_torchvision():
        importlib.import_module("timm.models.vision_transformer")


def is_model(name: str) -> bool:
    """As ``timm.is_model``: whether there is a network of that name."""
    return bool(_registry.is_model(name)) or bool(sys.modules["timm"].is_model(name))  # the second loads the others, if they are not there yet


def create_model(name: str, **options: Any) -> Any:
    """As ``timm.create_model``."""
    is_model(name.partition(".")[0])  # so that the others are there if it is one of them
    return _factory.create_model(name, **options)


def list_pretrained(pattern: str) -> list[str]:
    """As ``timm.list_pretrained``, of networks that `is_model` was asked of."""
    found: list[str] = _registry.list_pretrained(pattern)
    return found


_load_vits()
_factory: Any = importlib.import_module("timm.models._factory")
_registry: Any = importlib.import_module("timm.models._registry")
