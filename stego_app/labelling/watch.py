"""Labelling what comes into a folder, until it is interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from models.errors import StegoError
from stego_app.labelling.claim import BusyError
from stego_app.labelling.folder import label_images
from stego_app.labelling.names import Plan, plan_inputs
from stego_app.labelling.segmenter import LabellingSegmenter
from stego_app.labelling.settings import LabelSettings
from stego_app.labelling.summary import LabelSummary
from stego_app.progress import Progress, silent

_State = tuple[int, int]


def watch(
    sources: Sequence[str | Path],
    out: Path,
    segmenter: LabellingSegmenter,
    settings: LabelSettings,
    say: Callable[[LabelSummary], None],
    *,
    every: float = 2.0,
    progress: Progress = silent,
) -> None:
    """Label images as they come or change; looks ``every`` so many seconds, and never ends by itself.

    An image is taken once its size and time are the same at two looks, so that one that is still being copied is left alone.

    Raises:
        StegoError: a source that is no folder, or what `label_images` raises.
        KeyboardInterrupt: from the user; what was done is kept.
    """
    for source in sources:
        if not Path(source).is_dir():
            raise StegoError(f"{source}: no such folder; expected a folder to watch")
    seen: dict[str, _State] = {}
    done: dict[str, _State] = {}
    while True:
        found = _look(sources, out)
        still = [plan for plan, state in found if seen.get(plan.name) == state]
        states = {plan.name: state for plan, state in found}
        known = frozenset(plan.name for plan in still if done.get(plan.name) == states[plan.name])
        if len(known) < len(still):
            with suppress(BusyError):  # another run is at work there: at the next look, then
                # What is still being copied is not among ``still``, so nothing can be said of images that are gone.
                say(replace(label_images(still, out, segmenter, settings, progress, known), gone=0))
                done |= {plan.name: states[plan.name] for plan in still}
        seen = states
        time.sleep(every)


def _look(sources: Sequence[str | Path], out: Path) -> list[tuple[Plan, _State]]:
    """Images that are there now, with size and time. A folder without any is waited for."""
    found = []
    for plan in plan_inputs(sources, out, may_be_empty=True):
        try:
            info = plan.path.stat()
        except OSError:  # gone again
            continue
        found.append((plan, (info.st_size, info.st_mtime_ns)))
    return found
