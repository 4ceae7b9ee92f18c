"""Names and published checkpoint layouts: each must give what timm gives with the same weights."""

from __future__ import annotations

import argparse
import pickle
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from models import backbone_sources
from models.artifact import ArtifactError
from models.backbone import Backbone, read_backbone, save_backbone
from models.backbone_sources import load_backbone

State = dict[str, torch.Tensor]


def network(architecture: str = "vit_tiny_patch16_224", depth: int = 2, **options: Any) -> Any:
    torch.manual_seed(3)
    made = timm.create_model(architecture, pretrained=False, num_classes=0, depth=depth, dynamic_img_size=True, **options).eval()
    with torch.no_grad():
        for parameter in made.parameters():  # norms, scales, biases and tokens start as constants: make each its own
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return made


def expected(made: Any, pictures: torch.Tensor, block: int) -> torch.Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    with torch.inference_mode():
        [tokens] = made.forward_intermediates((pictures - mean) / std, indices=[block], norm=True, intermediates_only=True)
    return tokens


def same_features(backbone: Backbone, made: Any, block: int, patch: int) -> bool:
    pictures = torch.rand(1, 3, 3 * patch, 5 * patch, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found = backbone(pictures)
    return found.patches.shape[2:] == (3, 5) and torch.allclose(found.patches, expected(made, pictures, block), atol=1e-4)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


DINO_LAYOUTS: dict[str, Callable[[State], Mapping[str, Any]]] = {
    "plain": dict,
    "module": lambda state: prefixed(state, "module."),
    "teacher and student": lambda state: {
        "student": prefixed({name: tensor * 0 for name, tensor in state.items()}, "module.backbone."),
        "teacher": {**prefixed(state, "backbone."), "head.mlp.0.weight": torch.zeros(3, 3), "head.last_layer.weight_g": torch.zeros(3, 1)},
        "optimizer": {"state": {0: torch.zeros(2)}},
        "epoch": 3,
        "args": argparse.Namespace(arch="vit_tiny", patch_size=16),
    },
    "flat teacher and student": lambda state: {
        "state_dict": {**prefixed(state, "teacher.backbone."), **prefixed({"cls_token": torch.zeros(1, 1, 192)}, "student.backbone.")}
    },
    "lightning": lambda state: {"state_dict": prefixed(state, "model."), "global_step": 4},
    "masked autoencoder": lambda state: {"model": {**state, "mask_token": torch.zeros(1, 1, 192), "decoder_embed.weight": torch.zeros(2, 2)}},
    "half precision": lambda state: {name: tensor.half() for name, tensor in state.items()},
}


@pytest.mark.parametrize("layout", DINO_LAYOUTS)
def test_dino_layouts(tmp_path: Path, layout: str) -> None:
    made = network()
    path = tmp_path / "dino.pth"
    torch.save(DINO_LAYOUTS[layout](made.state_dict()), path)
    if layout == "half precision":
        made.load_state_dict({name: tensor.half().float() for name, tensor in made.state_dict().items()})
    backbone = load_backbone(str(path))
    assert (backbone.spec.depth, backbone.spec.block, backbone.patch_size, backbone.dim) == (2, 1, 16, 192)
    assert same_features(backbone, made, 1, 16)
    assert same_features(load_backbone(str(path), block=0), made, 0, 16)


@pytest.mark.parametrize("patch", [7, 8, 14, 32])
def test_any_patch_size(tmp_path: Path, patch: int) -> None:
    made = network(patch_size=patch, img_size=4 * patch)
    torch.save(made.state_dict(), tmp_path / "vit.pth")
    backbone = load_backbone(str(tmp_path / "vit.pth"))
    assert backbone.patch_size == patch
    assert same_features(backbone, made, 1, patch)


def chunked(state: State) -> State:
    """DINOv2's training code: block i of the network is entry i of the chunk it falls in."""
    return {name.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1."): tensor for name, tensor in state.items()}


DINOV2_LAYOUTS: dict[str, Callable[[State], Mapping[str, Any]]] = {
    "released": lambda state: {**state, "mask_token": torch.zeros(1, 384)},
    "training": lambda state: {"teacher": {**prefixed(chunked(state), "backbone."), "dino_head.mlp.0.weight": torch.zeros(2, 2)}},
}


@pytest.mark.parametrize("layout", DINOV2_LAYOUTS)
def test_dinov2_layouts(tmp_path: Path, layout: str) -> None:
    made = network("vit_small_patch14_dinov2", img_size=70)
    torch.save(DINOV2_LAYOUTS[layout](made.state_dict()), tmp_path / "dinov2.pth")
    backbone = load_backbone(str(tmp_path / "dinov2.pth"))
    assert backbone.spec.method == "dinov2"
    assert backbone.spec.grid == 5
    assert same_features(backbone, made, 1, 14)


@pytest.mark.parametrize("official", [True, False])
def test_dinov2_with_registers(tmp_path: Path, official: bool) -> None:
    made = network("vit_small_patch14_reg4_dinov2", img_size=56)
    state = dict(made.state_dict())
    if official:  # CLS's position comes first in the released files; timm's network has it inside the CLS token
        position = torch.randn(1, 1, 384, generator=torch.Generator().manual_seed(9))
        state["pos_embed"] = torch.cat([position, state["pos_embed"]], dim=1)
        state["cls_token"] = state["cls_token"] - position
        state["register_tokens"] = state.pop("reg_token")
    torch.save(state, tmp_path / "registers.pth")
    backbone = load_backbone(str(tmp_path / "registers.pth"))
    assert backbone.spec.grid == 4
    assert same_features(backbone, made, 1, 14)


def test_safetensors_state_dict(tmp_path: Path) -> None:
    made = network()
    save_file({name: tensor.contiguous() for name, tensor in made.state_dict().items()}, tmp_path / "vit.safetensors")
    assert same_features(load_backbone(str(tmp_path / "vit.safetensors")), made, 1, 16)


class Evil:
    """Pickles to a call; if it is ever unpickled, the marker file appears."""

    marker = Path("evil-was-here")

    def __reduce__(self) -> tuple[Any, ...]:
        return (self.marker.touch, ())


def test_pickled_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": network().state_dict(), "extra": Evil()}, "evil.pth")
    Path("raw.pth").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "raw.pth"):
        with pytest.raises(ArtifactError, match=f"^{name}: ") as error:
            load_backbone(name)
        assert "\n" not in str(error.value)
    assert not Evil.marker.exists()


def saved(content: object) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path)


def vit_state(**changes: torch.Tensor | None) -> State:
    state: dict[str, Any] = {**network().state_dict(), **{name.replace("__", "."): tensor for name, tensor in changes.items()}}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "not a readable checkpoint"),
    "text": (lambda path: path.write_text("hello"), "not a readable checkpoint"),
    "page": (lambda path: path.write_text("<html>404</html>"), r"not a readable checkpoint \(no file of torch"),
    "pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), r"not a readable checkpoint \(no file of torch"),
    "list": (saved([torch.zeros(2)]), "expected the state dict of a ViT, found list"),
    "no vit": (saved({"layer1.conv.weight": torch.zeros(2)}), "no ViT found in it"),
    "positions in one row": (saved(vit_state(pos_embed=torch.zeros(12))), "no ViT found in it"),
    "unnumbered block": (saved(vit_state(blocks__x__weight=torch.zeros(2))), "no ViT found in it"),
    "width": (saved(vit_state(patch_embed__proj__weight=torch.zeros(100, 3, 16, 16))), "a ViT of width 100"),
    "positions": (saved(vit_state(pos_embed=torch.zeros(1, 12, 192))), "12 position embeddings are not one CLS token and a square grid"),
    "registers": (saved(vit_state(reg_token=torch.zeros(1, 7, 192))), "7 register tokens; expected none or 4"),
    "unknown part": (saved(vit_state(norm_pre__weight=torch.zeros(192))), "weights do not fit .*norm_pre"),
    "missing part": (saved(vit_state(norm__weight=None)), "weights do not fit .*norm.weight"),
    "layer scale of an unknown width": (saved(vit_state(blocks__0__ls1__gamma=torch.ones(192))), "which timm does not have"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_checkpoints_are_one_line(tmp_path: Path, kind: str) -> None:
    write, message = BAD_FILES[kind]
    path = tmp_path / "bad.pth"
    write(path)
    with pytest.raises(ArtifactError, match=message) as error:
        load_backbone(str(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_truncated_checkpoint_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ArtifactError, match="not a readable checkpoint"):
        load_backbone(str(path))


@pytest.mark.parametrize("name", ["missing.pth", "missing.safetensors"])
def test_missing_file(name: str) -> None:
    with pytest.raises(ArtifactError, match=f"{name}: no such backbone file"):
        load_backbone(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_model", "neither 'default', nor an existing file, nor a timm model name"),
        ("random:no_such_model", "nor a timm model name"),
        ("random:resnet18", "not a ViT that takes images of any size"),
        ("random:beit_base_patch16_224", "not a ViT that takes images of any size"),
        ("vit_small_patch16_224.nonsense", "timm has no such weights; it has .*vit_small_patch16_224.dino"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        load_backbone(name)


def test_unreachable_hub_fails_at_once_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone_sources, "_reachable", lambda _url: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    begun = time.monotonic()
    with pytest.raises(ArtifactError, match=r"could not be downloaded .*Go online once, or give the path"):
        load_backbone("vit_tiny_patch16_224.augreg_in21k")
    assert time.monotonic() - begun < 20
    assert constants.HF_HUB_OFFLINE is False


def test_reachability_is_that_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert backbone_sources._reachable(f"http://127.0.0.1:{port}")
    assert not backbone_sources._reachable(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit3_small_patch16_224", "vit_small_patch16_dinov3"])
def test_kinds_of_timm_vits(name: str, tmp_path: Path) -> None:
    """Learned and rotary positions, layer scale, registers: built, run on a wide image, stored, read back."""
    torch.manual_seed(0)
    backbone = load_backbone(f"random:{name}", block=1)
    pictures = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        output = backbone(pictures)
    assert output.patches.shape == (1, backbone.dim, 2, 4)
    assert output.cls.shape == (1, backbone.dim)
    save_backbone(tmp_path / "b.safetensors", backbone, precision="fp32")
    with torch.inference_mode():
        again = read_backbone(tmp_path / "b.safetensors")(pictures)
    assert torch.allclose(again.patches, output.patches, atol=1e-5)
