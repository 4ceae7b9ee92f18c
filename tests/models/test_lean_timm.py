"""A network is loaded and run without torch's compiler, and the compiler works afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

from models import lean_timm

RUN = """
import sys
import numpy as np
from stego_app import Segmenter
Segmenter.load("default", device="cpu")(np.zeros((64, 64, 3), np.uint8))
print("torch._dynamo" in sys.modules)
import torch
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist())
print(torch._dynamo.__file__ is not None)
"""


def test_a_label_does_not_wait_for_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:3] == ["False", "[2.0, 2.0]", "True"], done.stderr


def test_what_the_stand_in_lacks_is_the_real_ones() -> None:
    code = """
import sys
from models.lean_timm import _no_compiler
loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[:2] == ["torch", "_dynamo"]}
assert not loaded
with _no_compiler():
    import torch._dynamo
    assert sys.modules["torch._dynamo"].__dict__.get("__file__") is None
    from torch._dynamo.utils import is_compile_supported
    assert not is_compile_supported("cpu")
    from torch._dynamo import optimize
    from torch._dynamo.eval_frame import OptimizedModule
print(optimize.__module__, OptimizedModule.__name__, sys.modules["torch._dynamo"].__file__ is not None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["torch._dynamo.eval_frame", "OptimizedModule", "True"], done.stderr


def test_a_compiler_that_is_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    there = object()
    monkeypatch.setitem(sys.modules, "torch._dynamo", there)  # type: ignore[arg-type]
    with lean_timm._no_compiler():
        assert sys.modules["torch._dynamo"] is there
    assert sys.modules["torch._dynamo"] is there
