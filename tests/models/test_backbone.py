"""The backbone's outputs against timm used directly, its file, and its refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors import safe_open

from models.artifact import ArtifactError, read_header, write_artifact
from models.backbone import Backbone, BackboneSpec, build_vit, read_backbone, save_backbone

SPEC = BackboneSpec("vit_tiny_patch16_224", depth=3, block=1, patch_size=16, dim=192, grid=4)


def make(spec: BackboneSpec = SPEC, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    return Backbone(build_vit(spec), spec).eval()


def images(height: int, width: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(5))


def by_hand(backbone: Backbone, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same tokens out of timm's own parts, block after block."""
    network: Any = backbone.network
    mean, std = torch.tensor(backbone.spec.mean).view(1, 3, 1, 1), torch.tensor(backbone.spec.std).view(1, 3, 1, 1)
    tokens = network._pos_embed(network.patch_embed((pictures - mean) / std))
    for block in network.blocks[: backbone.spec.block + 1]:
        tokens = block(tokens)
    tokens = network.norm(tokens)
    rows, columns = (side // backbone.patch_size for side in pictures.shape[-2:])
    patches = tokens[:, network.num_prefix_tokens :].transpose(1, 2).reshape(len(pictures), -1, rows, columns)
    return patches, tokens[:, 0]


@pytest.mark.parametrize("block", [0, 1, 2])
@pytest.mark.parametrize("size", [(64, 64), (48, 96), (112, 80)])
def test_tokens_of_any_block_and_size_equal_the_blocks_run_by_hand(block: int, size: tuple[int, int]) -> None:
    backbone = make(replace(SPEC, block=block))
    with torch.inference_mode():
        output = backbone(images(*size))
        patches, cls = by_hand(backbone, images(*size))
    assert output.patches.shape == (2, 192, size[0] // 16, size[1] // 16)
    assert torch.allclose(output.patches, patches, atol=1e-5)
    assert torch.allclose(output.cls, cls, atol=1e-5)


@pytest.mark.parametrize("patch", [7, 8, 14, 32])
def test_any_patch_size_is_built_and_read_back(tmp_path: Path, patch: int) -> None:
    backbone = make(replace(SPEC, patch_size=patch))
    save_backbone(tmp_path / "b.safetensors", backbone, precision="fp32")
    again = read_backbone(tmp_path / "b.safetensors")
    pictures = images(patch * 3, patch * 5, 1)
    with torch.inference_mode():
        assert backbone(pictures).patches.shape == (1, 192, 3, 5)
        assert torch.equal(again(pictures).patches, backbone(pictures).patches)


def test_image_normalisation_is_the_specs() -> None:
    plain = make(replace(SPEC, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    usual = make()
    pictures = images(64, 64)
    with torch.inference_mode():
        moved = (pictures * 2 - 1) * usual.std + usual.mean
        assert torch.allclose(plain(pictures).patches, usual(moved).patches, atol=1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.0), ("fp16", 0.02), ("int8", 0.2)])
def test_file_round_trip(tmp_path: Path, precision: str, tolerance: float) -> None:
    backbone = make()
    path = tmp_path / "b.safetensors"
    save_backbone(path, backbone, precision=precision, card={"licence": "none"})
    again = read_backbone(path)
    assert again.spec == SPEC
    assert not again.training
    assert read_header(path)["card"] == {"licence": "none"}
    with torch.inference_mode():
        assert (again(images(64, 64)).patches - backbone(images(64, 64)).patches).abs().max() <= tolerance
    assert (again.fingerprint == backbone.fingerprint) == (precision == "fp32")


def test_another_block_may_be_taken_and_changes_the_fingerprint(tmp_path: Path) -> None:
    backbone = make()
    path = tmp_path / "b.safetensors"
    save_backbone(path, backbone, precision="fp32")
    other = read_backbone(path, block=2)
    assert other.spec.block == 2
    assert other.fingerprint != backbone.fingerprint
    with pytest.raises(ArtifactError, match="block 3 does not exist: this backbone has blocks 0 to 2"):
        read_backbone(path, block=3)


def test_fingerprint_depends_on_weights() -> None:
    assert make(seed=0).fingerprint == make(seed=0).fingerprint
    assert make(seed=0).fingerprint != make(seed=1).fingerprint


def test_sides_must_be_multiples_of_the_patch() -> None:
    with pytest.raises(ValueError, match="input of 65x64 pixels: both sides must be multiples of 16"):
        make()(images(65, 64))


def test_weights_of_another_shape_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    deep = make(replace(SPEC, depth=2))
    deep.spec = SPEC
    save_backbone(path, deep)
    with pytest.raises(ArtifactError, match="weights do not fit a vit_tiny_patch16_224 of 3 blocks") as error:
        read_backbone(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("header", [{}, {"backbone": {"architecture": "x"}}])
def test_header_without_a_backbone_is_one_line(tmp_path: Path, header: dict[str, object]) -> None:
    path = tmp_path / "b.safetensors"
    write_artifact(path, "backbone", {"a": torch.zeros(1)}, header)
    with pytest.raises(ArtifactError, match="does not describe a backbone"):
        read_backbone(path)


def test_unknown_architecture_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    backbone = make()
    backbone.spec = replace(SPEC, architecture="vit_of_nobody")
    save_backbone(path, backbone)
    with pytest.raises(ArtifactError, match="backbone 'vit_of_nobody' cannot be built"):
        read_backbone(path)


def test_int8_file_is_half_the_size_of_fp16(tmp_path: Path) -> None:
    backbone = make()
    sizes = {}
    for precision in ("fp16", "int8"):
        save_backbone(tmp_path / precision, backbone, precision=precision)
        sizes[precision] = (tmp_path / precision).stat().st_size
    assert sizes["int8"] < 0.6 * sizes["fp16"]
    with safe_open(str(tmp_path / "int8"), framework="pt") as file:
        assert file.get_tensor("blocks.0.mlp.fc1.weight").dtype == torch.int8


def test_a_vit_without_a_cls_token_is_described_by_its_mean_patch() -> None:
    network = timm.create_model("vit_tiny_patch16_224", depth=2, class_token=False, global_pool="avg", num_classes=0, dynamic_img_size=True)
    backbone = Backbone(network, BackboneSpec("vit_tiny_patch16_224", 2, 1, 16, 192, 14)).eval()
    output = backbone(torch.rand(2, 3, 32, 48))
    assert output.patches.shape == (2, 192, 2, 3)
    torch.testing.assert_close(output.cls, output.patches.mean((2, 3)))
