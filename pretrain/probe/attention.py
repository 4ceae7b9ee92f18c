"""Attention maps of the block that a backbone's features are taken from."""

from __future__ import annotations

from typing import Any

import torch

from models.backbone import Backbone
from models.errors import StegoError


@torch.inference_mode()
def attention_maps(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
    """How much the CLS token looks at each patch: (B, heads, h, w), each map at most 1 in sum.

    A backbone without a CLS token shows how much each patch is looked at by all patches on average.

    Args:
        backbone: a ViT of timm's.
        images: (B, 3, H, W) in [0, 1], sides multiples of the patch.

    Raises:
        StegoError: the backbone's attention is of a kind that does not tell its weights.
    """
    network: Any = backbone.network
    attention = getattr(network.blocks[backbone.spec.block], "attn", None)
    if attention is None or not hasattr(attention, "fused_attn") or not hasattr(attention, "attn_drop"):
        raise StegoError(f"backbone {backbone.spec.architecture}: its attention does not tell its weights; no attention maps")
    kept: list[torch.Tensor] = []
    # Without the fused kernel timm multiplies the weights out, and passes them through this (idle) dropout.
    hook = attention.attn_drop.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    fused, attention.fused_attn = attention.fused_attn, False
    try:
        backbone(images)
    finally:
        attention.fused_attn = fused
        hook.remove()
    height, width = (side // backbone.patch_size for side in images.shape[-2:])
    weights = kept[0].float()  # (B, heads, n, n)
    prefix = weights.shape[-1] - height * width
    looked = weights[:, :, 0, prefix:] if prefix else weights.mean(dim=2)
    return looked.reshape(*looked.shape[:2], height, width).cpu()
