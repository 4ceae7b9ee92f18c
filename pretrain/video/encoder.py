"""A ViT on clips: tubelets instead of patches, positions in time too; and its use on still images."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from timm.layers import resample_abs_pos_embed
from torch import nn
from torch.utils.checkpoint import checkpoint

from models.artifact import ArtifactError
from models.backbone import Backbone, BackboneSpec, filled_vit
from models.errors import StegoError
from pretrain.encoder import Encoder, Pooling, set_drop_path
from pretrain.video.blocks import run_block
from pretrain.video.positions import Grid, Rotation, rotary, sine_cosine
from pretrain.video.windows import ClipShape

Positions = Literal["sincos", "rotary", "inherited"]
"""Fixed sines and cosines; rotations in attention; or an image backbone's learned ones, repeated in time, with learned ones of time that start at 0."""


@dataclass(frozen=True)
class VideoSpec:
    """What an encoder of clips is: the ViT, the clips it was trained on, and its positions."""

    backbone: BackboneSpec
    clip: ClipShape
    positions: Positions

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> VideoSpec:
        """Read what `as_header` wrote.

        Raises:
            ArtifactError: a field is missing or of the wrong type.
        """
        try:
            fields = dict(header["video"])
            return cls(BackboneSpec.from_header(header), ClipShape(**fields.pop("clip")), **fields)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the file's header does not describe an encoder of clips: {error}") from error

    def as_header(self) -> dict[str, Any]:
        """As JSON."""
        return {"backbone": asdict(self.backbone), "video": {"clip": asdict(self.clip), "positions": self.positions}}


class TubeletEmbedding(nn.Module):
    """Blocks of ``tubelet`` frames × patch × patch pixels to tokens: a convolution as long as its step (Arnab et al., ViViT, 2021, section 3.2)."""

    def __init__(self, dim: int, patch: int, tubelet: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, dim, (tubelet, patch, patch), stride=(tubelet, patch, patch))
        nn.init.trunc_normal_(self.proj.weight, std=0.02)
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]  # it has one

    def inflate(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Take an image backbone's patch embedding (dim, 3, patch, patch), repeated over the tubelet's frames and divided by their number."""
        frames = self.proj.weight.shape[2]
        with torch.no_grad():
            self.proj.weight.copy_(weight[:, :, None].expand_as(self.proj.weight) / frames)
            if bias is not None and self.proj.bias is not None:
                self.proj.bias.copy_(bias)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """(B, T, 3, H, W) to (B, times, rows, columns, dim)."""
        tokens: torch.Tensor = self.proj(clips.transpose(1, 2)).permute(0, 2, 3, 4, 1)
        return tokens


class VideoEncoder(Encoder):
    """Clips to normed tokens of tubelets.

    Tokens before the patches (CLS, registers), where the ViT has them, are there once for each time. So a still clip of an inflated image
    backbone gives each time just the image's own tokens: attention over equal times is attention over one.

    Args:
        network: a plain timm ViT with its patch embedding and positions for images, which are taken over if ``spec.positions`` is "inherited".
        spec: what it is.
    """

    def __init__(self, network: nn.Module, spec: VideoSpec, *, inflate: bool) -> None:
        super().__init__(network, spec.backbone)
        self.video = spec
        vit: Any = network
        embedding = TubeletEmbedding(spec.backbone.dim, spec.backbone.patch_size, spec.clip.tubelet)
        if inflate:
            embedding.inflate(vit.patch_embed.proj.weight, vit.patch_embed.proj.bias)
        self.stored = tuple(vit.patch_embed.grid_size)
        vit.patch_embed = embedding
        if spec.positions == "inherited":
            vit.time_pos_embed = nn.Parameter(torch.zeros(1, spec.clip.times, spec.backbone.dim))
        else:
            vit.pos_embed = None

    @property
    def heads_width(self) -> int:
        """Channels of one attention head."""
        return int(self.network.blocks[0].attn.head_dim)

    def grid(self, clips: torch.Tensor) -> Grid:
        """The tubelets of ``clips`` (B, T, 3, H, W)."""
        _, frames, _, height, width = clips.shape
        return Grid(frames // self.video.clip.tubelet, height // self.patch_size, width // self.patch_size)

    def forward(self, clips: torch.Tensor, *, mask: torch.Tensor | None = None, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens (B, N, C) of the tubelets of ``clips`` (B, T, 3, H, W) uint8, after the final norm; time first, then rows and columns.

        Args:
            clips: T a multiple of the tubelet, H and W of the patch.
            mask: not taken.
            keep: (B, M) int64; only these tubelets are seen: the result is (B, M, C).

        Raises:
            StegoError: a clip of a size or length that does not fit.
        """
        assert mask is None, "tubes are left out, not replaced"
        self._check(clips)
        grid = self.grid(clips)
        tokens = self.network.patch_embed(self.normalise(clips))
        if self.video.positions != "rotary":
            tokens = tokens + self._added(grid).to(tokens.device)
        tokens = tokens.flatten(1, 3)
        rotation = self._rotation(grid, keep, clips.device)
        if keep is not None:
            tokens = tokens.gather(1, keep[..., None].expand(-1, -1, self.dim))
        before = self._prefix(grid.times)
        tokens = torch.cat([before.expand(len(clips), -1, -1).to(tokens.dtype), tokens], dim=1)
        tokens = self.network.norm_pre(tokens)
        for block in self.network.blocks:
            if self.vit.grad_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(run_block, block, tokens, rotation, use_reentrant=False)
            else:
                tokens = run_block(block, tokens, rotation)
        normed: torch.Tensor = self.network.norm(tokens)
        return normed[:, before.shape[1] :]

    def pool(self, tokens: torch.Tensor, pooling: Pooling) -> torch.Tensor:
        """The mean tubelet (B, C): there is no one CLS token of a clip."""
        del pooling
        return tokens.mean(dim=1)

    def _check(self, clips: torch.Tensor) -> None:
        _, frames, _, height, width = clips.shape
        clip, patch = self.video.clip, self.patch_size
        if frames % clip.tubelet or height % patch or width % patch:
            expected = f"a multiple of {clip.tubelet} frames and of {patch} pixels a side"
            raise StegoError(f"clips of {frames} frames of {height} × {width} pixels: expected {expected}")
        if self.video.positions == "inherited" and frames > clip.frames:
            raise StegoError(f"clips of {frames} frames: this encoder was made for at most {clip.frames}")

    def _prefix(self, times: int) -> torch.Tensor:
        """CLS and registers, once for each time: (1, times · prefix, C)."""
        vit = self.network
        parts = [part for part in (vit.cls_token, getattr(vit, "reg_token", None)) if part is not None]
        if not parts:
            return torch.zeros(1, 0, self.dim, device=vit.norm.weight.device)
        tokens = torch.cat(parts, dim=1)
        if vit.pos_embed is not None and not vit.no_embed_class:
            tokens = tokens + vit.pos_embed[:, : self.prefix]
        return tokens.repeat(1, times, 1)

    def _added(self, grid: Grid) -> torch.Tensor:
        """Positions (times, rows, columns, C) that are added to tokens."""
        if self.video.positions == "sincos":
            return sine_cosine(self.dim, grid).view(*grid, self.dim)
        vit = self.network
        places = vit.pos_embed if vit.no_embed_class else vit.pos_embed[:, self.prefix :]
        places = resample_abs_pos_embed(places, new_size=[grid.rows, grid.columns], old_size=list(self.stored), num_prefix_tokens=0)
        added: torch.Tensor = places.view(1, grid.rows, grid.columns, -1) + vit.time_pos_embed[0, : grid.times, None, None]
        return added

    def _rotation(self, grid: Grid, keep: torch.Tensor | None, device: torch.device) -> Rotation | None:
        if self.video.positions != "rotary":
            return None
        table = rotary(self.heads_width, grid)
        whole = Rotation(table.cosine.to(device), table.sine.to(device))
        return (whole if keep is None else whole.at(keep)).after_fixed(grid.times * self.prefix)

    @property
    def has_image_backbone(self) -> bool:
        """Whether its answer on a still clip of one tubelet is that of a plain ViT; rotary positions have no such ViT."""
        return self.video.positions != "rotary"

    def backbone(self, method: str, source: str) -> Backbone:
        """The plain ViT for images that answers an image just as this encoder answers a clip of one tubelet that shows it.

        The tubelet embedding is summed over time (Carreira & Zisserman, 2017, section 2.4, read backwards), positions are those of time 0.

        Raises:
            StegoError: rotary positions.
        """
        if not self.has_image_backbone:
            raise StegoError("an encoder of clips with rotary positions has no image backbone: no plain ViT turns its queries and keys")
        side = self.spec.grid
        network = copy.deepcopy(self.network).cpu().float()
        set_drop_path(network, 0.0)
        state = {name: tensor for name, tensor in network.state_dict().items() if name not in {"time_pos_embed", "pos_embed"}}
        state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].sum(dim=2)
        places = self._image_positions(side)
        spec = replace(self.spec, method=method, source=source)
        return Backbone(filled_vit(spec, {**state, "pos_embed": places}), spec).eval()

    def _image_positions(self, side: int) -> torch.Tensor:
        """Positions (1, prefix + side², C) of a plain ViT, without the prefix where it has none for it."""
        vit = self.network
        bare = bool(vit.no_embed_class)
        with torch.no_grad():
            if self.video.positions == "sincos":
                places = sine_cosine(self.dim, Grid(1, side, side))[None]
                return places if bare else torch.cat([places.new_zeros(1, self.prefix, self.dim), places], dim=1)
            learned: torch.Tensor = vit.pos_embed.detach().cpu().float().clone()
            learned[:, 0 if bare else self.prefix :] += vit.time_pos_embed[:, :1].detach().cpu().float()
            return learned


def inflated(backbone: Backbone, clip: ClipShape) -> VideoEncoder:
    """The encoder of clips that an image backbone is before any training on clips; the backbone itself stays as it is."""
    return VideoEncoder(copy.deepcopy(backbone.network), VideoSpec(backbone.spec, clip, "inherited"), inflate=True).eval()
