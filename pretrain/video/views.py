"""Random views of clips: one crop for all frames, and a random start in time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from pretrain.augment import Crop, random_box, random_colours
from pretrain.batches import PretrainViews
from pretrain.video.windows import ClipShape, Frames, Window, read_window
from pretrain.views import ImageBank


class ClipBank(ImageBank):
    """Decoded windows by index, (F, h, w, 3) uint8; see `ImageBank`."""

    def __init__(self, windows: Sequence[Window], shape: ClipShape, side: int, budget: float) -> None:
        super().__init__([Path(window.name) for window in windows], side, budget)
        self.windows = list(windows)
        self.shape = shape

    def load(self, index: int) -> Frames:
        """Window ``index``, its frames shrunk.

        Raises:
            VideoError: it cannot be read.
        """
        return read_window(self.windows[index], self.shape, self.side)


class ClipViews(PretrainViews):
    """Batches of clips: the views (V, B, T, 3, S, S) of each micro-batch; the rest as for images."""

    def __init__(self, *arguments: object, shape: ClipShape, **named: object) -> None:
        super().__init__(*arguments, **named)  # type: ignore[arg-type]  # the parent's own
        self.shape = shape

    def view(self, item: Frames, crop: Crop, rng: np.random.Generator) -> tuple[torch.Tensor, tuple[float, float, float, float], bool]:
        """See `clip_view`."""
        return clip_view(item, self.shape.frames, crop, rng)


def clip_view(window: Frames, frames: int, crop: Crop, rng: np.random.Generator) -> tuple[torch.Tensor, tuple[float, float, float, float], bool]:
    """``frames`` frames in a row of ``window`` (F, H, W, 3) uint8 from a random one on, all cropped and mirrored alike.

    Returns:
        The view (T, 3, size, size) uint8; its box as shares of the sides; whether it is mirrored.
    """
    start = int(rng.integers(len(window) - frames + 1))
    rows, columns = window.shape[1:3]
    left, top, right, bottom = random_box(rows, columns, crop.scale, rng)
    flipped = bool(rng.random() < crop.flip)
    view = torch.stack([_cut(frame, (left, top, right, bottom), crop.size) for frame in window[start : start + frames]])
    return view.flip(-1) if flipped else view, (left / columns, top / rows, right / columns, bottom / rows), flipped


def coloured_view(window: Frames, frames: int, crop: Crop, rng: np.random.Generator) -> torch.Tensor:
    """A `clip_view` (T, 3, size, size) uint8 whose colours are changed as ``crop`` says, in all frames alike; it is neither blurred nor solarized."""
    view, _, _ = clip_view(window, frames, crop, rng)
    # One tall image, so that the mean that contrast is taken against is the clip's.
    tall = np.ascontiguousarray(view.permute(0, 2, 3, 1).flatten(0, 1).numpy())
    colours = random_colours(crop, tall, rng)
    if colours is None:
        return view
    return torch.from_numpy(cv2.transform(tall, colours)).view(len(view), crop.size, crop.size, 3).permute(0, 3, 1, 2).contiguous()


def centre_clip(window: Frames, frames: int, size: int) -> torch.Tensor:
    """The middle ``frames`` frames' central square, (T, 3, size, size) uint8; for probes."""
    start = (len(window) - frames) // 2
    rows, columns = window.shape[1:3]
    side = min(rows, columns)
    left, top = (columns - side) / 2, (rows - side) / 2
    return torch.stack([_cut(frame, (left, top, left + side, top + side), size) for frame in window[start : start + frames]])


def _cut(frame: Frames, box: tuple[float, float, float, float], size: int) -> torch.Tensor:
    left, top, right, bottom = box
    # Pixel centres: the crop's corner pixel looks at the middle of its share of the box.
    across, down = (right - left) / size, (bottom - top) / size
    matrix = np.array([[across, 0, left + across / 2 - 0.5], [0, down, top + down / 2 - 0.5]])
    if max(across, down) > 1.5:  # warping alone would skip pixels
        part = frame[int(top) : max(int(top) + 1, round(bottom)), int(left) : max(int(left) + 1, round(right))]
        view = cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA)
    else:
        view = cv2.warpAffine(frame, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))
