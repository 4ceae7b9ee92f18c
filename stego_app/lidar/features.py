"""A frozen lidar backbone's features of the points of a scan."""

from __future__ import annotations

import torch

from models.lidar.backbone import LidarBackbone
from stego_app.lidar.scan import Scan


@torch.inference_mode()
def point_features(backbone: LidarBackbone, scan: Scan, device: torch.device | str = "cpu") -> torch.Tensor:
    """Features (N, C) float32, on the CPU; ``backbone`` is on ``device``."""
    points, intensity = (torch.from_numpy(part).to(device) for part in (scan.points, scan.intensity))
    found: torch.Tensor = backbone(points, intensity, torch.zeros(len(scan), dtype=torch.long, device=points.device))
    return found.float().cpu()
