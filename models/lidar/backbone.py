"""The lidar backbone and its file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.artifact import ArtifactError, is_artifact, read_artifact, tensors_digest, write_artifact
from models.backbone_sources import RANDOM_PREFIX
from models.lidar.unet import PointUNet
from models.quantize import pack_state, unpack_state

KIND = "lidar backbone"


@dataclass(frozen=True)
class LidarSpec:
    """All that is needed to build the network again.

    Attributes:
        voxel: side of the finest voxels in m.
        widths: channels at each resolution, finest first.
        latent: channels of a point's feature.
        method: how the weights came about, e.g. "also", "random".
        source: what they were trained on, for the record.
    """

    voxel: float
    widths: tuple[int, ...]
    latent: int
    method: str = "random"
    source: str = ""

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> LidarSpec:
        """Read the ``backbone`` field of an artefact's header.

        Raises:
            ArtifactError: a field is missing or of the wrong type.
        """
        try:
            fields = dict(header["backbone"])
            fields["widths"] = tuple(int(width) for width in fields["widths"])
            return cls(**{**fields, "voxel": float(fields["voxel"]), "latent": int(fields["latent"])})
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the model file's header does not describe a lidar backbone: {error}") from error


class LidarBackbone(nn.Module):
    """Points to features; see `models.lidar.unet.PointUNet`."""

    def __init__(self, network: PointUNet, spec: LidarSpec) -> None:
        super().__init__()
        self.network = network
        self.spec = spec

    @property
    def depth(self) -> int:
        """Number of resolutions."""
        return len(self.spec.widths)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name weights and voxels."""
        return hashlib.sha256(f"{tensors_digest(self.network.state_dict())}|{self.spec.voxel}".encode()).hexdigest()[:16]

    def forward(self, points: torch.Tensor, intensity: torch.Tensor, scan: torch.Tensor, origins: torch.Tensor | None = None) -> torch.Tensor:
        """Features (N, latent); see `PointUNet`."""
        features: torch.Tensor = self.network(points, intensity, scan, origins)
        return features


def random_lidar_backbone(spec: LidarSpec, seed: int) -> LidarBackbone:
    """A network of the shape of ``spec`` with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LidarBackbone(PointUNet(spec.voxel, spec.widths, spec.latent), replace(spec, method="random", source="")).eval()


def save_lidar_backbone(path: Path, backbone: LidarBackbone, *, precision: str = "fp16", card: Mapping[str, Any] | None = None) -> None:
    """Write ``backbone`` to ``path``; arguments as in `models.backbone.save_backbone`."""
    header = {"backbone": asdict(backbone.spec), "precision": precision, "card": dict(card or {})}
    write_artifact(path, KIND, pack_state(backbone.network.state_dict(), precision), header)


def read_lidar_backbone(path: Path) -> LidarBackbone:
    """Load a file written by `save_lidar_backbone`.

    Raises:
        ArtifactError: see `models.artifact.read_artifact`; or the tensors do not fit the described network.
    """
    tensors, header = read_artifact(path, KIND)
    return lidar_backbone_from_tensors(tensors, LidarSpec.from_header(header), origin=str(path))


def lidar_backbone_from_tensors(tensors: Mapping[str, torch.Tensor], spec: LidarSpec, *, origin: str) -> LidarBackbone:
    """The network of ``spec`` with packed ``tensors`` as its weights; ``origin`` names them in errors.

    Raises:
        ArtifactError: they do not fit.
    """
    try:
        network = PointUNet(spec.voxel, spec.widths, spec.latent)
        network.load_state_dict(unpack_state(tensors), strict=True)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ArtifactError(f"{origin}: weights do not fit the lidar backbone it describes ({str(error).splitlines()[-1].strip()})") from error
    return LidarBackbone(network, spec).eval()


def is_lidar_backbone(name: str) -> bool:
    """Whether ``name``, or what follows its ``random:``, is a lidar backbone file."""
    return is_artifact(Path(name.removeprefix(RANDOM_PREFIX)), KIND)


def load_lidar_backbone(name: str, seed: int = 0) -> LidarBackbone:
    """A lidar backbone file; or ``random:`` and one, the same network before any training, drawn from ``seed``.

    Raises:
        ArtifactError: see `read_lidar_backbone`.
    """
    if name.startswith(RANDOM_PREFIX):
        return random_lidar_backbone(read_lidar_backbone(Path(name.removeprefix(RANDOM_PREFIX))).spec, seed)
    return read_lidar_backbone(Path(name))
