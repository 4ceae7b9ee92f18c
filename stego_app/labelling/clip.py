"""A video clip frame by frame, its classes steady in time: streamed, in the memory of a few frames, resumable."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from stego_app.atomic import write_bytes, write_text
from stego_app.confidence.maps import Trust
from stego_app.crf import CrfPool, CrfSettings
from stego_app.formats.image_file import ImageFile
from stego_app.images import read_index_image
from stego_app.labelling.clip_state import ClipState
from stego_app.labelling.names import Plan
from stego_app.labelling.segmenter import LabellingSegmenter, maps_of
from stego_app.labelling.settings import LabelSettings
from stego_app.labelling.worker import Outcome, Task, finish_task
from stego_app.progress import Progress
from stego_app.segmentation import Segmentation, reduced_image, refine_patches, upsample_probabilities
from stego_app.video.flow import dis_flow, grey
from stego_app.video.overlay import write_video
from stego_app.video.reading import Frame, Video, VideoError, open_video

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

ABOUT = "clips"
"""Folder inside OUT with what is known of each clip."""

FRAMES = "frames"
"""Folder inside OUT for the frames themselves, where a format is asked for: other tools take pictures."""

FEW = 4
"""For this many frames, starting processes would take longer than the work."""


@dataclass(frozen=True)
class ClipResult:
    """``frames`` were labelled; ``problem``: why the others could not be read; flicker with steadiness and of each frame alone, see `Flicker`."""

    frames: int
    problem: str
    flicker: float
    flicker_alone: float

    def __str__(self) -> str:
        return f"{self.frames} frames, flicker {self.flicker:.2%} (each frame alone: {self.flicker_alone:.2%})"


def frame_plan(clip: Plan, number: int, out: Path) -> Plan:
    """The plan of one frame: ``labels/<clip>/<number>.png``; its name, and where its picture lies, end in ``<clip>/<number>.jpg``."""
    place = f"{number:06}"
    image = ImageFile(out / FRAMES / clip.name / f"{place}.jpg")
    return Plan(image, f"{clip.name}/{place}.jpg", f"{clip.label}/{place}.png", "", f"{clip.confidence}/{place}.png")


def label_clip(
    plan: Plan,
    sha256: str,
    out: Path,
    segmenter: LabellingSegmenter,
    settings: LabelSettings,
    record: Callable[[Plan, Outcome], None],
    progress: Progress,
) -> ClipResult:
    """Write a label map for every frame of a clip, and the maps of confidence and the overlay that are asked for.

    Each frame is seen as an image is; the probabilities after the CRF are then averaged along optical flow (`stego_app.video.steady`). Frames are read,
    seen and decided in order, none before the one before it; an interrupted clip goes on from the last state kept, every `ClipState.EVERY` batches.

    Args:
        plan: of the clip.
        sha256: of its bytes.
        out: the output folder.
        segmenter: gives class probabilities on the patch grid.
        settings: see `LabelSettings`.
        record: called for each frame as soon as its files are there.
        progress: called for each frame.

    Raises:
        VideoError: not one frame can be read.
        StegoError: the output cannot be written.
    """
    stamp = json.dumps([sha256, segmenter.fingerprint, settings.digest(), settings.asks_confidence, settings.confidence, bool(settings.formats)])
    state = ClipState.restored(out, plan, stamp, settings.steady)
    run = _Clip(plan, out, segmenter, settings, record, progress, state)
    with open_video(plan.path) as video:
        run.label(video)
        fps = video.info.fps
    if settings.overlays:
        write_video(out / plan.overlay, run.overlay(), fps)
    result = ClipResult(state.next, run.problem, state.flicker.share, state.flicker_alone.share)
    about = {"frames": result.frames, "fps": fps, "flicker": result.flicker, "flicker_frame_by_frame": result.flicker_alone, "steady_seconds": settings.steady}
    write_text(out / ABOUT / f"{plan.name}.json", json.dumps({"clip": plan.name, **about, "problem": result.problem}, indent=2) + "\n")
    state.forget()
    return result


@dataclass
class _Clip:
    """The state of one call of `label_clip`."""

    plan: Plan
    out: Path
    segmenter: LabellingSegmenter
    settings: LabelSettings
    record: Callable[[Plan, Outcome], None]
    progress: Progress
    state: ClipState
    problem: str = ""
    under_way: deque[tuple[Frame, Bytes, Trust | None]] = field(default_factory=deque)

    def label(self, video: Video) -> None:
        """All frames from the state's on."""
        total = video.info.frames
        with CrfPool(self.settings.jobs) as pool:
            tasks = self._tasks(video)
            few, engine = total - self.state.next <= FEW or not self.settings.crf, self.segmenter.crf_engine
            here = few or engine != "auto"
            results: Iterator[Any] = (refined(*task, engine) for task in tasks) if here else pool.run(refined, tasks, ahead=pool.workers + 1)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
                self._finish(result)
                self.progress(f"labelling {self.plan.name}", self.state.next, max(total, self.state.next))

    def _tasks(self, video: Video) -> Iterator[tuple[Floats, Bytes, CrfSettings, bool]]:
        for batch in self._batches(video):
            maps = maps_of(self.segmenter, [frame.image for frame in batch], self.settings)
            for frame, (probabilities, trust) in zip(batch, maps, strict=True):
                seen = reduced_image(frame.image, self.settings.crf_settings)
                self.under_way.append((frame, seen, trust))
                yield probabilities, seen, self.settings.crf_settings, self.settings.crf

    def _batches(self, video: Video) -> Iterator[list[Frame]]:
        """Frames that can be read; what stops them is remembered."""
        batch: list[Frame] = []
        try:
            for frame in video.frames(skip=self.state.next):
                batch.append(frame)
                if len(batch) == self.settings.batch_size:
                    yield batch
                    batch = []
        except VideoError as error:
            if not self.state.next and not batch and not self.under_way:
                raise
            self.problem = str(error)
        if batch:
            yield batch

    def _finish(self, probabilities: Floats) -> None:
        frame, seen, trust = self.under_way.popleft()
        state, looks = self.state, grey(seen)
        flow = None if state.steady.grey is None else dis_flow(state.steady.grey, looks)
        alone = probabilities.argmax(axis=0).astype(np.uint8)
        mean = state.steady.step(probabilities, looks, frame.seconds, flow)
        labels = mean.argmax(axis=0).astype(np.uint8)
        if flow is not None:
            state.flicker.add(state.labels, labels, flow)
            state.flicker_alone.add(state.alone, alone, flow)
        state.labels, state.alone = labels, alone
        self._write(frame, mean, trust)
        state.next = frame.number + 1
        if state.next % (self.settings.batch_size * ClipState.EVERY) == 0:
            state.save()

    def _write(self, frame: Frame, probabilities: Floats, trust: Trust | None) -> None:
        plan, options = frame_plan(self.plan, frame.number, self.out), self.settings
        if options.formats:
            stream = io.BytesIO()
            Image.fromarray(frame.image).save(stream, "JPEG", quality=95)
            write_bytes(plan.image.path, stream.getvalue())
        task = Task(
            probabilities=probabilities,
            size=(frame.image.shape[0], frame.image.shape[1]),
            seen=None,  # the CRF has done its part
            image=None,
            names=self.segmenter.class_names(options.classes),
            palette=self.segmenter.palette(options.classes),
            settings=options.crf_settings,
            label=self.out / plan.label,
            overlay=Path(),
            trust=trust,
            confidence=self.out / plan.confidence if options.confidence else None,
            abstain=options.abstain,
        )
        self.record(plan, finish_task(task))

    def overlay(self) -> Iterator[Bytes]:
        """The colours over each frame that has labels, read again from the clip and from disk: so an overlay is whole even after interruptions."""
        names, palette = self.segmenter.class_names(self.settings.classes), self.segmenter.palette(self.settings.classes)
        nothing = np.zeros((0, 0), dtype=np.float32)
        with open_video(self.plan.path) as video, suppress(VideoError):  # it was told at the first reading
            for frame in video.frames():
                if frame.number >= self.state.next:
                    break
                labels = read_index_image(self.out / frame_plan(self.plan, frame.number, self.out).label).astype(np.uint8)
                yield Segmentation(frame.image, labels, nothing, names, palette).overlay()
                self.progress(f"overlay of {self.plan.name}", frame.number + 1, self.state.next)


def refined(probabilities: Floats, seen: Bytes, settings: CrfSettings, crf: bool, engine: str = "auto") -> Floats:
    """Probabilities (K + 1, h, w) of the patch grid at the size of ``seen`` (H, W, 3), after the CRF if asked for. Runs in worker processes."""
    return refine_patches(probabilities, seen, settings, engine) if crf else upsample_probabilities(probabilities, (seen.shape[0], seen.shape[1]))
