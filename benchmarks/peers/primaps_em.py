"""PriMaPs-EM: class prototypes fitted to principal masks by stochastic expectation-maximisation (Hahn et al., TMLR 2024, section 3.3).

Prototypes are the rows of a linear projection of patch features to classes, weight-normalised and without bias. They start
from principal directions and minimise the cosine k-means loss; two copies of them then take turns. E step: the momentum
prototypes classify patches, and every mask takes the class most frequent inside it. M step: the running prototypes descend a
focal cross-entropy against that. Every ten steps the momentum prototypes follow: 0.98 of the old, 0.02 of the running ones.

Settings are the authors' (learning rate 5e-3, batches of 32 images, 50 epochs, focal exponent 2). Choices of ours:

- The running prototypes see the same cached features, not those of an augmented image: there is no backbone in the loop.
- The k-means stage takes at least ``init_least`` steps. Two epochs, as published, are thousands of steps on COCO-Stuff but two dozen on CamVid.
- ``patches`` of each image are drawn at each step, masks and votes included: an E step on all of them takes four times as long.
- ``start`` "kmeans" begins from spherical k-means, the minimum of the same loss, instead of descending to it from principal directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy, normalize

from benchmarks.peers.kmeans import kmeans_directions
from benchmarks.peers.primaps import COVERAGE, NO_MASK, THRESHOLD, principal_masks
from stego_app.discovery.source import TokenSource
from stego_app.progress import Progress, silent

_START_TOKENS = 50_000


@dataclass(frozen=True)
class PrimapsSettings:
    """Settings of PriMaPs-EM; see the module."""

    threshold: float = THRESHOLD
    coverage: float = COVERAGE
    start: Literal["principal", "kmeans"] = "principal"
    batch: int = 32
    patches: int = 192
    init_epochs: int = 2
    init_least: int = 300
    epochs: int = 50
    rate: float = 5e-3
    focal: float = 2.0
    decay: float = 0.98
    every: int = 10


@dataclass(frozen=True)
class Prototypes:
    """``direction`` (K, C) of any length and ``gain`` (K,): logits are ``gain · ⟨direction / ‖direction‖, x⟩``, x of length sqrt(C)."""

    direction: torch.Tensor
    gain: torch.Tensor

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, K) of tokens (n, C) of any length."""
        return _scaled(tokens) @ (self.gain[:, None] * normalize(self.direction, dim=1)).T


Masks = Sequence[npt.NDArray[np.int64]]
"""The mask (n,) of each patch of each image, `NO_MASK` for none."""


def all_masks(source: TokenSource, settings: PrimapsSettings, progress: Progress = silent) -> Masks:
    """The principal masks of all images; no seed decides them."""
    masks = []
    for index in range(len(source)):
        masks.append(principal_masks(source.tokens(index), settings.threshold, settings.coverage))
        progress("principal masks", index + 1, len(source))
    return masks


def fit_primaps(
    source: TokenSource, masks: Masks, classes: int, settings: PrimapsSettings | None = None, *, seed: int = 0, progress: Progress = silent
) -> Prototypes:
    """The momentum prototypes of K = ``classes`` after the last step, from the images' `all_masks`."""
    settings = settings or PrimapsSettings()
    draw = torch.Generator().manual_seed(seed)
    first = start_directions(source, classes, settings, seed)
    first = _kmeans_stage(source, first, settings, draw, progress) if settings.start == "principal" else first
    return _expectation_maximisation(source, masks, first, settings, draw, progress)


def start_directions(source: TokenSource, classes: int, settings: PrimapsSettings, seed: int) -> torch.Tensor:
    """Unit (K, C): the first K principal directions of a sample of unit tokens, or its spherical k-means."""
    tokens, _ = source.sample(_START_TOKENS, seed)
    if settings.start == "kmeans":
        return torch.from_numpy(kmeans_directions(tokens, classes, seed))
    unit = normalize(torch.from_numpy(tokens), dim=1)
    vectors: torch.Tensor = torch.linalg.eigh(torch.cov(unit.T)).eigenvectors
    return vectors.T.flip(0)[:classes].contiguous()


def majority_in_masks(said: torch.Tensor, masks: torch.Tensor, classes: int) -> torch.Tensor:
    """E step: (n,) the most frequent of ``said`` (n,) in each patch's mask; `NO_MASK` where ``masks`` (n,) is that."""
    inside = masks != NO_MASK
    votes = torch.zeros(int(masks.max()) + 1, classes)
    votes.index_put_((masks[inside], said[inside]), torch.ones(int(inside.sum())), accumulate=True)
    return torch.where(inside, votes.argmax(1)[masks.clamp(min=0)], NO_MASK)


def focal_loss(logits: torch.Tensor, labels: torch.Tensor, exponent: float) -> torch.Tensor:
    """Mean over labelled patches of ``(1 - χ_k)^exponent · cross-entropy``, χ_k the mean probability of class k in the batch.

    Args:
        logits: (n, K).
        labels: (n,) classes; `NO_MASK` is left out.
        exponent: of the weight.
    """
    weight = (1 - logits.detach().softmax(1).mean(0)) ** exponent
    each = cross_entropy(logits, labels, weight=weight, ignore_index=NO_MASK, reduction="none")
    return each.sum() / (labels != NO_MASK).sum().clamp(min=1)


def _kmeans_stage(source: TokenSource, first: torch.Tensor, settings: PrimapsSettings, draw: torch.Generator, progress: Progress) -> torch.Tensor:
    """Minimise minus the mean largest cosine of a patch to a prototype."""
    directions = first.clone().requires_grad_()
    optimiser = torch.optim.Adam([directions], lr=settings.rate)
    steps = max(settings.init_least, settings.init_epochs * math.ceil(len(source) / settings.batch))
    for step, batch in enumerate(_batches(len(source), settings.batch, steps, draw)):
        tokens, _ = _gather(source, None, batch, settings.patches, draw)
        loss = -(normalize(tokens, dim=1) @ normalize(directions, dim=1).T).amax(1).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        progress("prototypes", step + 1, steps)
    return normalize(directions.detach(), dim=1)


def _expectation_maximisation(
    source: TokenSource, masks: Masks, first: torch.Tensor, settings: PrimapsSettings, draw: torch.Generator, progress: Progress
) -> Prototypes:
    momentum = Prototypes(first.clone(), torch.ones(len(first)))
    running = Prototypes(first.clone().requires_grad_(), torch.ones(len(first)).requires_grad_())
    optimiser = torch.optim.Adam([running.direction, running.gain], lr=settings.rate)
    steps = settings.epochs * math.ceil(len(source) / settings.batch)
    for step, batch in enumerate(_batches(len(source), settings.batch, steps, draw)):
        tokens, inside = _gather(source, masks, batch, settings.patches, draw)
        labels = majority_in_masks(momentum.logits(tokens).argmax(1), inside, len(first))
        loss = focal_loss(running.logits(tokens), labels, settings.focal)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if (step + 1) % settings.every == 0:
            with torch.no_grad():
                momentum.direction.lerp_(running.direction, 1 - settings.decay)
                momentum.gain.lerp_(running.gain, 1 - settings.decay)
        progress("expectation-maximisation", step + 1, steps)
    return momentum


def _batches(images: int, size: int, steps: int, draw: torch.Generator) -> list[list[int]]:
    """``steps`` batches, epoch after epoch in a new order; the last of an epoch may be smaller."""
    found: list[list[int]] = []
    while len(found) < steps:
        order = torch.randperm(images, generator=draw).tolist()
        found += [order[start : start + size] for start in range(0, images, size)]
    return found[:steps]


def _gather(source: TokenSource, masks: Masks | None, batch: list[int], patches: int, draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (n, C) of patches drawn from the images of a batch, and their masks (n,), numbered through the batch; empty without masks."""
    tokens: list[torch.Tensor] = []
    numbered: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    base = 0
    for index in batch:
        stored = source.tokens(index)
        drawn = np.sort(torch.randperm(len(stored), generator=draw)[:patches].numpy())
        tokens.append(torch.from_numpy(np.asarray(stored[drawn], np.float32)))
        if masks is not None:
            mask = masks[index][drawn]
            numbered.append(np.where(mask == NO_MASK, NO_MASK, mask + base))
            base += int(masks[index].max()) + 1
    return torch.cat(tokens), torch.from_numpy(np.concatenate(numbered))


def _scaled(tokens: torch.Tensor) -> torch.Tensor:
    return normalize(tokens, dim=1) * math.sqrt(tokens.shape[1])
