"""A segmenter of scans: a lidar backbone and the clusters found in its features, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.artifact import ArtifactError, read_artifact, write_artifact
from models.errors import StegoError
from models.lidar.backbone import LidarBackbone, LidarSpec, lidar_backbone_from_tensors
from models.quantize import pack_state
from stego_app.clusters import ClusterModel
from stego_app.lidar.features import point_features
from stego_app.lidar.scan import Scan

KIND = "lidar segmenter"
_BACKBONE, _CLUSTERS = "backbone.", "clusters."


@dataclass(frozen=True)
class LidarSegmenter:
    """Scans to classes of points; ``provenance`` is for the record."""

    backbone: LidarBackbone
    clusters: ClusterModel
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, scan: Scan, classes: int | None = None, device: torch.device | str = "cpu") -> npt.NDArray[np.int64]:
        """The class (N,) of each point, 0 to K - 1; ``classes`` cuts the tree elsewhere.

        Raises:
            StegoError: ``classes`` is not between 1 and the number of fine clusters.
        """
        probabilities = self.clusters.class_probabilities(point_features(self.backbone, scan, device), classes)
        found: npt.NDArray[np.int64] = probabilities.argmax(dim=1).numpy()
        return found


def save_lidar_segmenter(path: Path, segmenter: LidarSegmenter) -> None:
    """Write ``segmenter`` to ``path`` atomically, its backbone in half precision."""
    tensors = {_CLUSTERS + name: tensor for name, tensor in segmenter.clusters.to_tensors().items()}
    tensors |= {_BACKBONE + name: tensor for name, tensor in pack_state(segmenter.backbone.network.state_dict(), "fp16").items()}
    header = {"backbone": asdict(segmenter.backbone.spec), "clusters": segmenter.clusters.header(), "provenance": dict(segmenter.provenance)}
    write_artifact(path, KIND, tensors, header)


def read_lidar_segmenter(path: Path) -> LidarSegmenter:
    """Load a file written by `save_lidar_segmenter`.

    Raises:
        ArtifactError: missing, damaged, of another kind, or not complete.
    """
    tensors, header = read_artifact(path, KIND)
    parts = {prefix: {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)} for prefix in (_BACKBONE, _CLUSTERS)}
    backbone = lidar_backbone_from_tensors(parts[_BACKBONE], LidarSpec.from_header(header), origin=str(path))
    try:
        clusters = ClusterModel.from_tensors(parts[_CLUSTERS], header["clusters"])
    except (KeyError, TypeError, ValueError, StegoError) as error:
        raise ArtifactError(f"{path}: the lidar segmenter file is not complete ({error})") from error
    if len(clusters.mean) != backbone.spec.latent:
        raise ArtifactError(f"{path}: clusters of {len(clusters.mean)} channels for a backbone of {backbone.spec.latent}")
    return LidarSegmenter(backbone, clusters, dict(header.get("provenance", {})))
