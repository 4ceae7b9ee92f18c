"""Where a backbone comes from: the embedded default, a file of ours, a published checkpoint, or timm's hub."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from safetensors import SafetensorError, safe_open

from models.artifact import ArtifactError
from models.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone, BackboneSpec, read_backbone
from models.backbone_checkpoints import read_checkpoint
from models.lean_timm import create_model, is_model, list_pretrained

DEFAULT = "default"
RANDOM_PREFIX = "random:"
FILE_SUFFIXES = frozenset({".pth", ".pt", ".ckpt", ".safetensors"})
HUB_SECONDS = 4.0


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
    if Path(name).suffix.lower() in FILE_SUFFIXES or Path(name).is_file():
        return _from_file(Path(name), block)
    return _from_timm(name, block, pretrained=True)


def _from_file(path: Path, block: int | None) -> Backbone:
    if not path.is_file():
        raise ArtifactError(f"{path}: no such backbone file")
    if path.suffix.lower() == ".safetensors":
        try:
            with safe_open(str(path), framework="pt") as file:
                ours = "stego" in (file.metadata() or {})
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"{path}: not a readable safetensors file ({error})") from error
        if ours:
            return read_backbone(path, block)
    return read_checkpoint(path, block)


def _from_timm(name: str, block: int | None, *, pretrained: bool) -> Backbone:
    architecture, _, tag = name.removeprefix("timm/").partition(".")
    if not is_model(architecture):
        raise ArtifactError(f"backbone '{name}': neither 'default', nor an existing file, nor a timm model name")
    known = list_pretrained(f"{architecture}.*")
    if pretrained and (not known or (tag and f"{architecture}.{tag}" not in known)):
        raise ArtifactError(f"backbone '{name}': timm has no such weights; it has {', '.join(sorted(known)) or 'none'} for {architecture}")
    network = _build(name, f"{architecture}.{tag}" if tag else architecture, pretrained)
    config = network.pretrained_cfg
    depth = len(network.blocks)
    spec = BackboneSpec(
        architecture=architecture,
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


def _build(name: str, model: str, pretrained: bool) -> Any:
    """timm's network of that name; ``name`` is how the user wrote it."""
    try:
        with _hub_if_reachable() if pretrained else _nothing():
            network: Any = create_model(model, pretrained=pretrained, num_classes=0, dynamic_img_size=True)
    except TypeError as error:
        raise ArtifactError(f"backbone '{name}': this timm model is not a ViT that takes images of any size; expected one") from error
    except Exception as error:  # the hub's client raises many kinds; all mean that the weights did not arrive
        if not pretrained:
            raise ArtifactError(f"backbone '{name}': timm cannot build it ({error})") from error
        raise ArtifactError(
            f"backbone '{name}': its weights are not on this machine and could not be downloaded ({type(error).__name__}). "
            "Go online once, or give the path of a .pth or .safetensors file, or use 'default'"
        ) from error
    if not hasattr(network, "blocks") or not hasattr(network, "forward_intermediates") or not hasattr(network, "patch_embed"):
        raise ArtifactError(f"backbone '{name}': expected a ViT; this timm model is of another kind")
    return network


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _hub_if_reachable() -> Iterator[None]:
    """Take weights from the hub's local cache alone when the hub cannot be reached.

    The hub's client otherwise tries each file again and again for most of a minute before it gives up.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable(url: str) -> bool:
    """Whether the host of ``url`` (or the proxy in the way, which may answer for it) accepts a connection."""
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    parts = urlsplit(proxy or url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)), timeout=HUB_SECONDS).close()
    except OSError:
        return False
    return True
