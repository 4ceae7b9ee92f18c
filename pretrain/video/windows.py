"""Clips cut into windows, each an item to learn from, and how a window's frames are sampled."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.progress import Progress, silent
from stego_app.video.reading import VideoError, VideoInfo, find_videos, open_video, probe_video

Frames = npt.NDArray[np.uint8]

_NEARLY = 0.99  # 29.97 frames a second are 30


@dataclass(frozen=True)
class ClipShape:
    """How many frames a clip has, how many of them a second, and how many make a tubelet."""

    frames: int = 16
    fps: float = 7.5
    tubelet: int = 2

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return (self.frames - 1) / self.fps

    @property
    def times(self) -> int:
        """Tubelets of a clip."""
        return self.frames // self.tubelet


@dataclass(frozen=True)
class Window:
    """A part of a clip: from ``start`` on, ``frames`` frames at the sampling rate; ``name`` ends in ``#<number>`` where the clip has several.

    ``declared`` is False where the file does not say how many frames it has: such files have no index to go by.
    """

    video: VideoInfo
    number: int
    start: float
    frames: int
    several: bool
    declared: bool = True

    @property
    def name(self) -> str:
        """Path and number."""
        return f"{self.video.path}#{self.number}" if self.several else str(self.video.path)


@dataclass(frozen=True)
class ClipSource:
    """Windows of all clips that can be learnt from, and why the others cannot."""

    windows: tuple[Window, ...]
    skipped: dict[Path, str]
    sizes: dict[Path, int]

    @property
    def fingerprint(self) -> str:
        """16 hex digits over names, sizes and windows: other clips give another."""
        digest = hashlib.sha256()
        for path, size in self.sizes.items():
            digest.update(os.fsencode(f"{path}:{size}|"))
        for window in self.windows:
            digest.update(os.fsencode(f"{window.name}:{window.start}:{window.frames}|"))
        return digest.hexdigest()[:16]


def open_clips(paths: Sequence[Path], shape: ClipShape, progress: Progress = silent) -> ClipSource:
    """The windows of the clips ``paths`` (files, or folders that are searched).

    A window has room for two clips of ``shape``, so that where a clip begins can be drawn at random; a shorter video is one window.
    Clips that cannot be read, are too short, or have fewer frames a second than ``shape`` asks for are left out and listed.

    Raises:
        StegoError: a path is missing, or no clip is left.
    """
    files = [file for path in paths for file in find_videos(path)]
    windows: list[Window] = []
    skipped: dict[Path, str] = {}
    for number, path in enumerate(files):
        try:
            info = probe_video(path)
            found = cut(info if info.frames else replace(info, frames=_count(path)), shape)
            windows += found if info.frames else [replace(window, declared=False) for window in found]
        except VideoError as error:
            skipped[path] = str(error)
        progress("looking at clips", number + 1, len(files))
    if not windows:
        raise StegoError(f"none of {len(files)} clips can be learnt from; the first: {next(iter(skipped.values()))}")
    return ClipSource(tuple(windows), skipped, {path: path.stat().st_size for path in files})


def _count(path: Path) -> int:
    """Frames of a clip that does not declare them: a stream without a container, or one that was recorded as it came."""
    with open_video(path) as clip:
        return clip.count()


def cut(video: VideoInfo, shape: ClipShape) -> list[Window]:
    """The windows of one clip.

    Raises:
        VideoError: it is too short, or has too few frames a second.
    """
    if video.fps < _NEARLY * shape.fps:
        raise VideoError(f"{video.path}: {video.fps:g} frames a second; expected at least the {shape.fps:g} that are sampled")
    samples = int(video.frames * shape.fps / video.fps + 1e-6)
    if samples < shape.frames:
        wanted = f"{shape.frames} frames at {shape.fps:g} a second take {shape.seconds:.2f}"
        raise VideoError(f"{video.path}: too short: {video.frames} frames, {video.seconds:.2f} s; {wanted} s")
    count = max(1, samples // (2 * shape.frames))
    bounds = [round(index * samples / count) for index in range(count + 1)]
    return [Window(video, index, bounds[index] / shape.fps, bounds[index + 1] - bounds[index], count > 1) for index in range(count)]


def read_window(window: Window, shape: ClipShape, side: int) -> Frames:
    """The frames (F, h, w, 3) uint8 of a window, F at least ``shape.frames``, shrunk so that their short side is at most ``side``.

    Sample k is the frame nearest to ``start + k / fps``; a frame stands for several where the file has a gap.

    Raises:
        VideoError: fewer frames than a clip needs can be decoded, or see `stego_app.video.reading.Video.frames`.
    """
    video = window.video
    half = 0.5 / video.fps
    kept: list[Frames] = []
    with open_video(video.path) as clip:
        first = round(window.start * video.fps)
        if window.number and window.declared:
            clip.seek(first)
        begun: float | None = None
        for frame in clip.frames(0 if window.declared else first):
            begun = frame.seconds if begun is None else begun
            image: Frames | None = None
            while len(kept) < window.frames and frame.seconds - begun + half >= len(kept) / shape.fps:
                image = shrunk(frame.image, side) if image is None else image
                kept.append(image)
            if len(kept) == window.frames:
                break
    if len(kept) < shape.frames:
        raise VideoError(f"{window.name}: only {len(kept)} frames can be decoded; expected {shape.frames}")
    return np.stack(kept)


def shrunk(image: Frames, side: int) -> Frames:
    """The image (H, W, 3) with its short side at most ``side``."""
    height, width = image.shape[:2]
    scale = side / min(height, width)
    if scale >= 1:
        return image
    size = max(side, round(width * scale)), max(side, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
