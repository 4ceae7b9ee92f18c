"""Images to patch features: resizing, device and precision, batches of mixed sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from models.backbone import Backbone
from models.errors import StegoError
from stego_app.features.exposure import brightened
from stego_app.runtime.tokens import PatchTokens
from stego_app.runtime.torch_tokens import TorchTokens

Resolution: TypeAlias = int | tuple[int, int]
"""Pixels of the short side with the aspect ratio kept, or an exact (height, width)."""
Precision = Literal["auto", "fp32", "bf16"]

# Attention is quadratic in the tokens: a strip of 40 000 x 20 pixels would otherwise ask for hundreds of gigabytes.
MAX_ASPECT = 6.0
_FP16_MAX = 65504.0


def input_size(height: int, width: int, resolution: Resolution, patch: int) -> tuple[int, int]:
    """Height and width at which an image of ``height`` x ``width`` pixels enters the backbone.

    Both are multiples of ``patch`` and at least one patch. With an integer ``resolution`` the short side comes closest
    to it and the long side keeps the aspect ratio, up to `MAX_ASPECT` times the short side.

    Raises:
        StegoError: ``resolution`` is smaller than one patch.
    """
    wanted = (resolution, resolution) if isinstance(resolution, int) else resolution
    if min(wanted) < patch:
        raise StegoError(f"resolution {resolution}: expected at least one patch of {patch} pixels on each side")

    def multiple(pixels: float) -> int:
        return max(1, round(pixels / patch)) * patch

    if not isinstance(resolution, int):
        return multiple(resolution[0]), multiple(resolution[1])
    short = multiple(resolution)
    long = multiple(short * min(max(height, width) / min(height, width), MAX_ASPECT))
    return (short, long) if height <= width else (long, short)


def resize_for_backbone(image: npt.NDArray[np.uint8], resolution: Resolution, patch: int, *, brighten: bool = False) -> torch.Tensor:
    """An image as the backbone takes it, by bicubic resampling with antialiasing.

    Args:
        image: (H, W, 3) uint8 RGB.
        resolution: pixels of the short side, or an exact (height, width); see `input_size`.
        patch: the backbone's patch size.
        brighten: a dark image; see `stego_app.features.exposure.brightened`.

    Returns:
        (3, h, w) float32 in [0, 1]; h and w are multiples of ``patch``.
    """
    height, width = input_size(image.shape[0], image.shape[1], resolution, patch)
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    ready = torch.from_numpy(resized.copy()).permute(2, 0, 1).float() / 255
    return brightened(ready) if brighten else ready


def device_of(name: str) -> torch.device:
    """The device that "auto", "cpu", "cuda" (also "cuda:1") or "mps" stands for on this machine.

    Raises:
        StegoError: unknown name, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise StegoError(f"device '{name}': expected auto, cpu, cuda or mps")
    if kind == "cuda" and not torch.cuda.is_available():
        raise StegoError(f"device '{name}': no CUDA device is usable on this machine; use --device cpu or auto")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise StegoError(f"device '{name}': Metal is not available on this machine; use --device cpu or auto")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise StegoError(f"device '{name}': expected auto, cpu, cuda or mps, or cuda:N") from error
    if kind == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise StegoError(f"device '{name}': this machine has {torch.cuda.device_count()} CUDA device(s), numbered from 0")
    return device


def precision_of(precision: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """``precision`` with "auto" resolved: bf16 where the processor multiplies it natively (2 to 3 times as fast), else fp32.

    Raises:
        StegoError: an unknown precision.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise StegoError(f"precision '{precision}': expected auto, fp32 or bf16")
    if precision != "auto":
        return "bf16" if precision == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if device.type == "cpu":
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return "bf16" if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") else "fp32"
    return "fp32"


def extract_features(
    backbone: Backbone,
    images: Sequence[torch.Tensor],
    *,
    device: torch.device | None = None,
    precision: str = "auto",
    flip: bool = False,
    batch_size: int = 16,
) -> list[torch.Tensor]:
    """Patch features of images of mixed sizes; those of one size share batches.

    Args:
        backbone: already on ``device``.
        images: each (3, H, W) in [0, 1], as `resize_for_backbone` gives them.
        device: where the backbone is; its own device if not given.
        precision: "auto", "fp32" or "bf16" (autocast).
        flip: average with the features of the mirrored image.
        batch_size: images a forward pass.

    Returns:
        One (C, h, w) float32 tensor on the CPU for each image, in the order given.

    Raises:
        StegoError: the backbone gives values that are not finite.
    """
    device = device or next(backbone.parameters()).device
    return features_of(TorchTokens(backbone, lowered=precision_of(precision, device) == "bf16"), images, flip=flip, batch_size=batch_size)


@torch.inference_mode()
def features_of(source: PatchTokens, images: Sequence[torch.Tensor], *, flip: bool = False, batch_size: int = 16) -> list[torch.Tensor]:
    """`extract_features` in any runtime: ``source`` gives the tokens.

    Raises:
        StegoError: the backbone gives values that are not finite.
    """
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        by_shape.setdefault(tuple(image.shape), []).append(index)
    features: list[torch.Tensor] = [torch.empty(0)] * len(images)
    for indices in by_shape.values():
        for start in range(0, len(indices), batch_size):
            chosen = indices[start : start + batch_size]
            batch = torch.stack([images[index] for index in chosen])
            patches = source(batch)
            if flip:
                patches = (patches + source(batch.flip(-1)).flip(-1)) / 2
            if not torch.isfinite(patches).all():
                raise StegoError(f"backbone {source.architecture}: its features are not finite numbers; the weights are damaged or need precision fp32")
            # fp16 is what the cache holds; clamping here keeps a stray activation from becoming infinite there.
            for index, patch_features in zip(chosen, patches.clamp(-_FP16_MAX, _FP16_MAX).cpu(), strict=True):
                features[index] = patch_features
    return features
