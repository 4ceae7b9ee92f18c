"""CAUSE: modularity codebook, concept-wise contrastive head, cluster probe (Kim et al. 2023).

1. A codebook of 2,048 concepts by modularity (`benchmarks.peers.modularity`).
2. A head, pointwise or a decoder layer, trained so that patches whose concepts have a cosine above 0.3 attract and those below
   0.1 repel, against an EMA teacher (0.99) in the batch and against a bank of the teacher's older projections.
3. A cluster probe of K centroids by modularity on the teacher's codes, as the authors train theirs. With ``probe_steps`` 0 it is
   spherical k-means of the codes instead: modularity gives few classes most of the area, which costs mIoU where K is large.

Rates (Adam 1e-3, weight decay 1e-4 on the head), thresholds, temperature and code size (90) are the authors'. Choices of ours,
so that it runs on a processor core in about a minute:

- Steps are counted, not epochs: 800 for the codebook, 500 for the head, where both losses have levelled out on the shared sets.
  The authors take one to two epochs of COCO-Stuff on four GPUs.
- Of each image of a batch 64 patches are drawn for the codebook and the probe and 32 for the pointwise head; the decoder head
  sees windows of 8 x 8 patches.
- Projections have 512 dimensions instead of 2,048; the bank holds 8 entries a concept instead of 100, of which 1,024 are
  compared at each step.
- Codes start as random patches and centroids as spherical k-means of codes: from the authors' start, uniform noise, a few
  hundred steps move only the few that win first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import normalize

from benchmarks.peers.cause_heads import DecoderHead, Grid, PointwiseHead
from benchmarks.peers.concept_contrast import ConceptBank, concept_contrast
from benchmarks.peers.kmeans import kmeans_directions
from benchmarks.peers.modularity import modularity_loss
from stego_app.discovery.source import TokenSource
from stego_app.progress import Progress, silent


@dataclass(frozen=True)
class CauseSettings:
    """Settings of CAUSE; see the module."""

    head: Literal["mlp", "tr"] = "mlp"
    concepts: int = 2048
    patches: int = 64
    anchors: int = 32
    window: int = 8
    book_images: int = 8
    book_steps: int = 800
    book_rate: float = 1e-3
    batch: int = 16
    head_steps: int = 500
    head_rate: float = 1e-3
    decay: float = 1e-4
    code_dim: int = 90
    projection: int = 512
    dropout: float = 0.1
    teacher: float = 0.99
    bank_depth: int = 8
    bank_drawn: int = 1024
    probe_batches: int = 40
    probe_steps: int = 200
    probe_rate: float = 4e-3


@dataclass(frozen=True)
class CauseModel:
    """The codebook (k, C), the teacher's head, and the unit centroids (K, E)."""

    book: torch.Tensor
    head: nn.Module
    centroids: torch.Tensor
    losses: dict[str, list[float]]

    @torch.inference_mode()
    def codes(self, tokens: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Unit codes (n, E) of the tokens (n, C) of one image."""
        return normalize(self.head(tokens[None], concept_vectors(tokens[None], self.book, self.head), grid)[0], dim=1)

    def scores(self, tokens: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Cosine (n, K) of each patch's code to the centroids."""
        return self.codes(tokens, grid) @ self.centroids.T


@dataclass(frozen=True)
class Concepts:
    """What the first two stages give: the codebook (k, C), the teacher's head, and the loss of each step."""

    book: torch.Tensor
    head: nn.Module
    losses: dict[str, list[float]]


def fit_concepts(source: TokenSource, settings: CauseSettings, *, seed: int = 0, progress: Progress = silent) -> Concepts:
    """Codebook and head after the last step; nothing here depends on the number of classes."""
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        book, book_losses = fit_codebook(source, settings, seed, draw, progress)
        head, head_losses = _fit_head(source, book, settings, draw, progress)
    return Concepts(book, head, {"codebook": book_losses, "head": head_losses})


def fit_cause(source: TokenSource, concepts: Concepts, classes: int, settings: CauseSettings, *, seed: int = 0, progress: Progress = silent) -> CauseModel:
    """K = ``classes`` centroids on the codes of ``concepts``."""
    draw = torch.Generator().manual_seed(seed)
    centroids, losses = _fit_probe(source, concepts.book, concepts.head, classes, settings, draw, progress)
    return CauseModel(concepts.book, concepts.head, centroids, concepts.losses | {"probe": losses})


def nearest(tokens: torch.Tensor, book: torch.Tensor) -> torch.Tensor:
    """The code (...,) of largest cosine to each token (..., C)."""
    return (normalize(tokens, dim=-1) @ normalize(book, dim=1).T).argmax(-1)


def concept_vectors(tokens: torch.Tensor, book: torch.Tensor, head: nn.Module) -> torch.Tensor:
    """The code of largest cosine (..., C) to each token; the tokens themselves where the ``head`` does not look at codes."""
    return book[nearest(tokens, book)] if isinstance(head, DecoderHead) else tokens


def fit_codebook(source: TokenSource, settings: CauseSettings, seed: int, draw: torch.Generator, progress: Progress) -> tuple[torch.Tensor, list[float]]:
    """The codebook (k, C) and the loss of each step."""
    tokens, _ = source.sample(settings.concepts, seed)
    book = normalize(torch.from_numpy(tokens), dim=1).requires_grad_()
    batches = _batches(source, settings.book_images, settings.patches, None, draw)

    def loss() -> torch.Tensor:
        return modularity_loss(book, next(batches)[0])

    losses = _descend([book], loss, settings.book_rate, 0.0, settings.book_steps, "modularity codebook", progress)
    return book.detach(), losses


def _fit_head(source: TokenSource, book: torch.Tensor, settings: CauseSettings, draw: torch.Generator, progress: Progress) -> tuple[nn.Module, list[float]]:
    decoder = settings.head == "tr"
    window = (settings.window, settings.window)
    head: nn.Module = DecoderHead(book.shape[1], settings.code_dim, window) if decoder else PointwiseHead(book.shape[1], settings.code_dim)
    projector = nn.Linear(settings.code_dim, settings.projection)
    student = nn.ModuleList([head, projector])
    teacher = copy.deepcopy(student).requires_grad_(False).eval()
    similarity = normalize(book, dim=1) @ normalize(book, dim=1).T
    bank = ConceptBank(len(book), settings.bank_depth, settings.projection)
    batches = _batches(source, settings.batch, settings.anchors, settings.window if decoder else None, draw)

    def loss() -> torch.Tensor:
        tokens, grid = next(batches)
        concepts = nearest(tokens, book)
        keep = 1 - settings.dropout
        dropped = (torch.rand(len(tokens), 1, tokens.shape[2], generator=draw) < keep).float() / keep
        anchors = student[1](student[0](tokens, book[concepts], grid, dropped)).flatten(0, 1)
        with torch.no_grad():
            for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
                old.lerp_(new, 1 - settings.teacher)
            targets = normalize(teacher[1](teacher[0](tokens, book[concepts], grid)), dim=-1).flatten(0, 1)
        ids = concepts.flatten()
        stored, stored_ids = bank.draw(settings.bank_drawn, draw)
        value = concept_contrast(anchors, targets, similarity[ids[:, None], ids], same=True)
        if len(stored):
            value = (value + concept_contrast(anchors, stored, similarity[ids[:, None], stored_ids], same=False)) / 2
        kept = torch.rand(len(ids), generator=draw) < 0.5  # half of each batch, as in the paper
        bank.add(targets[kept], ids[kept])
        return value

    losses = _descend(list(student.parameters()), loss, settings.head_rate, settings.decay, settings.head_steps, "concept-wise head", progress)
    return teacher[0].eval(), losses


def _fit_probe(
    source: TokenSource, book: torch.Tensor, head: nn.Module, classes: int, settings: CauseSettings, draw: torch.Generator, progress: Progress
) -> tuple[torch.Tensor, list[float]]:
    centroids = _start_centroids(source, book, head, classes, settings, draw).requires_grad_()
    batches = _batches(source, settings.batch, settings.patches, settings.window if settings.head == "tr" else None, draw)

    def loss() -> torch.Tensor:
        tokens, grid = next(batches)
        with torch.no_grad():
            codes = head(tokens, concept_vectors(tokens, book, head), grid)
        return modularity_loss(centroids, codes)

    losses = _descend([centroids], loss, settings.probe_rate, 0.0, settings.probe_steps, "cluster probe", progress)
    return normalize(centroids.detach(), dim=1), losses


def _start_centroids(source: TokenSource, book: torch.Tensor, head: nn.Module, classes: int, settings: CauseSettings, draw: torch.Generator) -> torch.Tensor:
    """Unit (K, E): spherical k-means of codes."""
    batches = _batches(source, settings.batch, settings.patches, settings.window if settings.head == "tr" else None, draw)
    codes: list[torch.Tensor] = []
    with torch.no_grad():
        for tokens, grid in islice(batches, settings.probe_batches):
            codes.append(head(tokens, concept_vectors(tokens, book, head), grid).flatten(0, 1))
    seed = int(torch.randint(2**31 - 1, (), generator=draw))
    return torch.from_numpy(kmeans_directions(torch.cat(codes).numpy(), classes, seed))


def _descend(
    parameters: list[torch.Tensor], loss: Callable[[], torch.Tensor], rate: float, decay: float, steps: int, stage: str, progress: Progress
) -> list[float]:
    """Adam on ``loss``; its value at each step."""
    optimiser = torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    losses: list[float] = []
    for step in range(steps):
        value = loss()
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(value.detach()))
        progress(stage, step + 1, steps)
    return losses


def _batches(source: TokenSource, images: int, patches: int, window: int | None, draw: torch.Generator) -> Iterator[tuple[torch.Tensor, Grid]]:
    """Endless batches (B, n, C) of images in random order, and the grid their patches lie on: a window of each image, or ``patches`` drawn from it.

    Drawn patches have no neighbours: their grid is a row.
    """
    while True:
        order = torch.randperm(len(source), generator=draw).tolist()
        for start in range(0, max(1, len(order) - images + 1), images):
            batch = order[start : start + images]
            side = 0 if window is None else min(window, *(min(source.grid(index)) for index in batch))
            parts = [source.tokens(index)[_chosen(source.grid(index), patches, side, draw)] for index in batch]
            yield torch.from_numpy(np.stack(parts).astype(np.float32)), (side, side) if side else (1, patches)


def _chosen(grid: Grid, patches: int, side: int, draw: torch.Generator) -> npt.NDArray[np.int64]:
    """Numbers of the patches of a random window of ``side``, or of ``patches`` at random: some twice where there are not as many."""
    height, width = grid
    if side:
        top, left = (int(torch.randint(length - side + 1, (), generator=draw)) for length in grid)
        return (np.arange(top, top + side)[:, None] * width + np.arange(left, left + side)).ravel()
    return np.sort(np.resize(torch.randperm(height * width, generator=draw)[:patches].numpy(), patches))
