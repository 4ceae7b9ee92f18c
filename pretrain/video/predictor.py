"""The predictor of V-JEPA: a narrow ViT that says what the target encoder will say of the masked tubes."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import nn

from pretrain.video.blocks import run_block
from pretrain.video.positions import Grid, rotary, sine_cosine

HEAD_WIDTH = 32


class Predictor(nn.Module):
    """Bardes et al., 2024, section 3 ("Network parameterization"): ``depth`` blocks of ``width`` channels between two linear maps.

    A mask token, one for each of ``kinds`` of masks, stands at every masked position; positions are added or, if ``turned``, rotary.
    """

    def __init__(self, dim: int, width: int, depth: int, kinds: int, *, turned: bool) -> None:
        super().__init__()
        self.width, self.turned = width, turned
        self.embed = nn.Linear(dim, width)
        self.mask_tokens = nn.ParameterList([nn.Parameter(torch.zeros(1, 1, width)) for _ in range(kinds)])
        self.blocks = nn.ModuleList([Block(width, width // HEAD_WIDTH, qkv_bias=True, norm_layer=nn.LayerNorm) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, seen: torch.Tensor, keep: torch.Tensor, masked: torch.Tensor, kind: int, grid: Grid) -> torch.Tensor:
        """Predictions (B, M, dim) for the tokens ``masked`` (B, M).

        Args:
            seen: (B, K, dim), the encoder's tokens.
            keep: (B, K), which they are.
            masked: (B, M), which are asked for.
            kind: of the mask.
            grid: of the clip; indices count in it.
        """
        known = self.embed(seen)
        asked = self.mask_tokens[kind].to(known.dtype).expand(len(masked), masked.shape[1], -1)
        places = torch.cat([keep, masked], dim=1)
        tokens = torch.cat([known, asked], dim=1)
        rotation = None
        if self.turned:
            table = rotary(HEAD_WIDTH, grid)
            rotation = type(table)(table.cosine.to(places.device), table.sine.to(places.device)).at(places)
        else:
            tokens = tokens + sine_cosine(self.width, grid).to(places.device)[places]
        for block in self.blocks:
            tokens = run_block(block, tokens, rotation)
        predicted: torch.Tensor = self.project(self.norm(tokens[:, keep.shape[1] :]))
        return predicted
