"""timm, without the compiler that importing it would load.

Nothing here compiles a network, but timm and the torchvision that it imports touch ``torch._dynamo`` while they are imported,
one to ask whether it is there, the other to mark methods of networks that are not used here. Loading it takes two thirds of
timm's import, some five seconds of processor time before the first label. So a stand-in takes its place meanwhile: it has the
two things that are asked for, and loads the real one if anything else is. Afterwards it is gone, and ``torch.compile`` works
as ever.
"""

from __future__ import annotations

import importlib
import sys
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


with _no_compiler():
    import timm

__all__ = ["timm"]
