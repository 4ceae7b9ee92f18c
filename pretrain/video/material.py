"""Clips to pretrain on, and the ViT on tubelets that fits them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from models.backbone import save_backbone
from models.errors import StegoError
from pretrain.batches import Share
from pretrain.encoder import build_encoder
from pretrain.material import MakeBatches, Material, Watched
from pretrain.processes import bytes_to_keep
from pretrain.schedules import Clock
from pretrain.settings import PretrainConfig
from pretrain.source import kinds_of
from pretrain.video.encoder import Positions, VideoEncoder, VideoSpec
from pretrain.video.file import save_video_encoder, video_path
from pretrain.video.views import ClipBank, ClipViews, centre_clip
from pretrain.video.windows import ClipShape, open_clips
from stego_app.data.dataset import evenly
from stego_app.progress import Progress

WATCHED_CLIPS = 128
WATCHED_FRAMES = 64
"""Frames of one forward pass of what is watched."""


class ClipMaterial(Material):
    """Windows of clips; see `pretrain.video.windows`.

    Raises:
        StegoError: a path is missing, no clip can be learnt from, or options that do not fit together.
    """

    def __init__(self, config: PretrainConfig, options: Any) -> None:
        self.config = config
        self.options = options
        self.shape = ClipShape(options.frames, options.fps, options.tubelet)
        if options.frames % options.tubelet:
            raise StegoError(f"option of '{config.method}' 'frames': {options.frames}; expected a multiple of the tubelet of {options.tubelet}")
        if config.init and options.positions not in (None, "inherited"):
            raise StegoError(f"option of '{config.method}' 'positions': a backbone given with --init brings its own; leave it out")
        if not config.init and options.positions == "inherited":
            raise StegoError(f"option of '{config.method}' 'positions': inherited ones come with --init; expected sincos or rotary")
        self.source = open_clips(config.data, self.shape)
        self.names = [window.name for window in self.source.windows]
        self.labels, self.kinds = kinds_of([str(window.video.path) for window in self.source.windows])
        self.bank = ClipBank(self.source.windows, self.shape, max(64, round(1.15 * config.image_size)), bytes_to_keep(config))
        self.banks = (self.bank,)

    @property
    def fingerprint(self) -> str:
        return self.source.fingerprint

    @property
    def skipped(self) -> Mapping[Path, str]:
        return {**self.source.skipped, **super().skipped}

    def build_encoder(self) -> VideoEncoder:
        start = build_encoder(self.config)
        chosen: Positions = "inherited" if self.config.init else (self.options.positions or self.options.default_positions)
        self.config = self.config.model_copy(update={"patch_size": start.patch_size})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            encoder = VideoEncoder(start.network, VideoSpec(start.spec, self.shape, chosen), inflate=self.config.init is not None)
        encoder.vit.set_grad_checkpointing(self.config.checkpointing)
        return encoder

    def prepare(self, kind: Any, steps: int, progress: Progress) -> None:
        del kind, steps, progress
        side = self.config.image_size
        for window in self.source.windows:
            video = window.video
            if min(video.width, video.height) < side:
                remedy = f"leave it out or choose an --image-size of at most {min(video.width, video.height)}"
                raise StegoError(f"{video.path}: {video.width} × {video.height} pixels, smaller than the crop of {side}; {remedy}")

    def batches(self, method: Any, steps: int) -> MakeBatches:
        def make_batches(start: int, share: Share) -> ClipViews:
            return ClipViews(
                [self.bank],
                self.labels,
                lambda step: method.plan_at(self.config, self.options, Clock(step, steps)),
                lambda _step: None,
                shape=self.shape,
                seed=self.config.seed,
                start=start,
                steps=steps,
                share=share,
            )

        return make_batches

    def watched(self) -> Watched:
        """The middle window of up to 128 videos spread evenly, and their folders' numbers where folders are classes.

        One a video: others of the same one would be its nearest neighbours, and k-NN would only find them again.
        """
        middles: dict[Path, list[int]] = {}
        for index, window in enumerate(self.source.windows):
            middles.setdefault(window.video.path, []).append(index)
        wanted = evenly([indices[len(indices) // 2] for indices in middles.values()], WATCHED_CLIPS)
        clips = [(index, clip) for index in wanted if (clip := self.bank.get(index)) is not None]
        if len(clips) < 2:
            raise StegoError(f"{self.config.data[0]}: fewer than two clips can be read; {next(iter(self.skipped.values()), '')}")
        views = torch.stack([centre_clip(clip, self.shape.frames, self.config.image_size) for _, clip in clips])
        labels = torch.from_numpy(self.labels[[index for index, _ in clips]])
        chunks = torch.split(views, max(1, WATCHED_FRAMES // self.shape.frames))
        return chunks, labels if 1 < len(self.kinds) <= len(middles) // 2 else None

    def represent(self, encoder: VideoEncoder, inputs: torch.Tensor, method: Any) -> torch.Tensor:
        del method
        return encoder.pool(encoder(inputs), "mean")

    def describe(self, encoder: VideoEncoder) -> str:
        spec, clip = encoder.spec, self.shape
        size = f"patch {spec.patch_size}, clips of {clip.frames} frames at {clip.fps:g} a second in tubelets of {clip.tubelet}"
        left = f"; left out {len(self.source.skipped)} clips, the first: {next(iter(self.source.skipped.values()))}" if self.source.skipped else ""
        return f"{spec.architecture}, {spec.depth} blocks, {size}, {encoder.video.positions} positions{left}"

    def save(self, path: Path, encoder: VideoEncoder, source: str, card: Mapping[str, Any]) -> None:
        """The image backbone to ``path`` and the encoder of clips beside it; with rotary positions the encoder of clips alone, to ``path``."""
        precision = self.config.file_precision
        encoder = encoder.cpu()
        where = video_path(path) if encoder.has_image_backbone else path
        save_video_encoder(where, encoder, self.config.method, source, precision=precision, card=card)
        if encoder.has_image_backbone:
            save_backbone(path, encoder.backbone(self.config.method, source), precision=precision, card=card)
