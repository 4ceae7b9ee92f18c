"""Video clips: what a file declares, and its frames one by one.

Decoding is OpenCV's, a core dependency, whose wheels bring an LGPL FFmpeg. (PyAV, BSD itself, brings x264 and x265 in its wheels, which are
GPL, and would be a second FFmpeg in the process.)
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.images import find_files

# FFmpeg would write its own remarks on damaged files to the terminal; ours name the file. Read when the first clip is opened.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".flv", ".ogv", ".3gp", ".mjpeg"})
"""File name endings (lower case) that make a file a clip when a folder is searched."""

MAX_PIXELS = 100_000_000
"""The most pixels a frame may declare before one is decoded."""

_TOLERATED = 0.02  # containers estimate the number of frames from the duration
_QUIET = threading.Lock()


class VideoError(StegoError):
    """A clip that cannot be read. The message is ``name: reason``."""


@dataclass(frozen=True)
class VideoInfo:
    """What a file declares: size in pixels, frames a second, and about how many frames (0: it does not say)."""

    path: Path
    width: int
    height: int
    fps: float
    frames: int

    @property
    def seconds(self) -> float:
        """Declared duration."""
        return self.frames / self.fps


class Frame(NamedTuple):
    """A frame: its number from 0, its time in seconds since the first, and (H, W, 3) uint8 RGB."""

    number: int
    seconds: float
    image: npt.NDArray[np.uint8]


class Video:
    """An open clip.

    >>> with open_video(path) as video:
    ...     for frame in video.frames():
    ...         ...
    """

    def __init__(self, capture: Any, info: VideoInfo) -> None:
        self.info = info
        self._capture = capture
        self._start = 0

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """The frames in order, one in memory at a time; the first ``skip`` are decoded, but not handed out.

        Times are the file's own, so clips of a variable frame rate keep theirs; where a file has none they are counted. Where the size changes
        on the way, the decoder brings all frames to that of the first.

        Raises:
            VideoError: no frame can be decoded, or the clip ends well before the number of frames it declares.
        """
        path, step = self.info.path, 1 / self.info.fps
        first, seconds, number = 0.0, -step, 0
        while self._capture.grab():
            stamp = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
            first = stamp if number == 0 else first
            seconds = stamp - first if stamp - first > seconds else seconds + step
            if number >= skip:
                yield Frame(number, seconds, self._retrieved(number))
            number += 1
        if number == 0:
            raise VideoError(f"{path}: no frame can be decoded (damaged, or of a kind this FFmpeg has no decoder for)")
        if self._start + number < self.info.frames - max(2, _TOLERATED * self.info.frames):
            raise VideoError(f"{path}: ends after {self._start + number} of the {self.info.frames} frames it declares; the rest is missing or damaged")

    def count(self) -> int:
        """How many frames there are from here on; they are read for it, not decoded into pictures."""
        number = 0
        while self._capture.grab():
            number += 1
        return number

    def seek(self, number: int) -> None:
        """Go to frame ``number``, or near it where the file's index is poor; `frames` then counts from there."""
        self._start = number
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, number)

    def _retrieved(self, number: int) -> npt.NDArray[np.uint8]:
        done, image = self._capture.retrieve()
        if not done or image is None or image.ndim != 3:
            raise VideoError(f"{self.info.path}: frame {number} cannot be decoded")
        turned: npt.NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return turned


@contextmanager
def open_video(path: Path) -> Iterator[Video]:
    """The clip ``path``, upright as its metadata say.

    Raises:
        VideoError: missing, a folder, empty, not a video, without a decoder, or of a size or rate that cannot be.
    """
    capture = _opened(path)
    try:
        width, height, fps, frames = (float(capture.get(key)) for key in _DECLARED)
        if not (0 < width * height <= MAX_PIXELS):
            raise VideoError(f"{path}: declares frames of {width:.0f} × {height:.0f} pixels; expected 1 to {MAX_PIXELS:,} in all")
        if not math.isfinite(fps) or not 0 < fps <= 1000:
            raise VideoError(f"{path}: declares {fps:g} frames a second; expected more than 0 and at most 1000")
        yield Video(capture, VideoInfo(path, int(width), int(height), fps, max(0, int(frames)) if math.isfinite(frames) else 0))
    finally:
        capture.release()


_DECLARED = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)


def probe_video(path: Path) -> VideoInfo:
    """What the file declares, its first frame decoded to see that there is a decoder.

    Raises:
        VideoError: see `open_video` and `Video.frames`.
    """
    with open_video(path) as video:
        next(video.frames())
        return video.info


def is_video(path: Path) -> bool:
    """Whether the name's ending makes the file a clip."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_videos(root: Path) -> list[Path]:
    """All clips under ``root``, or ``root`` itself if it is a file; raises as `find_files`."""
    return [root] if root.is_file() else find_files(root, VIDEO_SUFFIXES, "clips")


def _opened(path: Path) -> Any:
    try:
        if path.is_dir():
            raise VideoError(f"{path}: is a folder; expected a video file")
        if path.stat().st_size == 0:
            raise VideoError(f"{path}: the file is empty (0 bytes)")
    except FileNotFoundError as error:
        raise VideoError(f"{path}: no such file") from error
    except OSError as error:
        raise VideoError(f"{path}: cannot be opened ({error.strerror or error})") from error
    with _QUIET:  # the level is global
        logging = cv2.utils.logging
        level = logging.getLogLevel()
        logging.setLogLevel(logging.LOG_LEVEL_SILENT)
        try:
            # FFmpeg by name: another reader would take a name with % for a series of pictures.
            capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        finally:
            logging.setLogLevel(level)
    if not capture.isOpened():
        capture.release()
        raise VideoError(f"{path}: not a video, damaged, or of a kind this FFmpeg has no decoder for")
    return capture
