"""iBOT: DINO on the image token, and the same on masked patches, with the teacher as the tokenizer."""

from __future__ import annotations

from typing import Any

import torch
from lightly.loss import IBOTPatchLoss
from lightly.models.utils import random_block_mask
from pydantic import Field

from pretrain.batches import Batch
from pretrain.encoder import Encoder
from pretrain.methods.assignments import centred, masked_patches
from pretrain.methods.base import Setting, Step, full_precision
from pretrain.methods.dino import Dino, DinoOptions, PrototypeOptions
from pretrain.methods.sharpening import start_center


class MaskedPatchOptions(PrototypeOptions):
    """Of ``masked_images`` of the global views, ``least`` to ``most`` of the patches are masked in blocks; their loss has ``patch_weight``."""

    masked_images: float = Field(default=0.5, gt=0, le=1)
    least: float = Field(default=0.1, ge=0, le=1)
    most: float = Field(default=0.5, gt=0, lt=1)
    patch_weight: float = Field(default=1.0, ge=0)


class IbotOptions(DinoOptions, MaskedPatchOptions):
    """DINO's options, and those of masked patches."""


class Ibot(Dino):
    """Zhou et al., iBOT: Image BERT Pre-Training with Online Tokenizer, ICLR 2022, equations 2 and 3; one head for image and patches (section 3.2)."""

    name = "ibot"
    paper = "Zhou et al. 2022, arXiv:2111.07832"
    options = IbotOptions

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        options = setting.options
        encoder.learn_mask_token()
        self.patch_criterion = IBOTPatchLoss(self.count, options.teacher_temperature, options.student_temperature, center_momentum=self.center_momentum)

    def forward(self, batch: Batch) -> Step:
        images, prefix = batch.views.flatten(0, 1), self.encoder.prefix
        mask = block_mask(len(images), images.shape[-1] // self.encoder.patch_size, self.settings).to(images.device)
        tokens, teacher_tokens = self.encoder(images, mask=mask.flatten(1)), self.teacher(images)
        found = [self.head(self.encoder.pool(tokens, self.pooling)).chunk(2)]
        if len(batch.local):
            found.append(self.head(self.pooled(batch.local.flatten(0, 1))).chunk(len(batch.local)))
        wanted = self.teacher_head(self.kept.pool(teacher_tokens, self.pooling))
        flat = mask.flatten(1)
        patches, wanted_patches = self.head(tokens[:, prefix:][flat]), self.teacher_head(teacher_tokens[:, prefix:][flat])
        with full_precision(wanted):
            image_loss, logs = self.image_loss(wanted.float(), [one.float() for group in found for one in group])
            patch_loss = self._patch_loss(wanted_patches.float(), patches.float(), mask, logs["teacher_temperature"])
            loss = image_loss + self.settings.patch_weight * patch_loss
        self.sharpening.follow(logs["teacher_entropy"])
        return Step(loss, {**logs, "image_loss": float(image_loss.detach()), "patch_loss": float(patch_loss.detach())})

    def _patch_loss(self, wanted: torch.Tensor, found: torch.Tensor, mask: torch.Tensor, temperature: float) -> torch.Tensor:
        """Cross-entropy of masked patches' logits, (T, K) both; ``mask`` (N, h, w) says which patches of which images they are."""
        options = self.settings
        if options.centering == "mean":
            start_center(self.patch_criterion.center.center, wanted)
            loss: torch.Tensor = self.patch_criterion(wanted, found, mask, teacher_temp=temperature)
            return loss
        flat = mask.flatten(1)
        # The paper's mean is over all images, with or without masked patches.
        share = flat.any(1).float().mean()
        return share * masked_patches(centred(wanted, temperature, options.sinkhorn_iterations), found, flat, options.student_temperature)


def block_mask(count: int, grid: int, options: Any) -> torch.Tensor:
    """Masked patches (count, grid, grid) bool, in blocks of at least four patches (fewer on grids where that is too many).

    At least one image has some; two have before a head with batch norm, which normalises patches by each other.
    """
    least = max(options.least, 1.5 / grid**2)  # at least one patch
    images = 2 if options.batch_norm else 1
    share = min(1.0, max(options.masked_images, (images + 0.001) / count))
    smallest = min(4, int(least * grid**2))
    masks: torch.Tensor = random_block_mask((count, grid, grid), share, least, max(least, options.most), min_num_masks_per_block=smallest)
    return masks
