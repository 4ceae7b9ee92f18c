"""MAE: see a quarter of the patches, paint the rest."""

from __future__ import annotations

from typing import Any

import torch
from lightly.models.modules import MaskedVisionTransformerDecoderTIMM
from pydantic import Field
from torch import nn

from models.errors import StegoError
from pretrain.augment import plain_crop
from pretrain.batches import Batch, ViewPlan
from pretrain.encoder import Encoder
from pretrain.methods.base import Defaults, Method, Options, Setting, Step, full_precision
from pretrain.methods.common import patchify, random_keep
from pretrain.settings import PretrainConfig


class MaeOptions(Options):
    """``ratio`` of masked patches; the decoder's ``width``, ``depth`` and ``heads`` (512, 8 and 16 in the paper); ``normalise`` the target patch by patch."""

    ratio: float = Field(default=0.75, gt=0, lt=1)
    width: int = Field(default=256, ge=4, multiple_of=4)
    decoder_depth: int = Field(default=4, ge=1)
    heads: int = Field(default=8, ge=1)
    normalise: bool = True


class Mae(Method):
    """He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022, section 3."""

    name = "mae"
    paper = "He et al. 2022, arXiv:2111.06377"
    options = MaeOptions
    minimum = 1
    defaults = Defaults(learning_rate=1.5e-4 * 4, weight_decay=0.05)

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        options = setting.options
        self.ratio, self.normalise = options.ratio, options.normalise
        self.patches = (setting.config.image_size // encoder.patch_size) ** 2
        if options.width % options.heads:
            raise StegoError(f"option of 'mae' 'heads': {options.heads}; expected a number that divides the decoder's width of {options.width}")
        if not 0 < round(options.ratio * self.patches) < self.patches:
            raise StegoError(f"option of 'mae' 'ratio': {options.ratio:g} of {self.patches} patches; expected one that is masked and one that is seen at least")
        self.embed = nn.Linear(encoder.dim, options.width)
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            num_patches=self.patches, embed_dim=options.width, depth=options.decoder_depth, num_heads=options.heads, num_prefix_tokens=encoder.prefix
        )
        self.predict = nn.Linear(options.width, encoder.patch_size**2 * 3)

    @classmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        del options
        return ViewPlan((plain_crop(config.image_size),))

    def forward(self, batch: Batch) -> Step:
        images = batch.views[0]
        kept, masked = random_keep(len(images), self.patches, self.ratio, images.device)
        predicted = self._paint(self.encoder(images, keep=kept), kept, masked)
        with full_precision(predicted):
            wanted = patchify(self.encoder.normalise(images), self.encoder.patch_size)
            wanted = wanted.gather(1, masked[..., None].expand(-1, -1, wanted.shape[-1]))
            loss = painting_loss(predicted.float(), wanted, self.normalise)
        return Step(loss, {})

    def _paint(self, seen: torch.Tensor, kept: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        """Pixels (B, M, patch² · 3) of the masked patches, of the encoder's tokens (B, prefix + K, C) of the kept ones."""
        prefix = self.encoder.prefix
        embedded = self.embed(seen)
        blanks = self.decoder.mask_token.to(embedded.dtype).expand(len(seen), masked.shape[1], -1)
        places = torch.cat([kept, masked], dim=1)[..., None].expand(-1, -1, embedded.shape[-1])
        tokens = torch.cat([embedded[:, prefix:], blanks], dim=1)
        ordered = torch.zeros_like(tokens).scatter(1, places, tokens)
        decoded = self.decoder.decode(self.decoder.add_pos_embed(torch.cat([embedded[:, :prefix], ordered], dim=1)))[:, prefix:]
        painted: torch.Tensor = self.predict(decoded.gather(1, masked[..., None].expand(-1, -1, decoded.shape[-1])))
        return painted


def painting_loss(predicted: torch.Tensor, wanted: torch.Tensor, normalise: bool) -> torch.Tensor:
    """Mean squared error over masked patches (B, M, P), targets standardised patch by patch if ``normalise`` (section 3, "Reconstruction target")."""
    if normalise:
        wanted = (wanted - wanted.mean(-1, keepdim=True)) / (wanted.var(-1, keepdim=True) + 1e-6).sqrt()
    return (predicted - wanted).square().mean()
