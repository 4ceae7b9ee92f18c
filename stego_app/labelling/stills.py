"""Pictures to find classes in: images as they are, and of each clip some frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from stego_app.labelling.names import Plan
from stego_app.video.reading import VideoError, open_video

STILLS = 32
"""Frames of a clip, at most, evenly spread from its beginning to its end: neighbours say the same twice."""


def pictures(plans: Sequence[Plan], folder: Path) -> list[Path]:
    """The image files of ``plans``, and frames of its clips, written to ``folder``. A clip that cannot be read is told when it is labelled."""
    found: list[Path] = []
    for number, plan in enumerate(plans):
        found += _stills(plan.path, folder / f"{number:06}") if plan.is_clip else [plan.path]
    return found


def _stills(path: Path, folder: Path) -> list[Path]:
    written: list[Path] = []
    folder.mkdir(parents=True)
    try:
        with open_video(path) as video:
            step = max(1, -(-video.info.frames // STILLS))
            for frame in video.frames():
                if frame.number % step:
                    continue
                written.append(folder / f"{frame.number:06}.png")
                Image.fromarray(frame.image).save(written[-1], compress_level=1)
                if len(written) > STILLS:  # there are more frames than declared, if they are: every second one will do
                    for path in written[1::2]:
                        path.unlink()
                    written, step = written[::2], 2 * step
    except VideoError:
        pass  # what was read serves
    return written
