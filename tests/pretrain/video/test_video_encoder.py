"""The encoder of clips: inflated from an image backbone, blind to what is masked, and read back from files."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.artifact import ArtifactError
from models.backbone import Backbone, build_vit, save_backbone
from models.errors import StegoError
from pretrain.video.encoder import Positions, VideoEncoder, VideoSpec, inflated
from pretrain.video.file import load_video_encoder, read_video_encoder, save_video_encoder, video_path
from pretrain.video.windows import ClipShape

CLIP = ClipShape(frames=6, fps=5, tubelet=2)


def encoder_of(backbone: Backbone, positions: Positions) -> VideoEncoder:
    torch.manual_seed(1)
    encoder = VideoEncoder(copy.deepcopy(backbone.network), VideoSpec(backbone.spec, CLIP, positions), inflate=positions == "inherited").eval()
    if positions == "inherited":
        torch.nn.init.normal_(encoder.network.time_pos_embed, std=0.5)
    return encoder


def random_clips(count: int = 2, frames: int = 6, side: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (count, frames, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("side", [64, 224])
def test_a_still_clip_gives_the_image_backbones_tokens_at_every_time(side: int, tiny_backbone: Backbone) -> None:
    images = random_clips(2, 1, side)[:, 0]
    with torch.no_grad():
        wanted = tiny_backbone(images.float() / 255).patches.flatten(2).transpose(1, 2)
        found = inflated(tiny_backbone, CLIP)(images[:, None].expand(-1, 6, -1, -1, -1))
    for time in found.view(2, 3, -1, 192).unbind(1):
        torch.testing.assert_close(time, wanted, atol=2e-4, rtol=1e-3)


def test_a_still_clip_gives_them_with_registers_without_positions_too() -> None:
    from models.backbone import BackboneSpec

    spec = BackboneSpec("vit_small_patch14_reg4_dinov2", depth=1, block=0, patch_size=14, dim=384, grid=4)
    torch.manual_seed(0)
    backbone = Backbone(build_vit(spec), spec).eval()
    images = random_clips(1, 1, 56)[:, 0]
    with torch.no_grad():
        wanted = backbone(images.float() / 255).patches.flatten(2).transpose(1, 2)
        found = inflated(backbone, CLIP)(images[:, None].expand(-1, 4, -1, -1, -1))
    torch.testing.assert_close(found[:, :16], wanted, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(found[:, 16:], wanted, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("positions", ["sincos", "inherited"])
def test_the_image_backbone_answers_as_the_encoder_does_on_one_tubelet(positions: Positions, tiny_backbone: Backbone) -> None:
    encoder = encoder_of(tiny_backbone, positions)
    backbone = encoder.backbone("vjepa", "test")
    images = random_clips(2, 1, 14 * 16)[:, 0]
    with torch.no_grad():
        found = backbone(images.float() / 255).patches.flatten(2).transpose(1, 2)
        wanted = encoder(images[:, None].expand(-1, 2, -1, -1, -1))
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=1e-3)
    assert (backbone.spec.method, backbone.spec.source) == ("vjepa", "test")


def test_rotary_positions_have_no_image_backbone(tiny_backbone: Backbone) -> None:
    encoder = encoder_of(tiny_backbone, "rotary")
    assert not encoder.has_image_backbone
    with pytest.raises(StegoError, match="rotary positions has no image backbone"):
        encoder.backbone("vjepa2", "test")


@pytest.mark.parametrize("positions", ["sincos", "rotary", "inherited"])
def test_nothing_of_a_masked_tube_reaches_the_seen_tokens(positions: Positions, tiny_backbone: Backbone) -> None:
    encoder = encoder_of(tiny_backbone, positions)
    clips = random_clips(1)
    keep = torch.tensor([[0, 1, 5, 16, 17, 21, 32, 33, 37]])  # places 0, 1 and 5 of 4 × 4 at three times
    changed = clips.clone()
    for place in set(range(16)) - {0, 1, 5}:
        top, left = place // 4 * 16, place % 4 * 16
        changed[..., top : top + 16, left : left + 16] = 255 - changed[..., top : top + 16, left : left + 16]
    with torch.no_grad():
        assert torch.equal(encoder(clips, keep=keep), encoder(changed, keep=keep))
        assert not torch.allclose(encoder(clips), encoder(changed))
        everything = torch.arange(48)[None]
        torch.testing.assert_close(encoder(clips, keep=everything), encoder(clips))


@pytest.mark.parametrize("positions", ["sincos", "rotary", "inherited"])
def test_an_encoder_comes_back_from_its_file(positions: Positions, tiny_backbone: Backbone, tmp_path: Path) -> None:
    encoder = encoder_of(tiny_backbone, positions)
    path = tmp_path / "e.safetensors"
    save_video_encoder(path, encoder, "vjepa", "here", precision="fp32", card={"clips": 3})
    again = read_video_encoder(path)
    assert again.video == replace(encoder.video, backbone=replace(encoder.spec, method="vjepa", source="here"))
    with torch.no_grad():
        assert torch.equal(again(random_clips()), encoder(random_clips()))


def test_an_encoder_is_found_beside_its_image_backbone_or_inflated(tiny_backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    save_backbone(path, tiny_backbone, precision="fp32")
    assert load_video_encoder(str(path), CLIP).video.positions == "inherited"
    save_video_encoder(video_path(path), encoder_of(tiny_backbone, "sincos"), "vjepa", "", precision="fp32", card={})
    assert video_path(path).name == "b.video.safetensors"
    assert load_video_encoder(str(path), CLIP).video.positions == "sincos"
    assert load_video_encoder(str(video_path(path)), CLIP).video.positions == "sincos"
    with pytest.raises(ArtifactError, match=r"b\.safetensors"):
        read_video_encoder(path)


def test_clips_that_do_not_fit_are_named(tiny_backbone: Backbone) -> None:
    with pytest.raises(StegoError, match="clips of 5 frames of 64 × 64 pixels: expected a multiple of 2 frames and of 16 pixels"):
        encoder_of(tiny_backbone, "sincos")(random_clips(1, 5))
    with pytest.raises(StegoError, match="clips of 8 frames: this encoder was made for at most 6"):
        encoder_of(tiny_backbone, "inherited")(random_clips(1, 8))
