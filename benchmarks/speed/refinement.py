"""The CRF of a folder of photos as `stego label` does it, beside one call of the authors' C++ after another."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.crf import load, square
from benchmarks.speed.crf import CLASSES, SIDE, with_all_classes
from benchmarks.speed.row import Row, race
from stego_app.crf import CrfPool, CrfSettings, available_engines
from stego_app.segmentation import reduced_image, segment
from stego_app.segmenter import Segmenter

COUNT = 8
Labels = npt.NDArray[np.uint8]
Rough = npt.NDArray[np.float32]


def refinement(images: Path | None, rounds: int) -> Row | str:
    """Rough probabilities of the default segmenter to labels at full size: in worker processes, at the size that the CRF works at, without absent classes."""
    if "pydensecrf" not in available_engines():
        return "pydensecrf2 is not installed: uv sync --extra crf"
    segmenter = Segmenter.load("default", device="cpu")
    photos = [square(photo, SIDE) for photo in (load(images, COUNT) * COUNT)[:COUNT]]
    rough = [segmenter.probabilities(segmenter.encode(photo), classes=CLASSES) for photo in photos]
    with CrfPool() as pool:
        list(pool.run(labels_as_labelling_does, zip(photos, rough, strict=True)))  # workers import their libraries

        def ours() -> list[Labels]:
            return list(pool.run(labels_as_labelling_does, zip(photos, rough, strict=True)))

        laps = race({"ours": ours, "C++": lambda: [labels_by_reference(*pair) for pair in zip(photos, rough, strict=True)]}, rounds, warm=False)
        workers = pool.workers
    mine, theirs = (np.stack(laps[name].result) for name in ("ours", "C++"))  # type: ignore[call-overload]
    ways = f"as `stego label` does it, {workers} processes / pydensecrf2 at full size with all classes, one after another"
    what = f"{COUNT} photos at {SIDE}², {CLASSES} classes, {ways}"
    return Row("refinement", what, laps["ours"].wall / COUNT, laps["C++"].wall / COUNT, 5, f"{100 * (mine == theirs).mean():.1f} % equal labels", "wall")


def labels_as_labelling_does(photo: npt.NDArray[np.uint8], rough: Rough) -> Labels:
    """Labels (H, W) from probabilities (K + 1, h, w)."""
    settings = CrfSettings()
    return segment(rough, photo.shape[:2], seen=reduced_image(photo, settings), settings=settings)[0]


def labels_by_reference(photo: npt.NDArray[np.uint8], rough: Rough) -> Labels:
    """The same by the C++ on every pixel, for all classes."""
    full = np.stack([cv2.resize(layer, photo.shape[1::-1]) for layer in rough[:-1]])  # the last row is of ignored classes, which there are none of
    return with_all_classes(photo, full).argmax(0).astype(np.uint8)
