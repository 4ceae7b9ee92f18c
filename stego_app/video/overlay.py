"""Clips that play: frames written to a video file, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.atomic import PART, replacing

SUFFIX = ".mp4"
_CODEC = "vp09"
"""VP9 in MP4: what browsers play of the encoders in OpenCV's FFmpeg, which has none for H.264."""
MAX_SIDE = 1280
"""Longer sides are reduced to this: an overlay is to be looked at."""


def write_video(path: Path, frames: Iterable[npt.NDArray[np.uint8]], fps: float) -> None:
    """Write ``frames`` (each (H, W, 3) uint8 RGB, all of one size) at ``fps`` a second to the MP4 file ``path``.

    Raises:
        StegoError: no frames, or this OpenCV cannot encode them.
        OSError: the file cannot be written.
    """
    with replacing(path) as part:
        writer: cv2.VideoWriter | None = None
        # The encoder goes by the name's ending, which an unfinished file has not.
        named = part.with_name(part.name.removesuffix(PART) + PART + SUFFIX)
        try:
            for frame in frames:
                shown = _reduced(frame)
                if writer is None:
                    size = (shown.shape[1], shown.shape[0])
                    writer = cv2.VideoWriter(str(named), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*_CODEC), fps, size)  # type: ignore[attr-defined]
                    if not writer.isOpened():
                        raise StegoError(f"{path}: this OpenCV cannot write a video of {size[0]} × {size[1]} pixels; expected its FFmpeg with VP9")
                writer.write(cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
            if writer is None:
                raise StegoError(f"{path}: no frames to write")
            writer.release()
            named.replace(part)
        finally:
            if writer is not None:
                writer.release()
            named.unlink(missing_ok=True)


def _reduced(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """At most `MAX_SIDE` long, both sides even, as video encoders want them."""
    height, width = frame.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)
    if size == (width, height):
        return frame
    reduced: npt.NDArray[np.uint8] = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return reduced
