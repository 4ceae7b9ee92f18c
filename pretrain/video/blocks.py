"""A pre-norm transformer block of timm's, with rotary positions where there are any."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from pretrain.video.positions import Rotation


def run_block(block: Any, tokens: torch.Tensor, rotation: Rotation | None) -> torch.Tensor:
    """``tokens`` (B, N, C) after the block; ``rotation`` turns its queries and keys."""
    if rotation is None:
        plain: torch.Tensor = block(tokens)
        return plain
    tokens = tokens + block.drop_path1(block.ls1(_attention(block.attn, block.norm1(tokens), rotation)))
    mixed: torch.Tensor = tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))
    return mixed


def _attention(attention: Any, tokens: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """timm's self-attention with turned queries and keys (Su et al., RoFormer, 2021, equation 16)."""
    count, length, _ = tokens.shape
    query, key, value = attention.qkv(tokens).view(count, length, 3, attention.num_heads, attention.head_dim).permute(2, 0, 3, 1, 4)
    query, key = rotation.turn(attention.q_norm(query)), rotation.turn(attention.k_norm(key))
    drop = attention.attn_drop.p if attention.training else 0.0
    mixed = functional.scaled_dot_product_attention(query, key.to(query.dtype), value.to(query.dtype), dropout_p=drop)
    result: torch.Tensor = attention.proj_drop(attention.proj(attention.norm(mixed.transpose(1, 2).flatten(2))))
    return result
