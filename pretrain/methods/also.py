"""ALSO: which space is full, told from each point about its surroundings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from models.lidar.backbone import LidarBackbone
from models.lidar.voxels import scan_of, voxel_means
from pretrain.lidar.batches import ScanBatch
from pretrain.lidar.decoder import Answers, LocalDecoder, pair_losses
from pretrain.lidar.material import LidarMaterial
from pretrain.lidar.radius import pairs_within
from pretrain.material import Material
from pretrain.methods.base import Defaults, Options, Pretext, Setting, Step, full_precision
from pretrain.settings import PretrainConfig


class AlsoOptions(Options):
    """Lengths in m.

    ``voxel``, ``widths`` and ``latent`` are the network's (the paper's on SemanticKITTI: 0.05, a MinkUNet, 128), ``hidden`` the decoder's.
    ``rays`` a scan are asked three questions each, at most ``offset`` from the hit or anywhere before it; every support within ``radius`` answers.
    ``reach`` is how far from the sensor, along x and y, points are used.
    """

    voxel: float = Field(default=0.2, ge=0.04)  # smaller ones could not be told apart by their keys over the range of a sensor
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(32, 48, 64, 96), min_length=1, max_length=8)
    latent: int = Field(default=64, ge=1)
    hidden: int = Field(default=64, ge=1)
    rays: int = Field(default=1024, ge=1)
    offset: float = Field(default=0.1, gt=0, le=100)
    radius: float = Field(default=1.0, ge=0.04)
    reach: float = Field(default=50.0, gt=0)
    intensity_weight: float = Field(default=1.0, ge=0)


class Also(Pretext):
    """Boulch et al., ALSO: Automotive Lidar Self-supervision by Occupancy estimation, CVPR 2023, section 3."""

    name = "also"
    paper = "Boulch et al. 2023, arXiv:2212.05867"
    items: ClassVar[str] = "scans"
    material: ClassVar[Callable[[PretrainConfig, Any], Material]] = LidarMaterial
    options = AlsoOptions
    minimum = 1
    defaults = Defaults(learning_rate=1e-3, weight_decay=0.01, betas=(0.9, 0.999), batch=4)

    def __init__(self, encoder: LidarBackbone, setting: Setting) -> None:
        super().__init__(encoder, setting)
        self.radius, self.intensity_weight = setting.options.radius, setting.options.intensity_weight
        self.decoder = LocalDecoder(encoder.spec.latent, setting.options.hidden)

    def forward(self, batch: ScanBatch) -> Step:
        answers, query = self.answer(batch)
        with full_precision(batch.queries):
            losses = pair_losses(answers, batch.full[query], batch.query_intensity[query])
            loss = losses.occupancy + self.intensity_weight * losses.intensity
        found = {"occupancy": losses.occupancy, "intensity_error": losses.intensity, "occupancy_accuracy": losses.accuracy}
        return Step(loss, {name: float(value.detach()) for name, value in found.items()} | {"pairs": float(len(query))})

    def answer(self, batch: ScanBatch) -> tuple[Answers, torch.Tensor]:
        """What every support says of each query near it, and the query (P,) of each answer. Supports are the mean points of the voxels."""
        network = self.encoder.network
        latents, voxels = network.voxels(batch.points, batch.intensity, batch.scan, batch.origins)
        supports = voxel_means(batch.points, voxels)
        query, support = pairs_within(batch.queries, batch.query_scan, supports, scan_of(voxels.keys), self.radius)
        return self.decoder(latents, batch.queries[query] - supports[support], support), query
