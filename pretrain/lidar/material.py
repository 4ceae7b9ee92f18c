"""Scans to pretrain on, and the sparse U-Net that fits them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from models.errors import StegoError
from models.lidar.backbone import LidarBackbone, LidarSpec, load_lidar_backbone, random_lidar_backbone, save_lidar_backbone
from models.lidar.voxels import MAX_SCANS
from pretrain.batches import Share
from pretrain.lidar.batches import Asking, ScanBank, ScanBatches
from pretrain.material import MakeBatches, Material, Watched
from pretrain.processes import bytes_to_keep
from pretrain.settings import PretrainConfig
from pretrain.source import data_fingerprint
from stego_app.data.dataset import evenly
from stego_app.lidar.readers import find_scans
from stego_app.progress import Progress

WATCHED_SCANS, WATCHED_POINTS = 6, 64
OF_IMAGES = ("architecture", "image_size", "patch_size", "depth", "layer_decay", "drop_path", "ema", "checkpointing")
"""Settings that mean nothing to scans. An average of weights would leave the batch norms' statistics behind."""
OF_A_START = ("voxel", "widths", "latent")


class WatchedScan(NamedTuple):
    """A scan, points (N, 3), intensity (N,), scan (N,) of zeros, and the points ``chosen`` (n,) of it that are watched."""

    points: torch.Tensor
    intensity: torch.Tensor
    scan: torch.Tensor
    chosen: torch.Tensor


class LidarMaterial(Material):
    """Scans of folders; see `stego_app.lidar.readers`.

    Raises:
        StegoError: no scans, or a setting that belongs to images.
    """

    def __init__(self, config: PretrainConfig, options: Any) -> None:
        for name in OF_IMAGES:
            if getattr(config, name) != PretrainConfig.model_fields[name].default:
                raise StegoError(f"--{name.replace('_', '-')}: means nothing to '{config.method}', which learns from scans")
        if config.batch // config.accumulate > MAX_SCANS:
            raise StegoError(f"--batch {config.batch}: expected at most {MAX_SCANS} scans at once; raise --accumulate")
        self.config = config
        self.options = options
        self.paths = [path for one in config.data for path in find_scans(one)]
        self.names = [str(path) for path in self.paths]
        self.labels, self.kinds = np.zeros(len(self.paths), np.int64), [""]
        self.bank = ScanBank(self.paths, options.reach, bytes_to_keep(config))
        self.banks = (self.bank,)

    @property
    def fingerprint(self) -> str:
        return data_fingerprint(self.names, [path.stat().st_size for path in self.paths])

    def build_encoder(self) -> LidarBackbone:
        if self.config.init is None:
            spec = LidarSpec(self.options.voxel, self.options.widths, self.options.latent)
            return random_lidar_backbone(spec, self.config.seed)
        given = [name for name in OF_A_START if name in self.options.model_fields_set]
        if given:
            raise StegoError(f"--set {given[0]}: for a random start; a backbone given with --init has its own")
        return load_lidar_backbone(self.config.init, self.config.seed)

    def prepare(self, kind: Any, steps: int, progress: Progress) -> None:
        """Nothing: a scan is looked at when it is read."""

    def batches(self, method: Any, steps: int) -> MakeBatches:
        # Up to the side of the coarsest voxels: less would favour some of their places.
        spec = method.encoder.spec
        asking = Asking(self.options.rays, self.options.offset, spec.voxel * 2 ** (len(spec.widths) - 1))

        def make_batches(start: int, share: Share) -> ScanBatches:
            return ScanBatches(self.bank, asking, batch=self.config.batch, seed=self.config.seed, start=start, steps=steps, share=share)

        return make_batches

    def watched(self) -> Watched:
        """Points of up to 6 scans spread evenly over the data: scans of one drive, as wholes, are nearly the same."""
        chunks: list[WatchedScan] = []
        for index in evenly(range(len(self.bank)), WATCHED_SCANS):
            scan = self.bank.get(index)
            if scan is None:
                continue
            chosen = np.random.default_rng((self.config.seed, index)).permutation(len(scan))[:WATCHED_POINTS]
            points, intensity = torch.from_numpy(scan.points), torch.from_numpy(scan.intensity)
            chunks.append(WatchedScan(points, intensity, torch.zeros(len(scan), dtype=torch.long), torch.from_numpy(np.sort(chosen))))
        if not chunks:
            raise StegoError(f"no scan can be used, the last of them: {next(reversed(self.bank.skipped.values()))}")
        return chunks, None

    def represent(self, encoder: LidarBackbone, inputs: WatchedScan, method: Any) -> torch.Tensor:
        del method
        features: torch.Tensor = encoder(inputs.points, inputs.intensity, inputs.scan)[inputs.chosen]
        return features

    def describe(self, encoder: LidarBackbone) -> str:
        spec = encoder.spec
        return f"sparse U-Net of widths {', '.join(map(str, spec.widths))}, voxels of {spec.voxel:g} m, {spec.latent} channels a point"

    def save(self, path: Path, encoder: LidarBackbone, source: str, card: Mapping[str, Any]) -> None:
        named = LidarBackbone(encoder.network, replace(encoder.spec, method=self.config.method, source=source))
        save_lidar_backbone(path, named, precision=self.config.file_precision, card=card)
