"""Video: how much labels flicker and whether steadiness costs accuracy; what a V-JEPA run predicts and knows of clips it has not seen.

    python benchmarks/video.py steady --clips FOLDER [--model default] [--frames 48] [--cache FOLDER]
    python benchmarks/video.py drive --data FOLDER/camvid --model street.safetensors
    python benchmarks/video.py vjepa --state FILE.part --train FOLDER --held FOLDER

``steady`` labels clips frame by frame and steadily with one segmenter, and measures flicker twice: along the flow that the method itself
follows, and along Farnebäck's, which it never sees. ``drive`` takes the frames of a CamVid split, in order, for one clip at 15 frames a second and scores both
label maps against the ground truth. ``vjepa`` takes the checkpoint of a run: the masked-prediction L1 on held-out clips beside copying the mean of the
seen tokens (of the same clip) and the mean of all clips; an attentive probe that tells clips in order from shuffled ones, and
whether the error of prediction tells them apart, both trained and at the start.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import numpy.typing as npt

from stego_app.labelling.clip import refined
from stego_app.segmentation import decide, reduced_image
from stego_app.video.flicker import Flicker
from stego_app.video.flow import Flow, checked_flow, dis_flow, grey
from stego_app.video.reading import find_videos, open_video
from stego_app.video.steady import Steady

Bytes = npt.NDArray[np.uint8]
Seen = tuple[float, Bytes, npt.NDArray[np.float32]]
DRIVE_FPS = 15.0


def farneback_flow(previous: Bytes, current: Bytes) -> Flow:
    """Another flow than the method's, to measure with."""
    options = (0.5, 4, 15, 3, 7, 1.5, 0)
    return checked_flow(cv2.calcOpticalFlowFarneback(current, previous, None, *options), cv2.calcOpticalFlowFarneback(previous, current, None, *options))


@dataclass
class Compared:
    """Flicker of both ways, along both flows."""

    frames: int = 0
    alone: tuple[Flicker, Flicker] = field(default_factory=lambda: (Flicker(), Flicker()))
    steady: tuple[Flicker, Flicker] = field(default_factory=lambda: (Flicker(), Flicker()))

    def row(self, name: str) -> str:
        """A row of the table."""
        own, other = ((100 * a.share, 100 * s.share) for a, s in zip(self.alone, self.steady, strict=True))
        ratios = [s / a if a else float("nan") for a, s in (own, other)]
        return f"| {name} | {self.frames} | {own[0]:.2f} | {own[1]:.2f} | {ratios[0]:.2f} | {other[0]:.2f} | {other[1]:.2f} | {ratios[1]:.2f} |"


HEAD = "| clip | frames | alone % | steady % | ratio | alone %, Farnebäck | steady % | ratio |\n|---|---|---|---|---|---|---|---|"


def compare(frames: Iterable[Seen], seconds: float) -> Iterator[tuple[Compared, npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """For each frame what is known so far, its own probabilities, and the steady ones."""
    known, state = Compared(), Steady(seconds)
    before: tuple[Bytes, Bytes] | None = None
    for time, seen, probabilities in frames:
        looks = grey(seen)
        flows = None if state.grey is None else (dis_flow(state.grey, looks), farneback_flow(state.grey, looks))
        mean = state.step(probabilities, looks, time, flows[0] if flows else None)
        labels = (probabilities.argmax(0).astype(np.uint8), mean.argmax(0).astype(np.uint8))
        if before is not None and flows is not None:
            for flow, alone, steady in zip(flows, known.alone, known.steady, strict=True):
                alone.add(before[0], labels[0], flow)
                steady.add(before[1], labels[1], flow)
        before = labels
        known.frames += 1
        yield known, probabilities, mean


def seen_frames(segmenter: Any, images: Iterable[tuple[float, Bytes]], cache: Path | None) -> Iterator[Seen]:
    """Each frame at the CRF's size with its probabilities after the CRF, as `stego label` makes them; kept in ``cache`` as half floats if given."""
    from stego_app.crf import CrfSettings

    if cache is not None and cache.is_file():
        with np.load(cache) as kept:
            yield from zip(kept["times"].tolist(), kept["seen"], (one.astype(np.float32) for one in kept["probabilities"]), strict=True)
        return
    made: list[Seen] = []
    for time, image in images:
        seen = reduced_image(image, CrfSettings())
        probabilities = refined(segmenter.class_probabilities([image])[0], seen, CrfSettings(), True)
        if cache is not None:
            made.append((time, seen, probabilities.astype(np.float16)))  # type: ignore[arg-type]
        yield time, seen, probabilities
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, times=[one[0] for one in made], seen=[one[1] for one in made], probabilities=[one[2] for one in made])


def steady(options: argparse.Namespace) -> None:
    """The table of clips."""
    from stego_app.segmenter import Segmenter

    segmenter = Segmenter.load(options.model)
    print(HEAD, flush=True)
    totals = Compared()
    for path in (one for folder in options.clips for one in find_videos(folder)):
        cache = options.cache / f"{path.name}.npz" if options.cache else None
        with open_video(path) as video:
            images = ((frame.seconds, frame.image) for frame in islice(video.frames(), options.frames))
            last = deque(compare(seen_frames(segmenter, images, cache), options.seconds), maxlen=1).pop()[0]
        print(last.row(path.name), flush=True)
        totals.frames += last.frames
        for mine, its in zip((*totals.alone, *totals.steady), (*last.alone, *last.steady), strict=True):
            mine.changed += its.changed
            mine.counted += its.counted
    print(totals.row("all pixels"), flush=True)


def drive(options: argparse.Namespace) -> None:
    """CamVid's frames in order, against the ground truth."""
    from stego_app.data.camvid import open_camvid
    from stego_app.evaluation.scores import hungarian_scores
    from stego_app.segmenter import Segmenter

    segmenter = Segmenter.load(options.model)
    dataset = open_camvid(options.data, options.split)
    classes = len(segmenter.class_names())
    histograms = [np.zeros((classes, len(dataset.class_names or ())), dtype=np.int64) for _ in range(2)]
    images = ((number / DRIVE_FPS, dataset.read_image(sample)) for number, sample in enumerate(dataset.samples))
    cache = options.cache / f"camvid-{options.split}-{Path(options.model).stem}.npz" if options.cache else None
    known = Compared()
    for sample, (known, *both) in zip(  # noqa: B007  # it is printed at the end
        dataset.samples, compare(seen_frames(segmenter, images, cache), options.seconds), strict=True
    ):
        truth = dataset.read_label(sample)
        for histogram, probabilities in zip(histograms, both, strict=True):
            labels = decide(probabilities, (truth.shape[0], truth.shape[1]))[0]
            counted = (truth != 255) & (labels < classes)
            np.add.at(histogram, (labels[counted], truth[counted]), 1)
    print(f"{HEAD}\n{known.row(f'camvid {options.split}')}\n\n| labels | mIoU | accuracy |\n|---|---|---|")
    for name, histogram in zip(("frame by frame", "steady"), histograms, strict=True):
        scores = hungarian_scores(histogram, dataset.class_names or ())
        print(f"| {name} | {scores.miou:.2f} | {scores.accuracy:.2f} |")


def vjepa(options: argparse.Namespace) -> None:
    """What a run predicts and knows of clips that it was not trained on."""
    from benchmarks.vjepa_probe import held_out_scores

    for line in held_out_scores(options.state, options.train, options.held, options.seed):
        print(line, flush=True)


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    ways = parser.add_subparsers(required=True)
    clips, camvid, run = ways.add_parser("steady"), ways.add_parser("drive"), ways.add_parser("vjepa")
    clips.add_argument("--clips", type=Path, nargs="+", required=True)
    clips.add_argument("--frames", type=int, default=48)
    camvid.add_argument("--data", type=Path, required=True)
    camvid.add_argument("--split", default="val")
    for one, model in ((clips, "default"), (camvid, None)):
        one.add_argument("--model", default=model, required=model is None)
        one.add_argument("--cache", type=Path)
        one.add_argument("--seconds", type=float, default=0.3)
    run.add_argument("--state", type=Path, required=True)
    run.add_argument("--train", type=Path, required=True)
    run.add_argument("--held", type=Path, required=True)
    run.add_argument("--seed", type=int, default=0)
    for one, function in ((clips, steady), (camvid, drive), (run, vjepa)):
        one.set_defaults(function=function)
    options = parser.parse_args()
    options.function(options)


if __name__ == "__main__":
    main()
