"""Images to pretrain on, and the ViT that fits them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from models.backbone import save_backbone
from models.errors import StegoError
from pretrain.augment import centre_view
from pretrain.batches import PretrainViews, Share
from pretrain.encoder import Encoder, build_encoder
from pretrain.material import MakeBatches, Material, Watched
from pretrain.processes import bytes_to_keep
from pretrain.schedules import Clock
from pretrain.settings import PretrainConfig
from pretrain.source import ImageSource, SourceBank, check_sizes, data_fingerprint, folder_labels, open_source
from stego_app.data.dataset import evenly
from stego_app.progress import Progress

PROBE_IMAGES = 512
PROBE_BATCH = 64


class ImageMaterial(Material):
    """Images of folders and tar files; see `pretrain.source`.

    Raises:
        StegoError: a path is missing or holds no images, or ``--pair`` does not match.
    """

    def __init__(self, config: PretrainConfig, options: Any) -> None:
        self.config = config
        self.options = options
        self.source = open_source(config.data)
        self.sources = [self.source, *([_paired(self.source, open_source([config.pair]), config)] if config.pair else [])]
        self.names = self.source.names
        self.labels, self.kinds = folder_labels(self.source)
        self.banks: Sequence[SourceBank] = ()

    @property
    def fingerprint(self) -> str:
        sources = self.sources  # of two modalities a change of either is one
        return data_fingerprint([name for one in sources for name in one.names], [size for one in sources for size in one.sizes])

    def build_encoder(self) -> Encoder:
        encoder = build_encoder(self.config)
        self.config = self.config.model_copy(update={"patch_size": encoder.patch_size})
        return encoder

    def prepare(self, kind: Any, steps: int, progress: Progress) -> None:
        largest = max(crop.size for step in (0, steps - 1) for crop in kind.plan_at(self.config, self.options, Clock(step, steps))[0].crops)
        for one in self.sources:
            check_sizes(one, largest, progress)
        self.banks = tuple(SourceBank(one, max(64, round(1.15 * largest)), bytes_to_keep(self.config) / len(self.sources)) for one in self.sources)

    def batches(self, method: Any, steps: int) -> MakeBatches:
        def make_batches(start: int, share: Share) -> PretrainViews:
            return PretrainViews(
                self.banks,
                self.labels,
                lambda step: method.plan_at(self.config, self.options, Clock(step, steps)),
                lambda step: method.subset(Clock(step, steps)),
                seed=self.config.seed,
                start=start,
                steps=steps,
                share=share,
            )

        return make_batches

    def watched(self) -> Watched:
        """Up to 512 images spread evenly over the data, and their folders' numbers where folders are classes."""
        count = len(self.source)
        wanted = evenly(range(count), PROBE_IMAGES)
        pixels = [(index, image) for index in wanted if (image := self.banks[0].get(index)) is not None]
        if len(pixels) < 2:
            raise StegoError(f"{self.config.data[0]}: fewer than two images can be read")
        views = torch.stack([centre_view(image, self.config.image_size) for _, image in pixels])
        labels = torch.from_numpy(self.labels[[index for index, _ in pixels]])
        return torch.split(views, PROBE_BATCH), labels if 1 < len(self.kinds) <= count // 2 else None

    def represent(self, encoder: Encoder, inputs: torch.Tensor, method: Any) -> torch.Tensor:
        return encoder.pool(encoder(inputs), method.pooling)

    def describe(self, encoder: Encoder) -> str:
        whole = f"{encoder.spec.architecture}, {encoder.spec.depth} blocks, patch {encoder.spec.patch_size}"
        if not encoder.frozen:
            return whole
        trained = sum(parameter.numel() for parameter in encoder.network.parameters() if parameter.requires_grad)
        of = sum(parameter.numel() for parameter in encoder.frozen) + trained
        return f"{whole}, {self.config.tune}: {trained / 1e6:.2f} of {of / 1e6:.1f} million weights are trained"

    def save(self, path: Path, encoder: Encoder, source: str, card: Mapping[str, Any]) -> None:
        save_backbone(path, encoder.backbone(self.config.method, source), precision=self.config.file_precision, card=card)


def _paired(source: ImageSource, other: ImageSource, config: PretrainConfig) -> ImageSource:
    """``other``, if it has the images of ``source`` under the same file names (endings apart)."""
    ours, theirs = ([Path(name).stem for name in one.names] for one in (source, other))
    if ours != theirs:
        odd = next((name for name in ours if name not in set(theirs)), theirs[-1])
        raise StegoError(f"--pair {config.pair}: expected one image for each of the {len(source)}, of the same name; '{odd}' has none, or the order differs")
    return other
