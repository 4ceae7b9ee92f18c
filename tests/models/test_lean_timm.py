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
print(any(name in sys.modules for name in ("torch._dynamo", "torchvision", "timm.models.swin_transformer")))
import torch
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist())
print(torch._dynamo.__file__ is not None)
"""


def test_a_label_waits_neither_for_the_compiler_nor_for_torchvision_nor_for_other_networks() -> None:
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


def test_what_is_left_out_is_there_when_it_is_asked_for() -> None:
    code = """
import sys
from concurrent.futures import ThreadPoolExecutor
from models.backbone_sources import load_backbone
from models.lean_timm import is_model, list_pretrained
plain = type(load_backbone("default").network)
assert list_pretrained("vit_small_patch14_dinov2.*") and "timm.models.eva" not in sys.modules
with ThreadPoolExecutor(4) as pool:
    found = list(pool.map(is_model, ["eva02_tiny_patch14_224", "swin_tiny_patch4_window7_224", "convnext_tiny", "no_such_network"]))
assert found == [True, True, True, False], found
import timm, timm.data, timm.layers, torchvision
assert timm.models.vision_transformer.VisionTransformer is timm.models.VisionTransformer is plain
assert isinstance(timm.create_model("vit_tiny_patch16_224"), plain) and timm.layers.DropPath
assert callable(timm.data.create_transform) and timm.__version__
assert torchvision.ops.nms and torchvision.models.resnet18 and torchvision.transforms.Resize
try:
    timm.no_such_thing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "module 'timm' has no attribute 'no_such_thing'\n", done.stderr


def test_a_timm_that_is_there_stays() -> None:
    code = """
import timm, torchvision
from models import lean_timm
import sys
assert sys.modules["timm"] is timm and type(timm).__name__ == "module" and sys.modules["torchvision"] is torchvision
print(lean_timm.is_model("vit_tiny_patch16_224"), lean_timm.is_model("no_such_network"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "True False\n", done.stderr
