"""Where a backbone comes from: the embedded default, a file of ours, a DINO/DINOv2 checkpoint, or timm's hub."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from models.artifact import ArtifactError
from models.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone, BackboneSpec, backbone_from_tensors, read_backbone

DEFAULT = "default"
RANDOM_PREFIX = "random:"
# Containers under which published checkpoints keep the network; the teacher is what DINO's papers evaluate.
_CONTAINERS = ("teacher", "model", "state_dict", "student", "target_encoder", "encoder")
_PREFIXES = ("module.", "backbone.", "encoder.", "network.")
_WIDTHS = {192: "tiny", 384: "small", 768: "base", 1024: "large"}


def default_backbone_path() -> Path:
    """The backbone file inside the package."""
    return Path(str(resources.files("models") / "weights" / "backbone.safetensors"))


def load_backbone(name: str, block: int | None = None) -> Backbone:
    """The backbone that ``name`` stands for, in evaluation mode on the CPU.

    Args:
        name: "default"; a path to a backbone file, a DINO/DINOv2 ``.pth`` or a ``.safetensors`` state dict;
            any timm ViT name (weights from its hub); or "random:" and a timm name, for a random start.
        block: index of the block whose output is taken; the file's own choice, or the last, if not given.

    Raises:
        ArtifactError: no such file or name, weights that cannot be downloaded, or a checkpoint of another shape.
    """
    if name == DEFAULT:
        return read_backbone(default_backbone_path(), block)
    if name.startswith(RANDOM_PREFIX):
        return _from_timm(name.removeprefix(RANDOM_PREFIX), block, pretrained=False)
    if Path(name).suffix.lower() in {".pth", ".pt", ".safetensors", ".ckpt"} or Path(name).exists():
        return _from_file(Path(name), block)
    return _from_timm(name, block, pretrained=True)


def _from_file(path: Path, block: int | None) -> Backbone:
    if not path.is_file():
        raise ArtifactError(f"{path}: no such backbone file")
    if path.suffix.lower() == ".safetensors":
        try:
            with safe_open(str(path), framework="pt") as file:
                ours = "stego" in (file.metadata() or {})
            if ours:
                return read_backbone(path, block)
            state: Mapping[str, Any] = load_file(str(path))
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"{path}: not a readable safetensors file ({error})") from error
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ArtifactError(f"{path}: not a checkpoint that holds weights only ({reason})") from error
    tensors = _network_tensors(state, path)
    spec = _spec_from_shapes(tensors, path)
    return backbone_from_tensors(tensors, spec, block, origin=str(path))


def _network_tensors(state: Mapping[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """The ViT's own tensors under timm's names, out of whatever container and prefixes a checkpoint uses."""
    if not isinstance(state, Mapping):
        raise ArtifactError(f"{path}: expected a state dict of a ViT, found {type(state).__name__}")
    for container in _CONTAINERS:
        if isinstance(state.get(container), Mapping):
            return _network_tensors(state[container], path)
    tensors: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            continue
        while prefix := next((p for p in _PREFIXES if key.startswith(p)), None):
            key = key.removeprefix(prefix)
        key = re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key)  # DINOv2's training code groups blocks in chunks
        key = key.replace("register_tokens", "reg_token").replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.")
        tensors[key] = value.float()
    wanted = re.compile(r"^(cls_token|pos_embed|reg_token|patch_embed\.proj\.(weight|bias)|norm\.(weight|bias)|blocks\.\d+\..+)$")
    return {key: value for key, value in tensors.items() if wanted.match(key)}


def _spec_from_shapes(tensors: dict[str, torch.Tensor], path: Path) -> BackboneSpec:
    """The shape of a ViT read off its weights. May fold CLS's position into ``tensors`` where timm wants it."""
    try:
        dim, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        positions = tensors["pos_embed"].shape[1]
        hidden = tensors["blocks.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise ArtifactError(f"{path}: no ViT found in it (missing {error}); expected DINO, DINOv2 or timm weights") from error
    if dim not in _WIDTHS or hidden != 4 * dim:
        raise ArtifactError(f"{path}: a ViT of width {dim} and hidden width {hidden}; expected width {sorted(_WIDTHS)} and a hidden width of 4 times that")
    grid = int((positions - 1) ** 0.5)
    if grid * grid + 1 != positions:
        raise ArtifactError(f"{path}: {positions} position embeddings are not one CLS token and a square grid")
    registers = tensors["reg_token"].shape[1] if "reg_token" in tensors else 0
    if "blocks.0.ls1.gamma" in tensors or registers:
        if registers not in (0, 4):
            raise ArtifactError(f"{path}: {registers} register tokens; expected 0 or 4")
        architecture = f"vit_{_WIDTHS[dim]}_patch14{'_reg4' if registers else ''}_dinov2"
        method = "dinov2"
        if registers and positions == grid * grid + 1:  # timm adds CLS's position beforehand: its grid has none
            tensors["cls_token"] = tensors["cls_token"] + tensors["pos_embed"][:, :1]
            tensors["pos_embed"] = tensors["pos_embed"][:, 1:]
        if patch != 14:
            raise ArtifactError(f"{path}: DINOv2-like weights with patch {patch}; expected 14")
    else:
        architecture = f"vit_{_WIDTHS[dim]}_patch{patch}_224"
        method = "vit"
        if not timm.is_model(architecture):
            raise ArtifactError(f"{path}: a ViT of width {dim} and patch {patch}, which timm does not have ({architecture})")
    depth = 1 + max(int(key.split(".")[1]) for key in tensors if key.startswith("blocks."))
    return BackboneSpec(architecture, depth, depth - 1, patch, dim, grid, IMAGENET_MEAN, IMAGENET_STD, method, path.name)


def _from_timm(name: str, block: int | None, *, pretrained: bool) -> Backbone:
    if not timm.is_model(name.split("/")[-1].split(".")[0]):
        raise ArtifactError(f"backbone '{name}': neither 'default', nor an existing file, nor a timm model name")
    try:
        network: Any = timm.create_model(name, pretrained=pretrained, num_classes=0, dynamic_img_size=True)
    except TypeError as error:
        raise ArtifactError(f"backbone '{name}': not a ViT that takes images of any size ({error})") from error
    except Exception as error:  # the hub's client raises many kinds; all mean that the weights did not arrive
        if not pretrained:
            raise ArtifactError(f"backbone '{name}': timm cannot build it ({error})") from error
        raise ArtifactError(
            f"backbone '{name}': its weights are not on this machine and could not be downloaded ({type(error).__name__}). "
            "Go online once, or give the path of a .pth or .safetensors file, or use 'default'"
        ) from error
    if not hasattr(network, "blocks") or not hasattr(network, "forward_intermediates") or not hasattr(network, "patch_embed"):
        raise ArtifactError(f"backbone '{name}': expected a ViT; this timm model is of another kind")
    config = network.pretrained_cfg
    depth = len(network.blocks)
    spec = BackboneSpec(
        architecture=name.split("/")[-1].split(".")[0],
        depth=depth,
        block=depth - 1 if block is None else block,
        patch_size=network.patch_embed.patch_size[0],
        dim=network.embed_dim,
        grid=network.patch_embed.grid_size[0],
        mean=tuple(config.get("mean", IMAGENET_MEAN)),
        std=tuple(config.get("std", IMAGENET_STD)),
        method="timm" if pretrained else "random",
        source=name,
    )
    return Backbone(network, spec).eval()
