"""A step of pretraining beside the bare network's forward and backward pass."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.speed.row import Row, race
from pretrain.batches import Batch
from pretrain.encoder import build_encoder
from pretrain.methods import load_method
from pretrain.methods.base import Setting
from pretrain.settings import make_pretrain_config

SIDE, BATCH = 224, 4


def pretraining(images: Path | None, rounds: int) -> Row:  # noqa: ARG001 - random views do
    """SimCLR's step, views ready: normalising, network, head, loss, backward and AdamW, against timm's ViT on the same views."""
    config = make_pretrain_config(method="simclr", data=(Path(),), out=Path("none"), architecture="vit_small_patch16_224", image_size=SIDE, batch=BATCH)
    kind = load_method("simclr")
    encoder = build_encoder(config)
    labels = torch.zeros(BATCH, dtype=torch.int64)
    method = kind(encoder, Setting(config, kind.options(), BATCH, labels.numpy(), 1, 100))
    optimiser = torch.optim.AdamW(method.parameters())
    views = torch.randint(0, 256, (2, BATCH, 3, SIDE, SIDE), dtype=torch.uint8)
    batch = Batch(views, torch.empty(0, BATCH, 3, 0, 0, dtype=torch.uint8), torch.zeros(2, BATCH, 4), torch.zeros(2, BATCH, dtype=torch.bool), labels, labels)
    ready = encoder.normalise(views.flatten(0, 1))

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        method(batch).loss.backward()
        optimiser.step()

    def bare() -> None:
        encoder.network.zero_grad(set_to_none=True)
        encoder.network.forward_features(ready).float().square().mean().backward()

    laps = race({"ours": step, "bare": bare}, rounds)
    what = f"SimCLR's step on {BATCH} images at {SIDE}², ViT-S/16, optimiser included / forward and backward of timm's ViT"
    return Row("pretraining", what, laps["ours"].processor, laps["bare"].processor, 1 / 1.15, "float32")
