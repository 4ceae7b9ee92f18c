"""What a checkpoint of a V-JEPA run predicts and knows of clips it was not trained on; the command is ``python benchmarks/video.py vjepa``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from models.artifact import read_header
from pretrain.batches import Batch
from pretrain.run import prepare
from pretrain.settings import make_pretrain_config
from pretrain.state import load_state, restore_module
from pretrain.video.attentive_probe import accuracy, fit_probe
from pretrain.video.encoder import VideoEncoder
from pretrain.video.views import centre_clip
from pretrain.video.windows import ClipShape, open_clips, read_window

DRAWS, PROBES, A_WINDOW = 8, 3, 3


def held_out_scores(state: Path, train: Path, held: Path, seed: int) -> Iterator[str]:
    """Lines of two tables."""
    settings = dict(read_header(state)["settings"])
    out = state.with_name(state.name.removesuffix(".part"))
    config = make_pretrain_config(**{**settings, "data": (train,), "out": out, "options": settings["options"]})
    prepared = prepare(config)
    module: Any = prepared.module
    start = module.method.kept
    start_weights = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    material: Any = prepared.material
    tensors, header = load_state(state, config, material.fingerprint)
    restore_module(tensors, module)
    method = module.method.eval()
    shape: ClipShape = material.shape
    clips = {name: _clips(folder, shape, config.image_size, seed) for name, folder in (("train", train), ("held", held))}
    yield f"step {header['step']} of {prepared.steps}; {len(clips['train'])} clips of the training videos, {len(clips['held'])} of {held.name}, seed {seed}"
    yield "\n| masked prediction, L1 of layer-normed targets | training clips | held-out clips |\n|---|---|---|"
    rows = [_prediction(method, one, clips["train"], seed) for one in (clips["train"], clips["held"])]
    for number, name in enumerate(("predictor", "mean of the clip's seen tokens", "mean token of the training clips", "the same at each position")):
        yield f"| {name} | {rows[0][number]:.4f} | {rows[1][number]:.4f} |"
    yield "\n| attentive probe, in order or shuffled (chance 50 %) | training clips | held-out clips |\n|---|---|---|"
    encoder: VideoEncoder = method.kept
    for name in ("trained", "random start"):
        if name == "random start":
            encoder.load_state_dict(start_weights)
        scores = np.mean([_order(encoder, clips["train"], clips["held"], seed + extra) for extra in range(PROBES)], axis=0)
        yield f"| {name} | {100 * scores[0]:.1f} | {100 * scores[1]:.1f} |"


def _clips(folder: Path, shape: ClipShape, size: int, seed: int) -> torch.Tensor:
    """Up to three clips (N, T, 3, S, S) of each window, at random starts, central square."""
    rng = np.random.default_rng(seed)
    found = []
    for window in open_clips([folder], shape).windows:
        frames = read_window(window, shape, round(1.15 * size))
        starts = rng.permutation(len(frames) - shape.frames + 1)[:A_WINDOW]
        found += [centre_clip(frames[start : start + shape.frames], shape.frames, size) for start in sorted(starts)]
    return torch.stack(found)


@torch.no_grad()
def _prediction(method: Any, clips: torch.Tensor, training: torch.Tensor, seed: int) -> tuple[float, ...]:
    """L1 of the predictor, of the mean of the seen tokens, of the mean token of the training clips, and of their mean at each position."""
    torch.manual_seed(seed)
    losses, copied, lengths = [], [], []
    for chunk in [some for _ in range(DRAWS) for some in clips.split(16)]:
        empty = torch.zeros(0)
        step = method(Batch(chunk[None], empty, empty, empty, empty, empty))
        losses.append(float(step.loss))
        copied.append(step.logs["copy_mean"])
        lengths.append(len(chunk))
    there = sum(_targets(method, some).sum(dim=0) for some in training.split(16)) / len(training)
    constants = [torch.cat([(_targets(method, some) - mean).abs().mean(dim=(1, 2)) for some in clips.split(16)]).mean() for mean in (there.mean(dim=0), there)]
    return float(np.average(losses, weights=lengths)), float(np.average(copied, weights=lengths)), *map(float, constants)


def _targets(method: Any, clips: torch.Tensor) -> torch.Tensor:
    whole = method.kept(clips).float()
    return functional.layer_norm(whole, whole.shape[-1:])


def _order(encoder: VideoEncoder, train: torch.Tensor, held: torch.Tensor, seed: int) -> tuple[float, float]:
    """Accuracy on both of a probe that learns on ``train`` whether a clip's frames are in order."""
    tokens, labels = _in_order_or_not(encoder, train, seed)
    probe = fit_probe(tokens, labels, 2, seed=seed)
    return accuracy(probe, tokens, labels), accuracy(probe, *_in_order_or_not(encoder, held, seed))


@torch.no_grad()
def _in_order_or_not(encoder: VideoEncoder, clips: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.stack([clip[torch.randperm(len(clip), generator=generator)] for clip in clips])
    tokens = torch.cat([encoder(some).float() for some in torch.cat([clips, mixed]).split(16)])
    return tokens, torch.arange(2).repeat_interleave(len(clips))
