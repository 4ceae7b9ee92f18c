"""STEGO's training objective on cached features: one loop from top to bottom.

Hamilton et al., "Unsupervised Semantic Segmentation by Distilling Feature Correspondences", ICLR 2022. Codes are computed
at the sampled points only, and the random pairs reuse the points of permuted images: the same objective in
distribution, at a fraction of the work. Nothing is chosen with labels: the result is the last step's.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn.functional import normalize

from models.correspondence import Shifts, correspondence_loss
from models.errors import StegoError
from models.head import SegmentationHead
from stego_app.features.cache import FeatureCache
from stego_app.features.extract import device_of, precision_of
from stego_app.features.neighbours import nearest_images
from stego_app.progress import Progress, silent
from stego_app.training.calibration import PairHistograms, choose_shifts
from stego_app.training.points import derangement, feature_points, random_positions
from stego_app.training.state import TrainingState, load_state, save_state

TERMS = ("self", "neighbour", "random", "cluster")


class StegoConfig(BaseModel):
    """Settings of the objective; the defaults are the paper's, but for ``steps``, ``batch`` and ``shifts``.

    Attributes:
        shifts: "quantile" (from the data), or a published set: cocostuff-s, cocostuff, cityscapes, potsdam, default.
        steps: optimiser steps.
        batch: images a step.
        code_dim: E, dimensions of a code.
        side: side x side points are sampled in each image.
        neighbours: nearest images from which an image's partner is drawn.
        randoms: random partners for each image.
        dropout: share of feature channels dropped, whole images at a time.
        head_rate, probe_rate: Adam's learning rates, of the head and of the cluster probe.
        precision: of the head's products: "auto", "fp32" or "bf16".
        save_every: steps between saved states.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shifts: str = "quantile"
    steps: int = Field(default=500, ge=1)
    batch: int = Field(default=16, ge=2)
    code_dim: int = Field(default=70, ge=2)
    side: int = Field(default=11, ge=2)
    neighbours: int = Field(default=7, ge=1)
    randoms: int = Field(default=5, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    head_rate: float = Field(default=5e-4, gt=0)
    probe_rate: float = Field(default=5e-3, gt=0)
    precision: str = "auto"
    save_every: int = Field(default=100, ge=1)


@dataclass(frozen=True)
class StegoResult:
    """What training leaves.

    Attributes:
        head: maps ``normalise(token) · sqrt(C)`` (..., C) to codes (..., E).
        clusters: (K, E) float32, unit directions of the cluster probe.
        shifts: what was used.
        histograms: similarities of the pair kinds, with the shifts.
        losses: term to its value at each step.
    """

    head: SegmentationHead
    clusters: npt.NDArray[np.float32]
    shifts: Shifts
    histograms: PairHistograms
    losses: dict[str, list[float]]


def train_stego(
    cache: FeatureCache,
    classes: int,
    config: StegoConfig | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    state_folder: Path | None = None,
    progress: Progress = silent,
) -> StegoResult:
    """Train a head and a cluster probe with STEGO's objective. The same seed gives the same bits on one CPU and thread count.

    Args:
        cache: features of the images (or of their crops).
        classes: K, clusters of the probe.
        config: settings.
        seed: of all draws.
        device: "auto", "cpu", "cuda" or "mps".
        state_folder: where the state is saved every so often; a run that was interrupted goes on from it. Removed at the end.
        progress: called as ``progress("training", step, steps)``.

    Raises:
        StegoError: fewer than two images, fewer patches than classes, unknown shifts, or a state that cannot be written.
    """
    config = config or StegoConfig()
    if classes < 1:
        raise StegoError(f"classes {classes}: expected at least 1")
    neighbours = nearest_images(cache.pooled, config.neighbours)
    shifts, histograms = choose_shifts(config.shifts, cache, neighbours, classes, points=config.side**2, batch=config.batch, seed=seed)
    trainer = _Trainer(cache, neighbours, shifts, classes, config, seed, device_of(device))
    path = state_folder / f"stego-{_run_digest(cache, classes, config, seed)}.state.safetensors" if state_folder else None
    losses = trainer.run(path, progress)
    head = trainer.head.cpu().eval()
    clusters = normalize(trainer.clusters.detach().cpu(), dim=1).numpy()
    return StegoResult(head, clusters, shifts, histograms, losses)


def head_input(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens (..., C) as the head takes them: unit length times sqrt(C), so that a channel's size does not depend on the backbone."""
    return normalize(tokens, dim=-1) * math.sqrt(tokens.shape[-1])


@torch.inference_mode()
def codes_of(head: nn.Module, tokens: npt.NDArray[np.float32], chunk: int = 65_536) -> npt.NDArray[np.float32]:
    """Unit codes (n, E) of ``tokens`` (n, C)."""
    parts = [normalize(head(head_input(torch.from_numpy(tokens[start : start + chunk]))), dim=1) for start in range(0, len(tokens), chunk)]
    return np.asarray(torch.cat(parts).numpy())


class _Trainer:
    """Head, cluster probe, optimiser and the one generator all draws come from."""

    def __init__(
        self,
        cache: FeatureCache,
        neighbours: npt.NDArray[np.int64],
        shifts: Shifts,
        classes: int,
        config: StegoConfig,
        seed: int,
        device: torch.device,
    ) -> None:
        self.cache, self.neighbours, self.shifts, self.config, self.device = cache, neighbours, shifts, config, device
        self.lowered = precision_of(config.precision, device) == "bf16"
        self.generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = SegmentationHead(cache.dim, config.code_dim).to(device)
            self.clusters = nn.Parameter(torch.randn(classes, config.code_dim).to(device))
        groups = [{"params": list(self.head.parameters()), "lr": config.head_rate}, {"params": [self.clusters], "lr": config.probe_rate}]
        self.optimiser = torch.optim.Adam(groups)
        self.losses: dict[str, list[float]] = {term: [] for term in TERMS}

    def run(self, path: Path | None, progress: Progress) -> dict[str, list[float]]:
        """Train to the last step, from the state at ``path`` if there is one."""
        state = TrainingState(self.head, self.clusters, self.optimiser, self.generator, self.losses)
        if path is not None and path.exists():
            load_state(path, state)
        steps = self.config.steps
        between_steps = True
        try:
            while (done := len(self.losses["self"])) < steps:
                between_steps = False
                for term, value in self.step().items():
                    self.losses[term].append(value)
                between_steps = True
                progress("training", done + 1, steps)
                if path is not None and (done + 1) % self.config.save_every == 0 and done + 1 < steps:
                    save_state(path, state)
        except KeyboardInterrupt:
            # Half a step cannot be taken back: its draws are gone and weights may have moved. The last saved state is whole.
            if path is not None and between_steps:
                save_state(path, state)
            raise
        if path is not None:
            path.unlink(missing_ok=True)
        return self.losses

    def step(self) -> dict[str, float]:
        """One optimiser step; the value of each term."""
        draw, points = self.generator, self.config.side**2
        images = torch.randperm(len(self.cache), generator=draw)[: self.config.batch]
        count = len(images)
        partners = self.neighbours[images.numpy(), torch.randint(self.neighbours.shape[1], (count,), generator=draw).numpy()]
        first_at, second_at = random_positions(count, points, draw), random_positions(count, points, draw)
        first = feature_points(self.cache, images.tolist(), first_at).to(self.device)
        near = feature_points(self.cache, partners.tolist(), second_at).to(self.device)
        codes, codes_near = self._codes(first), self._codes(near)
        # Each set of points is brought to unit length once, not once a pair.
        f, f_near, z, z_near = (normalize(points, dim=2).transpose(1, 2) for points in (first, near, codes, codes_near))
        shift, weight = self.shifts.shift, self.shifts.weight
        terms = {"self": correspondence_loss(f, f, z, z, shift.self_pairs), "neighbour": correspondence_loss(f, f_near, z, z_near, shift.neighbour_pairs)}
        orders = [derangement(count, draw) for _ in range(self.config.randoms)]
        terms["random"] = torch.stack([correspondence_loss(f, f[order], z, z[order], shift.random_pairs) for order in orders]).mean()
        loss = weight.self_pairs * terms["self"] + weight.neighbour_pairs * terms["neighbour"] + weight.random_pairs * terms["random"]
        # The probe sees detached codes: it follows the head and never steers it.
        terms["cluster"] = -torch.einsum("ben,ke->bkn", z.detach(), normalize(self.clusters, dim=1)).amax(dim=1).mean()
        loss = loss + terms["cluster"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return {term: float(value.detach()) for term, value in terms.items()}

    def _codes(self, features: torch.Tensor) -> torch.Tensor:
        """Codes (B, N, E) of features (B, N, C), with whole channels of an image dropped at random."""
        keep = 1 - self.config.dropout
        mask = (torch.rand(features.shape[0], 1, features.shape[2], generator=self.generator) < keep).to(features) / keep
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.lowered):
            codes: torch.Tensor = self.head(head_input(features) * mask)
        return codes.float()


def _run_digest(cache: FeatureCache, classes: int, config: StegoConfig, seed: int) -> str:
    """Names a run by its data, settings and seed, so that a state is only ever resumed by the run that wrote it."""
    digest = hashlib.sha256("|".join(cache.keys).encode())
    digest.update(cache.pooled.tobytes())
    digest.update(f"{classes}|{config.model_dump_json()}|{seed}".encode())
    return digest.hexdigest()[:16]
