"""Which weights of a trained backbone a run goes on with: all of them, its last blocks, or low-rank adapters beside frozen ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from models.backbone import BackboneSpec
from models.errors import StegoError
from pretrain.settings import nearest
from stego_app.runtime.extras import require

RANK = 8
ADAPTED = ("qkv", "proj", "fc1", "fc2")
"""The linear layers of timm's blocks that get an adapter: of attention and of the perceptron."""
ADAPTER_RATE = 10.0
"""Factor of an adapter's learning rate. ``ΔW = B A`` with B from zero and A uniform of deviation ``1 / sqrt(3 · width)``: a step of Adam moves an entry of
``ΔW`` by about ``sqrt(rank / (3 · width))``, a twelfth for rank 8 and width 384, of what it moves an entry of ``W`` that is trained itself."""


@dataclass(frozen=True)
class Tune:
    """``kind`` of tuning, and its ``count``: of blocks for "last", the rank for "lora"."""

    kind: Literal["all", "last", "lora"]
    count: int = 0


def parse_tune(text: str) -> Tune:
    """What ``all``, ``last:N`` or ``lora[:RANK]`` says.

    Raises:
        StegoError: it is none of these; the nearest word is suggested.
    """
    word, colon, number = text.partition(":")
    if word not in ("all", "last", "lora"):
        raise StegoError(f"--tune {text}: expected all, last:N or lora[:RANK]{nearest(word, ('all', 'last', 'lora'))}")
    if word == "all" or (word == "lora" and not colon):
        if colon:
            raise StegoError(f"--tune {text}: 'all' takes no number")
        return Tune("all") if word == "all" else Tune("lora", RANK)
    count = int(number) if number.isascii() and number.isdigit() else 0
    if count < 1:
        what = "last:N with the number of blocks to train" if word == "last" else "lora:RANK with the rank of the adapters"
        raise StegoError(f"--tune {text}: expected {what}, 1 or more")
    return Tune("last", count) if word == "last" else Tune("lora", count)


def check_tune(text: str, init: str | None, items: str) -> None:
    """Whether ``--tune`` fits a run from ``init`` on ``items`` ("images").

    Raises:
        StegoError: see `parse_tune`; or nothing is there to be adapted.
    """
    if parse_tune(text).kind == "all":
        return
    if items != "images":
        raise StegoError(f"--tune {text}: only backbones of images can be adapted in part, and this method learns from {items}")
    if init is None:
        raise StegoError(f"--tune {text}: goes on from a trained backbone; name it with --init")


def apply_tune(network: Any, spec: BackboneSpec, text: str, seed: int) -> None:
    """Freeze in ``network``, a timm ViT, all that a run with ``text`` does not train; adapters (Hu et al., LoRA, 2022, equation 3) draw from ``seed``.

    Raises:
        StegoError: more blocks than there are, a rank wider than the network, or the package that makes adapters is missing.
    """
    tune = parse_tune(text)
    if tune.kind == "last":
        _train_last(network, spec, tune.count)
    elif tune.kind == "lora":
        _add_adapters(network, spec, tune.count, seed)


def _train_last(network: Any, spec: BackboneSpec, count: int) -> None:
    if count > spec.depth:
        raise StegoError(f"--tune last:{count}: the backbone has {spec.depth} blocks; expected 1 to {spec.depth}")
    after = spec.depth - 1 - spec.block
    if count <= after:
        raise StegoError(f"--tune last:{count}: features are taken after block {spec.block} of 0 to {spec.depth - 1}; expected at least last:{after + 1}")
    network.requires_grad_(False)
    for trained in (*network.blocks[-count:], network.norm):
        trained.requires_grad_(True)


def _add_adapters(network: Any, spec: BackboneSpec, rank: int, seed: int) -> None:
    if rank > spec.dim:
        raise StegoError(f"--tune lora:{rank}: the backbone is {spec.dim} channels wide; expected a rank of 1 to {spec.dim}")
    peft = require("peft", extra="adapt")
    network.requires_grad_(False)
    targets = [name for name, module in network.blocks.named_modules(prefix="blocks") if isinstance(module, nn.Linear) and name.endswith(ADAPTED)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=targets), network)


def merge_adapters(network: nn.Module) -> nn.Module:
    """``network`` with each adapter added to the layer beside which it was trained (``W + B A``), and with the names of plain layers again."""
    for name, layer in [(name, layer) for name, layer in network.named_modules() if hasattr(layer, "lora_A")]:
        adapted: Any = layer
        adapted.merge()
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, adapted.get_base_layer())
    return network
