"""A frozen or trainable ViT that turns images into a grid of patch tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from models.artifact import ArtifactError, read_artifact, tensors_digest, write_artifact
from models.lean_timm import create_model
from models.quantize import pack_state, unpack_state

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class BackboneSpec:
    """All that is needed to build the network again and to use it as it was trained.

    Attributes:
        architecture: a timm ViT name; its width, patch size and kind of position embedding hold.
        depth: number of blocks (a student may have fewer than its architecture).
        block: index of the block whose output, after the final norm, is taken; 0-based.
        patch_size: side of a patch in pixels.
        dim: channels of a token.
        grid: side of the square grid for which position embeddings are stored; they are resampled to any input.
        mean, std: normalisation of RGB values in [0, 1].
        method: how the weights came about, e.g. "distill", "dinov2", "random".
        source: what they were loaded from or trained on, for the record.
    """

    architecture: str
    depth: int
    block: int
    patch_size: int
    dim: int
    grid: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    method: str = "unknown"
    source: str = ""

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> BackboneSpec:
        """Read the ``backbone`` field of an artefact's header.

        Raises:
            ArtifactError: a field is missing or of the wrong type.
        """
        try:
            fields = dict(header["backbone"])
            for name in ("mean", "std"):
                fields[name] = tuple(float(value) for value in fields[name])
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the model file's header does not describe a backbone: {error}") from error


class BackboneOutput(NamedTuple):
    """Patch tokens (B, C, h, w) and the CLS token (B, C), both after the final norm."""

    patches: torch.Tensor
    cls: torch.Tensor


def build_vit(spec: BackboneSpec, **options: Any) -> nn.Module:
    """A timm ViT of the shape ``spec`` asks for, with random weights and no classifier; ``options`` are timm's.

    Raises:
        ArtifactError: timm has no such architecture or it cannot take this shape or these options.
    """
    side = spec.grid * spec.patch_size
    shape: dict[str, Any] = {"img_size": side, "patch_size": spec.patch_size, "depth": spec.depth, **options}
    try:
        network: Any = create_model(spec.architecture, pretrained=False, num_classes=0, dynamic_img_size=True, **shape)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ArtifactError(f"backbone '{spec.architecture}' cannot be built as a ViT of {spec.depth} blocks: {error}") from error
    return network  # type: ignore[no-any-return]


def filled_vit(spec: BackboneSpec, state: dict[str, torch.Tensor]) -> nn.Module:
    """The network of ``spec`` with the tensors of ``state`` as its weights.

    Raises:
        ArtifactError: see `build_vit`.
        RuntimeError: names or shapes differ.
    """
    with torch.device("meta"):  # no random weights are drawn that would be thrown away: most of the loading time
        try:
            # Where nothing is drawn, not even on the meta device, torch need not load its compiler for it: seconds more.
            network = build_vit(spec, weight_init="skip")
        except ArtifactError:  # timm's other kind of ViT (Eva) has no such option
            network = build_vit(spec)
    network.load_state_dict(state, strict=True, assign=True)
    if any(tensor.is_meta for tensor in network.buffers()):  # buffers that are computed, not stored (rotary positions)
        network = build_vit(spec)
        network.load_state_dict(state, strict=True)
    return network


class Backbone(nn.Module):
    """Images in [0, 1] to patch tokens of one block, for any input whose sides are multiples of the patch."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, spec: BackboneSpec) -> None:
        super().__init__()
        if not 0 <= spec.block < spec.depth:
            raise ArtifactError(f"block {spec.block} does not exist: this backbone has blocks 0 to {spec.depth - 1}")
        self.network = network
        self.spec = spec
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)
        self._fingerprint: str | None = None

    @property
    def dim(self) -> int:
        """Channels of a token."""
        return self.spec.dim

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.spec.patch_size

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name weights and block: the key of cached features."""
        if self._fingerprint is None:
            text = f"{tensors_digest(self.network.state_dict())}|{self.spec.block}|{self.spec.mean}|{self.spec.std}"
            self._fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._fingerprint

    def forward(self, images: torch.Tensor) -> BackboneOutput:
        """Tokens of ``images``.

        Args:
            images: (B, 3, H, W), RGB in [0, 1]; H and W multiples of the patch size.

        Raises:
            ValueError: a side is not a multiple of the patch size.
        """
        height, width = images.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(f"input of {height}x{width} pixels: both sides must be multiples of {self.patch_size}")
        network: Any = self.network
        [found] = network.forward_intermediates(
            (images - self.mean) / self.std,
            indices=[self.spec.block],
            norm=True,
            stop_early=True,
            intermediates_only=True,
            output_fmt="NCHW",
            return_prefix_tokens=True,
        )
        # timm gives prefix tokens only where there are any. A ViT without a CLS token (some MAE and SigLIP variants) is described by its mean patch.
        patches, prefix = found if isinstance(found, tuple | list) else (found, None)
        cls = prefix[:, 0] if prefix is not None and prefix.shape[1] else patches.mean(dim=(2, 3))
        return BackboneOutput(patches, cls)


def save_backbone(path: Path, backbone: Backbone, *, precision: str = "fp16", card: Mapping[str, Any] | None = None) -> None:
    """Write ``backbone`` to ``path``.

    Args:
        path: the file to write.
        backbone: the network and its spec.
        precision: "fp32", "fp16" or "int8" (see `models.quantize`).
        card: anything to keep beside the weights: data, command, scores.
    """
    header = {"backbone": asdict(backbone.spec), "precision": precision, "card": dict(card or {})}
    write_artifact(path, "backbone", pack_state(backbone.network.state_dict(), precision), header)


def read_backbone(path: Path, block: int | None = None) -> Backbone:
    """Load a backbone file written by `save_backbone`; ``block`` overrides the block taken.

    Raises:
        ArtifactError: see `models.artifact.read_artifact`; or the tensors do not fit the described network.
    """
    tensors, header = read_artifact(path, "backbone")
    return backbone_from_tensors(tensors, BackboneSpec.from_header(header), block, origin=str(path))


def backbone_from_tensors(tensors: Mapping[str, torch.Tensor], spec: BackboneSpec, block: int | None, *, origin: str) -> Backbone:
    """Build the network of ``spec`` and fill it from packed ``tensors``; ``origin`` names them in errors.

    Raises:
        ArtifactError: the tensors do not fit the described network.
    """
    if block is not None:
        spec = BackboneSpec(**{**asdict(spec), "block": block})
    try:
        network = filled_vit(spec, unpack_state(tensors))
    except RuntimeError as error:
        raise ArtifactError(f"{origin}: weights do not fit a {spec.architecture} of {spec.depth} blocks ({str(error).splitlines()[-1].strip()})") from error
    return Backbone(network, spec).eval()
