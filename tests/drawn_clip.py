"""Clips drawn and written for tests: motion JPEG in AVI, which every FFmpeg reads frame by frame."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Bytes = npt.NDArray[np.uint8]


def write_clip(path: Path, frames: Sequence[Bytes], fps: float = 30.0) -> Path:
    """``frames`` (each (H, W, 3) uint8 RGB) as an AVI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), fps, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def moving_square(count: int, height: int = 48, width: int = 64, seed: int = 0, speed: int = 1) -> list[Bytes]:
    """A red square that moves to the right over a textured blue ground."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(0, 70, (height // 4, width // 4), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    texture = rng.integers(0, 50, (height // 3, height // 3), dtype=np.uint8)
    side = len(texture)
    frames = []
    for number in range(count):
        frame = np.dstack([ground // 2, ground // 2, ground + 120]).astype(np.uint8)
        left, top = 4 + (number * speed) % (width - side - 8), height // 3
        frame[top : top + side, left : left + side] = np.dstack([texture + 180, texture, texture])
        frames.append(frame)
    return frames


def counted(count: int, side: int = 32) -> list[Bytes]:
    """Plain frames whose grey value is six times their number."""
    return [np.full((side, side, 3), 6 * number, dtype=np.uint8) for number in range(count)]


def jpeg_stream(path: Path, frames: Sequence[Bytes]) -> Path:
    """Motion JPEG without a container, whose frames may be of different sizes."""
    data = b""
    for frame in frames:
        stream = io.BytesIO()
        Image.fromarray(frame).save(stream, "JPEG")
        data += stream.getvalue()
    path.write_bytes(data)
    return path
