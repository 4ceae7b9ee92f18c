"""``stego lidar train`` from top to bottom: scans, features, classes, segmenter file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.errors import StegoError
from models.lidar.backbone import load_lidar_backbone
from stego_app.data.dataset import evenly
from stego_app.discovery import discover
from stego_app.discovery.settings import DiscoverySettings
from stego_app.features import device_of
from stego_app.features.location import default_cache_folder
from stego_app.lidar.range_image import ScanTokens
from stego_app.lidar.readers import find_scans
from stego_app.lidar.segmenter import LidarSegmenter, save_lidar_segmenter
from stego_app.lidar.views import scan_pairs
from stego_app.progress import Progress, silent

SCANS = 200
"""Scans that classes are looked for in, at most, spread evenly over those given: bounds memory."""


@dataclass(frozen=True)
class Trained:
    """What a run found: number of classes and of fine clusters, remarks, and scans that could not be used, with reasons."""

    classes: int
    fine: int
    notes: list[str]
    failures: list[tuple[Path, str]]


def train_lidar_segmenter(
    data: Path,
    backbone_name: str,
    out: Path,
    *,
    classes: int | None = None,
    seed: int = 0,
    device: str = "auto",
    cache: Path | None = None,
    settings: DiscoverySettings | None = None,
    progress: Progress = silent,
) -> Trained:
    """Find classes that hold across the scans of ``data``, as `stego_app.discovery` does across images, and write a segmenter to ``out``.

    Scans take the place of images and cells of their range images that of patches: correspondences are counted between scans, neighbouring or not, and
    between adjacent cells of one. Features are kept in the folder ``cache``, or the user's cache folder, so that a run that was cut off goes on.

    Raises:
        StegoError: anything a user can mend: no scans, an unusable backbone, too many classes, a full disk …
    """
    if out.suffix != ".safetensors":
        raise StegoError(f"--out {out}: expected a name that ends in .safetensors")
    where = device_of(device)
    backbone = load_lidar_backbone(backbone_name, seed).to(where)
    paths = evenly(find_scans(data), SCANS)
    source = ScanTokens.build(paths, backbone, str(where), progress, cache=cache or default_cache_folder())
    pairs = scan_pairs(source.paths, backbone, seed, str(where), progress)
    found = discover(source, pairs, classes=classes, seed=seed, settings=settings, progress=progress)
    notes = [_of_scans(note) for note in found.notes]
    provenance = {"data": data.name, "scans": len(source), "backbone": backbone_name, "seed": seed, "threshold": found.threshold, "notes": notes}
    save_lidar_segmenter(out, LidarSegmenter(backbone.cpu(), found.model, provenance))
    return Trained(found.model.classes, len(found.model.fine), notes, source.failures)


def _of_scans(note: str) -> str:
    return note.replace("images", "scans").replace("image", "scan").replace("patches", "points")
