"""Files of encoders of clips: safetensors with a JSON header, as backbone files are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.artifact import ArtifactError, read_artifact, read_header, write_artifact
from models.backbone import build_vit
from models.backbone_sources import load_backbone
from models.quantize import pack_state, unpack_state
from pretrain.encoder import set_drop_path
from pretrain.video.encoder import VideoEncoder, VideoSpec, inflated
from pretrain.video.windows import ClipShape

KIND = "video encoder"
SUFFIX = ".video.safetensors"


def video_path(out: Path) -> Path:
    """Where the encoder of clips lies beside the backbone file ``out``."""
    return out.with_name(out.name.removesuffix(".safetensors") + SUFFIX)


def save_video_encoder(path: Path, encoder: VideoEncoder, method: str, source: str, *, precision: str, card: Mapping[str, Any]) -> None:
    """Write ``encoder`` to ``path``; ``precision`` is "fp32", "fp16" or "int8" (see `models.quantize`).

    Raises:
        ArtifactError: it cannot be written.
    """
    spec = replace(encoder.video, backbone=replace(encoder.spec, method=method, source=source))
    state = {name: tensor.detach().cpu().float() for name, tensor in encoder.network.state_dict().items()}
    write_artifact(path, KIND, pack_state(state, precision), {**spec.as_header(), "precision": precision, "card": dict(card)})


def read_video_encoder(path: Path) -> VideoEncoder:
    """Load what `save_video_encoder` wrote.

    Raises:
        ArtifactError: missing, damaged, of another kind, or its tensors do not fit.
    """
    tensors, header = read_artifact(path, KIND)
    spec = VideoSpec.from_header(header)
    encoder = VideoEncoder(build_vit(spec.backbone), spec, inflate=False)
    try:
        encoder.network.load_state_dict(unpack_state(tensors), strict=True)
    except RuntimeError as error:
        raise ArtifactError(f"{path}: weights do not fit a {spec.backbone.architecture} on clips ({str(error).splitlines()[-1].strip()})") from error
    set_drop_path(encoder.network, 0.0)
    return encoder.eval()


def load_video_encoder(name: str, clip: ClipShape) -> VideoEncoder:
    """An encoder of clips: a file of one; a backbone file with one beside it; else the image backbone ``name`` inflated for ``clip``.

    Raises:
        ArtifactError: neither.
    """
    path = Path(name)
    if path.is_file() and path.suffix == ".safetensors":
        if read_header(path).get("kind") == KIND:
            return read_video_encoder(path)
        if video_path(path).is_file():
            return read_video_encoder(video_path(path))
    return inflated(load_backbone(name), clip)
