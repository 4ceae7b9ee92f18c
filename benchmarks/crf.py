"""The dense CRF beside the authors' C++ (pydensecrf2): time, ratio and agreement, in one run on one core.

    python benchmarks/crf.py [--images FOLDER] [--repeats 3]

Without a folder it takes scikit-learn's two sample photographs. Class probabilities are rough ones on 14-pixel patches:
likeness in colour and place to random patches. Both engines get the same classes, so ``ratio`` is that of the methods;
the last columns are what `refine` takes when most classes are absent, as on real images, against the C++ with all.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

# One thread each, and before NumPy is loaded.
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import numpy.typing as npt

from stego_app.crf import CrfSettings, available_engines, refine
from stego_app.crf import engine as crf_engine
from stego_app.images import find_images, read_image

Floats = npt.NDArray[np.float32]
SIDES, CLASSES = (224, 320, 448), (11, 27)


def load(folder: Path | None, count: int) -> list[npt.NDArray[np.uint8]]:
    """Photographs to measure on."""
    if folder is not None:
        paths = find_images(folder)
        return [read_image(path) for path in paths[:: max(1, len(paths) // count)][:count]]
    from sklearn.datasets import load_sample_images

    return list(load_sample_images().images)


def square(image: npt.NDArray[np.uint8], side: int, interpolation: int | None = None) -> npt.NDArray[np.uint8]:
    """The middle of an image (H, W, 3) as (side, side, 3), or of a label image (H, W) as (side, side), which wants cv2.INTER_NEAREST."""
    edge = min(image.shape[:2])
    top, left = (image.shape[0] - edge) // 2, (image.shape[1] - edge) // 2
    crop = image[top : top + edge, left : left + edge]
    smooth = cv2.INTER_AREA if edge > side else cv2.INTER_CUBIC
    resized: npt.NDArray[np.uint8] = cv2.resize(crop, (side, side), interpolation=smooth if interpolation is None else interpolation)
    return resized


def rough_probabilities(image: npt.NDArray[np.uint8], classes: int, sharpness: float, seed: int) -> Floats:
    """(K, H, W) softmax of minus squared distance, in colour and place, to random patches of the image."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 14, height // 14), interpolation=cv2.INTER_AREA).astype(np.float64) / 80
    places = np.stack(np.mgrid[0 : small.shape[0], 0 : small.shape[1]], axis=-1) / small.shape[0]
    features = np.concatenate([small, places], axis=-1).reshape(-1, 5)
    centres = features[np.random.default_rng(seed).choice(len(features), classes)]
    logits = -sharpness * ((features[:, None] - centres) ** 2).sum(-1)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = (p / p.sum(axis=1, keepdims=True)).T.reshape(classes, *small.shape[:2])
    return np.stack([cv2.resize(layer, (width, height)) for layer in p]).astype(np.float32)


def seconds(function: Callable[[], Floats], repeats: int) -> tuple[float, Floats]:
    """The shortest processor time of some calls, which other work on the machine disturbs least, and the result."""
    best, result = np.inf, None
    for _ in range(repeats):
        started = time.process_time()
        result = function()
        best = min(best, time.process_time() - started)
    assert result is not None
    return best, result


def measure(images: list[npt.NDArray[np.uint8]], side: int, classes: int, repeats: int) -> str:
    """One row of the table."""
    settings = CrfSettings()
    ours, theirs, dropped, agreement, difference, kept, left = [], [], [], [], [], [], []
    for seed, photo in enumerate(images):
        image = square(photo, side)
        p = rough_probabilities(image, classes, 6, seed)
        crf_engine.ABSENT = 0.0
        own, refined = seconds(lambda image=image, p=p: refine(image, p, settings), repeats)
        other, reference = seconds(lambda image=image, p=p: refine(image, p, settings, engine="pydensecrf"), repeats)
        ours.append(own)
        theirs.append(other)
        agreement.append((refined.argmax(0) == reference.argmax(0)).mean())
        difference.append(np.abs(refined - reference).mean())
        # Real images hold a few classes of all: the rest gets no more than a trace.
        few = p.copy()
        few[max(2, classes // 4) :] *= 1e-3
        few /= few.sum(axis=0)
        crf_engine.ABSENT = ABSENT
        fast, refined = seconds(lambda image=image, few=few: refine(image, few, settings), repeats)
        crf_engine.ABSENT = 0.0
        slow, reference = seconds(lambda image=image, few=few: refine(image, few, settings, engine="pydensecrf"), 1)
        dropped.append(fast)
        left.append(slow)
        kept.append((refined.argmax(0) == reference.argmax(0)).mean())
    ratio, gain = sum(theirs) / sum(ours), sum(left) / sum(dropped)
    return (
        f"| {side}² | {classes} | {np.mean(theirs) * 1e3:.0f} | {np.mean(ours) * 1e3:.0f} | {ratio:.2f} | {min(agreement):.2%} | {np.mean(difference):.1e} "
        f"| {np.mean(dropped) * 1e3:.0f} | {gain:.1f} | {min(kept):.2%} |"
    )


ABSENT = crf_engine.ABSENT


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of photographs")
    parser.add_argument("--count", type=int, default=4, help="how many of them")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if "pydensecrf" not in available_engines():
        sys.exit("pydensecrf2 is not installed: uv sync --extra crf")
    cv2.setNumThreads(1)
    images = load(options.images, options.count)
    print(
        f"{len(images)} images, best of {options.repeats}, one thread, processor time; {platform.processor() or platform.machine()}, {os.cpu_count()} cores\n"
    )
    print("| size | classes | pydensecrf2 ms | ours ms | ratio | agreement (worst) | mean difference | absent dropped, ms | ratio | agreement (worst) |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for side in SIDES:
        for classes in CLASSES:
            print(measure(images, side, classes, options.repeats), flush=True)


if __name__ == "__main__":
    main()
