"""The student of a distillation: a shallower ViT, made of the teacher's own blocks or from random weights."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

import torch

from models.backbone import Backbone, build_vit
from models.backbone_sources import RANDOM_PREFIX, load_backbone
from models.errors import StegoError

Start = Literal["first", "last", "even"]
_BLOCK = re.compile(r"^blocks\.(\d+)\.(.+)$")


def source_blocks(start: Start, depth: int, target: int) -> list[int]:
    """Which teacher blocks a student of ``depth`` blocks starts from, the teacher being cut after block ``target``.

    Raises:
        StegoError: the student would be deeper than the teacher.
    """
    if depth > target + 1:
        raise StegoError(f"depth {depth}: the teacher has {target + 1} blocks up to block {target}; a student has at most as many")
    if start == "last":
        return [*range(depth - 1), target]
    if start == "even":
        return [round(index * target / max(1, depth - 1)) for index in range(depth)]
    return list(range(depth))


def student_of_blocks(teacher: Backbone, depth: int, start: Start, source: str) -> Backbone:
    """A student that shares the teacher's shape but for its depth, and starts as copies of some of its blocks."""
    blocks = source_blocks(start, depth, teacher.spec.block)
    spec = replace(teacher.spec, depth=depth, block=depth - 1, method="distill", source=source)
    state: dict[str, torch.Tensor] = {}
    for name, tensor in teacher.network.state_dict().items():
        match = _BLOCK.match(name)
        if match is None:
            state[name] = tensor.clone()
            continue
        for target, origin in enumerate(blocks):
            if origin == int(match.group(1)):
                state[f"blocks.{target}.{match.group(2)}"] = tensor.clone()
    network = build_vit(spec)
    network.load_state_dict(state, strict=True)
    return Backbone(network, spec)


def random_student(name: str, depth: int, source: str, seed: int) -> Backbone:
    """A timm ViT ``name`` of ``depth`` blocks with random weights."""
    shape = load_backbone(RANDOM_PREFIX + name).spec
    spec = replace(shape, depth=depth, block=depth - 1, method="distill", source=source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Backbone(build_vit(spec), spec)
