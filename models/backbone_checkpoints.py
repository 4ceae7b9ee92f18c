"""Published ViT checkpoints (DINO, DINOv2, I-JEPA, MAE, timm) read by the shapes and names of their tensors."""

from __future__ import annotations

import argparse
import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from models.artifact import ArtifactError
from models.backbone import Backbone, BackboneSpec, backbone_from_tensors
from models.lean_timm import is_model

# Where published checkpoints keep the network; of a self-distilled pair, the teacher is what the papers evaluate.
_CONTAINERS = ("teacher", "model", "state_dict", "student", "target_encoder", "encoder")
_PREFIXES = ("module.", "backbone.", "encoder.", "network.", "model.", "teacher.", "student.")
# Parts that are no part of the trunk: classifiers, projection heads, mask tokens and decoders of the pretraining.
_DROPPED = re.compile(r"^(head|heads|fc|dino_head|ibot_head|projection_head|predictor|prototypes|pre_logits|mask_token|decoder)($|[._].*)")
_NAMES = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1536: "giant"}
_GIANT_HIDDEN = 8192  # DINOv2's giant has a gated MLP whose first matrix holds gate and value
_REGISTERS = 4


def read_checkpoint(path: Path, block: int | None) -> Backbone:
    """The ViT in a ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors`` file that this project did not write.

    Raises:
        ArtifactError: not a weights-only checkpoint, or no ViT whose shape can be told.
    """
    tensors = network_tensors(_read_state(path), path)
    return backbone_from_tensors(tensors, spec_from_shapes(tensors, path), block, origin=str(path))


def _read_state(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(str(path))
        # DINO's full checkpoints carry their command-line options; a Namespace only holds values and runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _is_torchs(path):
            raise ArtifactError(f"{path}: not a readable checkpoint (no file of torch; was another page or file saved under this name?)") from error
        raise ArtifactError(f"{path}: refused: it holds more than weights, and loading it could run code; expected a weights-only checkpoint") from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(f"{path}: not a readable checkpoint ({reason})") from error
    if not isinstance(state, Mapping):
        raise ArtifactError(f"{path}: expected the state dict of a ViT, found {type(state).__name__}")
    return state


def _is_torchs(path: Path) -> bool:
    """Whether a file begins as those of ``torch.save`` do: a zip, or a pickle."""
    with path.open("rb") as file:
        return file.read(2).startswith((b"PK", b"\x80"))


def network_tensors(state: Mapping[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """The ViT's own tensors under timm's names, out of whatever container and prefixes a checkpoint uses."""
    for container in _CONTAINERS:
        if isinstance(state.get(container), Mapping):
            return network_tensors(state[container], path)
    if any(key.startswith("teacher.") for key in state):
        state = {key: value for key, value in state.items() if key.startswith("teacher.")}
    tensors: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            continue
        while prefix := next((p for p in _PREFIXES if key.startswith(p)), None):
            key = key.removeprefix(prefix)
        key = re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key)  # DINOv2's training code groups blocks in chunks
        key = key.replace("register_tokens", "reg_token").replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.")
        if not _DROPPED.match(key):
            tensors[key] = value.float()
    return tensors


def spec_from_shapes(tensors: dict[str, torch.Tensor], path: Path) -> BackboneSpec:
    """The shape of a ViT read off its weights; with registers, CLS's position is folded into its token, as timm wants it.

    Raises:
        ArtifactError: the tensors are not those of a ViT timm can build.
    """
    try:
        dim, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        positions = tensors["pos_embed"].shape[1]
        hidden = tensors["blocks.0.mlp.fc1.weight"].shape[0]
        depth = 1 + max(int(key.split(".")[1]) for key in tensors if key.startswith("blocks."))
    except (KeyError, ValueError, IndexError) as error:
        raise ArtifactError(f"{path}: no ViT found in it (missing {error}); expected DINO, DINOv2 or timm weights") from error
    if dim not in _NAMES or hidden != (_GIANT_HIDDEN if dim == 1536 else 4 * dim):
        raise ArtifactError(f"{path}: a ViT of width {dim} and hidden width {hidden}; expected width {sorted(_NAMES)} and a hidden width of 4 times that")
    registers = tensors["reg_token"].shape[1] if "reg_token" in tensors else 0
    if registers not in (0, _REGISTERS):
        raise ArtifactError(f"{path}: {registers} register tokens; expected none or {_REGISTERS}")
    grid = math.isqrt(positions if registers and math.isqrt(positions) ** 2 == positions else positions - 1)
    if positions not in (grid**2 + 1, grid**2) or "cls_token" not in tensors:
        raise ArtifactError(f"{path}: {positions} position embeddings are not one CLS token and a square grid")
    if registers and positions == grid**2 + 1:
        tensors["cls_token"] = tensors["cls_token"] + tensors["pos_embed"][:, :1]
        tensors["pos_embed"] = tensors["pos_embed"][:, 1:]
    scaled = "blocks.0.ls1.gamma" in tensors
    if scaled or registers:
        architecture = f"vit_{_NAMES[dim]}_patch14{'_reg4' if registers else ''}_dinov2"
    else:
        architecture = f"vit_{_NAMES[dim]}_patch16_224"  # the patch size of the spec replaces the one in the name
    if not is_model(architecture):
        raise ArtifactError(f"{path}: a ViT of width {dim}{' with layer scale' if scaled else ''}, which timm does not have ({architecture})")
    return BackboneSpec(architecture, depth, depth - 1, patch, dim, grid, method="dinov2" if scaled else "vit", source=path.name)
