"""``stego pretrain naming`` from top to bottom: named images, features (cached, so it goes on after an interruption), fit, trial on held-out names, file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from models.backbone_sources import load_backbone
from models.errors import StegoError
from models.text.bridge import Bridge, embed_names, save_bridge
from models.text.sentences import MiniLm, SentenceModel
from pretrain.naming.calibrate import FOLDS, HeldOut, calibration_of, held_out_scores
from pretrain.naming.fit import BROADER, Material, cells_of, fit_bridge, mixed_texts
from pretrain.naming.material import NamedImages, named_images
from stego_app.features import FeatureCache
from stego_app.progress import Progress, silent

TEMPLATES = ("a photo of {}.", "{}", "there is {} in the picture.")


@dataclass(frozen=True)
class BridgeSettings:
    """Everything that decides a bridge; ``exclude`` leaves out images with one of these among their names, ``shuffled`` exchanges the names (a control)."""

    data: tuple[Path, ...]
    names: Path | None = None
    backbone: str = "default"
    resolution: int = 224
    seed: int = 0
    device: str = "auto"
    cache: Path | None = None
    exclude: tuple[str, ...] = ()
    shuffled: bool = False


def train_bridge(
    settings: BridgeSettings, out: Path, model: SentenceModel | None = None, progress: Progress = silent, failures: list[tuple[str, str]] | None = None
) -> tuple[Bridge, HeldOut]:
    """Fit a bridge to ``settings.data`` and write it to ``out``; ``model`` is the installed sentence model if None.

    Images that cannot be read are left out, and added to ``failures`` with the reason.

    Raises:
        StegoError: no images, too few names, an unknown backbone, the extra ``text`` is missing.
    """
    if out.suffix != ".safetensors":
        raise StegoError(f"--out {out}: expected a name that ends in .safetensors")
    sentences = model or MiniLm.load()
    backbone = load_backbone(settings.backbone)
    images = _without(named_images(settings.data, settings.names), settings.exclude)
    cache = FeatureCache.build(images.paths, backbone, resolution=settings.resolution, device=settings.device, folder=settings.cache, progress=progress)
    if failures is not None:
        failures += [(str(failure.path), failure.reason) for failure in cache.failures]
    material = make_material(images, cache, sentences, settings)

    def fit(part: Material) -> Bridge:
        return fit_bridge(part, backbone=backbone.fingerprint, sentences=sentences.fingerprint, templates=TEMPLATES, seed=settings.seed)

    held = held_out_scores(material, fit, settings.seed)
    bridge = replace(fit(material), calibration=calibration_of(held))
    card = {
        "images": len(material.names),
        "names": len(np.unique(material.names)),
        "data": [folder.name for folder in settings.data],
        "backbone": settings.backbone,
        "resolution": settings.resolution,
        "seed": settings.seed,
        "held_out_top1": held.top1,
        "chance": 1 / held.right.shape[1],
        "left_out": list(settings.exclude),
        "shuffled": settings.shuffled,
    }
    save_bridge(out, bridge, card)
    return bridge, held


def _without(images: NamedImages, exclude: Sequence[str]) -> NamedImages:
    """``images`` without those that ``exclude`` names, be it as a broader name."""
    barred = {name.casefold() for name in exclude}
    kept = [
        row for row, (name, broader) in enumerate(zip(images.names, images.broader, strict=True)) if not barred & {name.casefold(), *map(str.casefold, broader)}
    ]
    return NamedImages([images.paths[row] for row in kept], [images.names[row] for row in kept], [images.broader[row] for row in kept])


def make_material(images: NamedImages, cache: FeatureCache, model: SentenceModel, settings: BridgeSettings) -> Material:
    """Cells and sentence vectors of the images that ``cache`` could read.

    Raises:
        StegoError: fewer names than are needed to hold some of them out.
    """
    row_of = {path: row for row, path in enumerate(images.paths)}
    rows = [row_of[path] for path in cache.paths]
    called = [images.names[row] for row in rows]
    vocabulary = sorted(set(called))
    if len(vocabulary) < 3 * FOLDS:
        raise StegoError(
            f"only {len(vocabulary)} different names; expected {3 * FOLDS} or more, since some are held out to see how far the bridge can be trusted"
        )
    numbers = _numbers(called, vocabulary, settings)
    wide = [tuple(images.broader[row][:BROADER]) for row in rows]
    distinct = sorted({name for names in wide for name in names})
    vectors = embed_names(model, [(name,) for name in [*vocabulary, *distinct]], TEMPLATES)
    known, place = vectors[: len(vocabulary)], {name: len(vocabulary) + row for row, name in enumerate(distinct)}
    broader = [vectors[[place[name] for name in names]] if names and not settings.shuffled else None for names in wide]
    cells = torch.stack([cells_of(cache.tokens(row), cache.grid(row)) for row in range(len(cache))])
    return Material(cells, mixed_texts(known, numbers, broader), numbers, known)


def _numbers(called: Sequence[str], vocabulary: Sequence[str], settings: BridgeSettings) -> npt.NDArray[np.int64]:
    place = {name: row for row, name in enumerate(vocabulary)}
    numbers = np.array([place[name] for name in called])
    return np.random.default_rng(settings.seed).permutation(len(vocabulary))[numbers] if settings.shuffled else numbers
