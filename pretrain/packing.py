"""Crops of different lengths in one forward pass: every linear layer sees all their tokens at once, attention stays within a crop.

This is attention with a block-diagonal mask over the packed sequence; as crops of one length are alike, it is computed as one fused call a
length instead of with a mask, which would pay for all the pairs that it hides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import DropPath
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from pretrain.encoder import Encoder


def packed_forward(encoder: Encoder, groups: Sequence[torch.Tensor], masks: Sequence[torch.Tensor | None] | None = None) -> list[torch.Tensor]:
    """What ``[encoder(group, mask=mask) ...]`` gives, in one pass.

    Args:
        encoder: the encoder.
        groups: images (B_i, 3, S_i, S_i) uint8, one tensor a size.
        masks: for each group (B_i, N_i) bool patches to mask, or None.

    Returns:
        Tokens (B_i, prefix + N_i, C) of each group.
    """
    vit: Any = encoder.vit
    tokens = []
    for images, mask in zip(groups, masks or [None] * len(groups), strict=True):
        padded = None if mask is None else functional.pad(mask, (encoder.prefix, 0), value=False)
        tokens.append(encoder.network.norm_pre(vit.preprocess(encoder.normalise(images), mask=padded)))
    shapes = [(one.shape[0], one.shape[1]) for one in tokens]
    packed = torch.cat([one.flatten(0, 1) for one in tokens])
    for block in encoder.network.blocks:
        if vit.grad_checkpointing and torch.is_grad_enabled():
            packed = checkpoint(_block, block, packed, shapes, use_reentrant=False)
        else:
            packed = _block(block, packed, shapes)
    packed = encoder.network.norm(packed)
    lengths = [count * length for count, length in shapes]
    return [one.view(count, length, -1) for one, (count, length) in zip(packed.split(lengths), shapes, strict=True)]


def _block(block: Any, packed: torch.Tensor, shapes: list[tuple[int, int]]) -> torch.Tensor:
    """timm's pre-norm block on packed tokens (T, C)."""
    packed = packed + _dropped(block.drop_path1, block.ls1(packed_attention(block.attn, block.norm1(packed), shapes)), shapes)
    mixed: torch.Tensor = packed + _dropped(block.drop_path2, block.ls2(block.mlp(block.norm2(packed))), shapes)
    return mixed


def packed_attention(attention: Any, packed: torch.Tensor, shapes: Sequence[tuple[int, int]]) -> torch.Tensor:
    """timm's self-attention on packed tokens (T, C) of crops ``shapes`` (count, length): each crop's tokens see one another only."""
    heads, width = attention.num_heads, attention.head_dim
    joint = attention.qkv(packed)
    outputs = []
    for part, (count, length) in zip(joint.split([count * length for count, length in shapes]), shapes, strict=True):
        query, key, value = part.view(count, length, 3, heads, width).permute(2, 0, 3, 1, 4)
        drop = attention.attn_drop.p if attention.training else 0.0
        mixed = functional.scaled_dot_product_attention(attention.q_norm(query), attention.k_norm(key), value, dropout_p=drop)
        outputs.append(mixed.transpose(1, 2).reshape(count * length, heads * width))
    result: torch.Tensor = attention.proj_drop(attention.proj(attention.norm(torch.cat(outputs))))
    return result


def _dropped(drop: Any, branch: torch.Tensor, shapes: list[tuple[int, int]]) -> torch.Tensor:
    """Stochastic depth crop by crop, as timm's works image by image."""
    if not isinstance(drop, DropPath) or not drop.training or not drop.drop_prob:
        return branch
    keep = 1 - drop.drop_prob
    crops = branch.new_empty(sum(count for count, _ in shapes)).bernoulli_(keep) / keep
    lengths = torch.cat([torch.full((count,), length) for count, length in shapes]).to(branch.device)
    scaled: torch.Tensor = branch * crops.repeat_interleave(lengths)[:, None]
    return scaled
