"""The same points seen in two views of a scan: from these, discovery learns which differences between features mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from models.errors import StegoError
from models.lidar.backbone import LidarBackbone
from stego_app.data.dataset import evenly
from stego_app.discovery.crop_pairs import CropPairs
from stego_app.lidar.features import point_features
from stego_app.lidar.motion import random_motion
from stego_app.lidar.readers import read_scan
from stego_app.lidar.scan import Scan
from stego_app.progress import Progress, silent

SCANS, POINTS = 24, 8_000


def scan_pairs(paths: Sequence[Path], backbone: LidarBackbone, seed: int, device: str = "cpu", progress: Progress = silent) -> CropPairs:
    """Unit features of about 8,000 points of up to 24 scans, as they are and turned, mirrored and moved; see `stego_app.lidar.motion`.

    Raises:
        StegoError: no scan can be used.
    """
    chosen = evenly(paths, SCANS)
    first: list[torch.Tensor] = []
    second: list[torch.Tensor] = []
    reason = "no scans given"
    shift = backbone.spec.voxel * 2 ** (backbone.depth - 1)
    for number, path in enumerate(chosen):
        rng = np.random.default_rng((seed, number))
        try:
            scan = read_scan(path)
        except StegoError as error:
            reason = str(error)
            continue
        drawn = torch.from_numpy(rng.permutation(len(scan))[: ceil(POINTS / len(chosen))])
        moved = Scan(random_motion(rng, shift)(scan.points), scan.intensity, scan.rows, scan.total)
        first.append(normalize(point_features(backbone, scan, device)[drawn], dim=1))
        second.append(normalize(point_features(backbone, moved, device)[drawn], dim=1))
        progress("views of scans", number + 1, len(chosen))
    if not first:
        raise StegoError(f"no scan can be used ({reason})")
    return CropPairs(torch.cat(first), torch.cat(second))
