"""Features of files beside the bare network on tensors that are ready."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks.speed.photos import copies
from benchmarks.speed.row import Row, race
from models.backbone_sources import load_backbone
from stego_app.features.cache import FeatureCache
from stego_app.features.extract import resize_for_backbone
from stego_app.images import read_image

SIDE, COUNT, BATCH = 224, 16, 8


def features(images: Path | None, rounds: int) -> Row:
    """The default backbone in float32, decoding, resizing and writing the cache included, against its forward pass alone."""
    backbone = load_backbone("default")
    with tempfile.TemporaryDirectory() as folder:
        paths = copies(images, COUNT, Path(folder) / "photos")
        ready = [resize_for_backbone(read_image(path), (SIDE, SIDE), backbone.patch_size) for path in paths]
        batches = [torch.stack(ready[start : start + BATCH]) for start in range(0, COUNT, BATCH)]
        turns = iter(range(1_000))

        def whole() -> FeatureCache:
            store = Path(folder) / f"cache-{next(turns)}"  # a new one each turn: nothing is known yet
            return FeatureCache.build(paths, backbone, resolution=(SIDE, SIDE), device="cpu", precision="fp32", batch_size=BATCH, folder=store)

        def bare() -> list[torch.Tensor]:
            with torch.inference_mode():
                return [backbone(batch).patches for batch in batches]

        laps = race({"ours": whole, "bare": bare}, rounds)
        cache, tokens = laps["ours"].result, laps["bare"].result
        assert isinstance(cache, FeatureCache)
        assert isinstance(tokens, list)
        alike = _alike(cache, torch.cat(tokens))
    return Row(
        "features",
        f"files to cached tokens, {COUNT} photos at {SIDE}² / the bare network on ready tensors",
        laps["ours"].processor,
        laps["bare"].processor,
        1 / 1.1,
        f"cosine of tokens at least {alike:.4f}",
    )


def _alike(cache: FeatureCache, patches: torch.Tensor) -> float:
    """The least cosine of a cached token and the network's, ``patches`` (N, C, h, w)."""
    pairs = [(torch.from_numpy(cache.tokens(index).astype("float32")), image.flatten(1).T) for index, image in enumerate(patches)]
    return min(float(torch.nn.functional.cosine_similarity(ours, theirs, dim=1).min()) for ours, theirs in pairs)
