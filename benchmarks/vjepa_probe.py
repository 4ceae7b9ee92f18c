"""What a checkpoint of a V-JEPA run predicts and knows of clips it was not trained on; the command is ``python benchmarks/video.py vjepa``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
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
from pretrain.video.masks import tube_masks
from pretrain.video.positions import Grid
from pretrain.video.probe import shuffle
from pretrain.video.views import centre_clip
from pretrain.video.windows import ClipShape, open_clips, read_window

DRAWS, PROBES, A_WINDOW, SHUFFLES = 8, 3, 3, 4


def held_out_scores(state: Path, train: Path, held: Path, seed: int) -> Iterator[str]:
    """Lines of two tables."""
    settings = dict(read_header(state)["settings"])
    out = state.with_name(state.name.removesuffix(".part"))
    config = make_pretrain_config(**{**settings, "data": (train,), "out": out, "options": settings["options"]})
    prepared = prepare(config)
    module: Any = prepared.module
    untrained = copy.deepcopy(module.method).eval()
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
    for name, one in (("trained", method), ("random start", untrained)):
        scores = np.mean([_order(one.kept, clips["train"], clips["held"], seed + extra) for extra in range(PROBES)], axis=0)
        yield f"| {name} | {100 * scores[0]:.1f} | {100 * scores[1]:.1f} |"
    yield "\n| share of clips that are foretold worse with their frames shuffled | training clips | held-out clips | held out, told right with their sign |"
    yield "|---|---|---|---|"
    for name, one in (("trained", method), ("random start", untrained)):
        for masks, draw in (("tubes, as in training", tubes), ("second half from the first", second_half)):
            known, asked = (np.mean([surprised(one, clips[which], draw, seed + extra) for extra in range(SHUFFLES)]) for which in ("train", "held"))
            yield f"| {name}, {masks} | {100 * known:.1f} | {100 * asked:.1f} | {100 * (asked if known > 0.5 else 1 - asked):.1f} |"


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


Split = Callable[[Any, Grid], list[tuple[torch.Tensor, torch.Tensor, int]]]
"""Seen and masked tubelets (1, K) and (1, M) of a clip, and the kind of mask that the predictor is told, several times."""


def tubes(method: Any, grid: Grid) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
    """`DRAWS` draws of each kind of mask of the training."""
    kinds = method.settings.masks
    return [(*tube_masks(1, grid, kind), number) for number, kind in enumerate(kinds) for _ in range(DRAWS)]


def second_half(method: Any, grid: Grid) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
    """All of the first half of the times is seen, all of the second is asked for."""
    places = torch.arange(grid.times * grid.patches)[None]
    middle = grid.times // 2 * grid.patches
    return [(places[:, :middle], places[:, middle:], len(method.settings.masks) - 1)]


@torch.no_grad()
def surprised(method: Any, clips: torch.Tensor, draw: Split, seed: int) -> float:
    """Share of ``clips`` (N, T, 3, S, S) whose prediction is worse, over the same masks, with their frames in another order (Garrido et al., Intuitive physics
    understanding emerges from self-supervised pretraining on natural videos, 2025, "violation of expectation"): a pair a clip, nothing learnt from it."""
    rng = np.random.default_rng(seed)
    worse = []
    for number, (clip, mixed) in enumerate(zip(clips, shuffle(clips, rng), strict=True)):
        torch.manual_seed(seed + number)
        both = torch.stack([clip, mixed])
        grid = method.encoder.grid(both)
        wanted, errors = _targets(method, both), torch.zeros(2)
        for keep, masked, kind in draw(method, grid):
            seen, asked = keep.expand(2, -1), masked.expand(2, -1)
            predicted = method.predictor(method.encoder(both, keep=seen), seen, asked, kind, grid).float()
            errors += (predicted - wanted.gather(1, asked[..., None].expand(-1, -1, wanted.shape[-1]))).abs().mean(dim=(1, 2))
        worse.append(bool(errors[1] > errors[0]))
    return float(np.mean(worse))


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
