"""Our dense CRF beside the authors' C++."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.crf import load, rough_probabilities, square
from benchmarks.speed.row import Lap, Row, race
from stego_app.crf import available_engines, engine, refine

SIDE, CLASSES, HELD = 448, 27, 7


def crf(images: Path | None, rounds: int) -> Row | str:
    """One photo with probabilities of which most classes are hardly there, as on real ones; the C++ gets all of them, as the reference calls it."""
    if "pydensecrf" not in available_engines():
        return "pydensecrf2 is not installed: uv sync --extra crf"
    image = square(load(images, 1)[0], SIDE)
    probabilities = rough_probabilities(image, CLASSES, 6, seed=0)
    probabilities[HELD:] *= 1e-3
    probabilities /= probabilities.sum(axis=0)
    laps, equal = beside_cpp(image, probabilities, "auto", rounds)
    what = f"one photo at {SIDE}², {HELD} of {CLASSES} classes in it / pydensecrf2 with all classes"
    return Row("CRF", what, laps["ours"].processor, laps["C++"].processor, 5, equal)


def beside_cpp(image: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32], engine: str, rounds: int) -> tuple[dict[str, Lap], str]:
    """The laps of "ours", by ``engine``, and of "C++" with all classes; and how many labels are equal, in words."""
    laps = race({"ours": lambda: refine(image, probabilities, engine=engine), "C++": lambda: with_all_classes(image, probabilities)}, rounds)
    ours, theirs = (np.asarray(laps[name].result).argmax(0) for name in ("ours", "C++"))
    return laps, f"{100 * (ours == theirs).mean():.2f} % equal labels"


def with_all_classes(image: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The C++ CRF, no class left out, however absent."""
    absent, engine.ABSENT = engine.ABSENT, 0.0
    try:
        return refine(image, probabilities, engine="pydensecrf")
    finally:
        engine.ABSENT = absent
