"""A timm ViT made ready for training: masking, dropped tokens, any square input, stochastic depth."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Literal

import timm
import torch
from lightly.models.modules import MaskedVisionTransformerTIMM
from timm.layers import DropPath
from timm.models import checkpoint_seq
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from models.backbone import Backbone, BackboneSpec, build_vit
from models.backbone_sources import load_backbone
from models.errors import StegoError
from pretrain.settings import PretrainConfig
from pretrain.trunk import TrunkMemory, frozen_blocks
from pretrain.tuning import apply_tune, merge_adapters

Pooling = Literal["cls", "mean"]


class Encoder(nn.Module):
    """Images to normed tokens.

    Args:
        network: a plain timm ViT, as `models.backbone.build_vit` makes it; what is not trained of it no longer requires gradients.
        spec: what it is; its mean and deviation normalise the input.

    Attributes:
        frozen: parameters of ``network`` that are not trained. Copies of an encoder, such as teachers, have these same tensors, not others like them.
        trunk: number of leading blocks that are frozen, with all that comes before them; they run without gradients.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, spec: BackboneSpec) -> None:
        super().__init__()
        self.vit = MaskedVisionTransformerTIMM(network, weight_initialization="skip", pos_embed_initialization="skip")
        self.vit.mask_token.requires_grad_(False)  # methods that mask in the encoder switch it on
        self.spec = spec
        self.frozen = [parameter for parameter in network.parameters() if not parameter.requires_grad]
        self.trunk = frozen_blocks(network)
        self.memory = TrunkMemory()
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)

    @property
    def dim(self) -> int:
        """Channels of a token."""
        return self.spec.dim

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.spec.depth

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.spec.patch_size

    @property
    def network(self) -> Any:
        """The timm ViT itself."""
        return self.vit.vit

    @property
    def prefix(self) -> int:
        """Tokens before the patches: CLS and registers."""
        return int(self.network.num_prefix_tokens)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (B, 3, H, W) to normalised floats."""
        return (images.float() / 255 - self.mean) / self.std

    def forward(self, images: torch.Tensor, *, mask: torch.Tensor | None = None, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens (B, prefix + N, C) of ``images`` (B, 3, S, S) uint8, after the final norm.

        Args:
            images: square images whose side is a multiple of the patch size.
            mask: (B, N) bool; these patches are replaced by the mask token.
            keep: (B, M) int64; only these patches, and the prefix, are seen: the result is (B, prefix + M, C).
        """
        if mask is not None:
            mask = nn.functional.pad(mask, (self.prefix, 0), value=False)
        if keep is not None:
            prefix = torch.arange(self.prefix, device=keep.device).expand(len(keep), -1)
            keep = torch.cat([prefix, keep + self.prefix], dim=1)
        tokens = self._before_training(images, mask, keep)
        trained = self.network.blocks[self.trunk :]
        tokens = checkpoint_seq(trained, tokens) if self.vit.grad_checkpointing and torch.is_grad_enabled() else trained(tokens)
        normed: torch.Tensor = self.network.norm(tokens)
        return normed

    def _before_training(self, images: torch.Tensor, mask: torch.Tensor | None, keep: torch.Tensor | None) -> torch.Tensor:
        """Tokens as they enter the first block that is trained."""
        whole = bool(self.trunk) and mask is None and keep is None
        known = self.memory.recall(images) if whole else None
        if known is not None:
            return known
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.trunk):
            prepared = self.network.norm_pre(self.vit.preprocess(self.normalise(images), mask=mask, idx_keep=keep))
            tokens: torch.Tensor = self.network.blocks[: self.trunk](prepared)
        if whole:
            self.memory.keep(images, tokens)
        return tokens

    def pool(self, tokens: torch.Tensor, pooling: Pooling) -> torch.Tensor:
        """One vector an image, (B, C): the CLS token, or the mean of the patches (of a ViT without CLS always that)."""
        if pooling == "cls" and self.prefix:
            return tokens[:, 0]
        return tokens[:, self.prefix :].mean(dim=1)

    def learn_mask_token(self) -> None:
        """Give masked patches a token drawn at random, and train it, unless that would ask for gradients through frozen blocks."""
        nn.init.trunc_normal_(self.vit.mask_token, std=0.02)
        self.vit.mask_token.requires_grad_(not self.trunk)

    def __deepcopy__(self, memo: dict[int, Any]) -> Encoder:
        """A copy that shares the `frozen` parameters: of what is never changed one is enough."""
        copied = type(self).__new__(type(self))
        memo |= {id(self): copied} | {id(parameter): parameter for parameter in self.frozen}
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def backbone(self, method: str, source: str) -> Backbone:
        """What is saved: a copy of the network with its provenance."""
        network = merge_adapters(copy.deepcopy(self.network).cpu().float()).eval()
        set_drop_path(network, 0.0)
        return Backbone(network, replace(self.spec, method=method, source=source)).eval()


def build_encoder(config: PretrainConfig) -> Encoder:
    """The encoder a run starts from: random, or the backbone ``config.init`` names.

    Raises:
        StegoError: an unusable backbone or architecture, an image size its patches do not divide, or ``config.tune`` does not fit it.
    """
    start = _loaded(config) if config.init else _random(config)
    network: Any = start.network
    if not isinstance(network, VisionTransformer):
        raise StegoError(
            f"backbone '{start.spec.architecture}': {type(network).__name__} is not a plain ViT (learned positions, blocks in a row); expected one"
        )
    if config.image_size % start.patch_size:
        raise StegoError(f"--image-size {config.image_size}: not a multiple of the backbone's patch of {start.patch_size} pixels")
    network.float().requires_grad_(True)
    apply_tune(network, start.spec, config.tune, config.seed)
    encoder = Encoder(network, start.spec)
    set_drop_path(network, config.drop_path, encoder.trunk)
    encoder.vit.set_grad_checkpointing(config.checkpointing)
    return encoder


def _loaded(config: PretrainConfig) -> Backbone:
    if config.patch_size is not None or config.depth is not None:
        raise StegoError("--patch-size and --depth are for a random start; a backbone given with --init has its own")
    return load_backbone(str(config.init))


def _random(config: PretrainConfig) -> Backbone:
    name = config.architecture
    if not timm.is_model(name):
        raise StegoError(f"architecture '{name}': timm has no model of that name")
    try:
        with torch.device("meta"):  # only its shape is looked at
            shape: Any = timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True)
        patch, depth, dim = int(shape.patch_embed.patch_size[0]), len(shape.blocks), int(shape.embed_dim)
    except (TypeError, AttributeError, RuntimeError) as error:
        raise StegoError(f"architecture '{name}': not a ViT that takes images of any size; expected one") from error
    patch, depth = config.patch_size or patch, config.depth or depth
    spec = BackboneSpec(name, depth, depth - 1, patch, dim, max(1, config.image_size // patch), method="random")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Backbone(build_vit(spec), spec)


def set_drop_path(network: nn.Module, rate: float, trunk: int = 0) -> None:
    """Give the blocks stochastic depth that grows linearly from 0 to ``rate`` (Huang et al., 2016, equation 4), but none to the first ``trunk``."""
    blocks: Any = network.blocks
    for index, block in enumerate(blocks):
        share = rate * index / max(1, len(blocks) - 1) if index >= trunk else 0.0
        block.drop_path1 = DropPath(share) if share > 0 else nn.Identity()
        block.drop_path2 = DropPath(share) if share > 0 else nn.Identity()
