"""A folder labelled, beside one image after another."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.speed.crf import with_all_classes
from benchmarks.speed.photos import copies
from benchmarks.speed.row import Row, race
from stego_app.crf import available_engines
from stego_app.images import read_image
from stego_app.labelling.folder import label_images
from stego_app.labelling.names import plan_inputs
from stego_app.segmenter import Segmenter

COUNT = 10


def labelling(images: Path | None, rounds: int) -> Row | str:
    """The default segmenter with the CRF: what `stego label` does, against float32, the C++ CRF on all classes, and no overlap; by the wall, all cores."""
    if "pydensecrf" not in available_engines():
        return "pydensecrf2 is not installed: uv sync --extra crf"
    ours, plain = Segmenter.load("default", device="cpu", runtime="auto"), Segmenter.load("default", device="cpu", precision="fp32")
    with tempfile.TemporaryDirectory() as folder:
        paths = copies(images, COUNT, Path(folder) / "photos")
        turns = iter(range(1_000))

        def whole() -> Path:
            out = Path(folder) / f"out-{next(turns)}"
            label_images(plan_inputs([Path(folder) / "photos"], out), out, ours)
            return out

        def one_by_one() -> Path:
            out = Path(folder) / f"plain-{next(turns)}"
            out.mkdir()
            for path in paths:
                image = read_image(path)
                rough = plain.probabilities(plain.encode(image))[:-1]
                full = np.stack([cv2.resize(layer, (image.shape[1], image.shape[0])) for layer in rough])
                Image.fromarray(with_all_classes(image, full).argmax(0).astype(np.uint8)).save(out / f"{path.stem}.png")
            return out

        laps = race({"ours": whole, "plain": one_by_one}, rounds, warm=False)
        mine, theirs = Path(str(laps["ours"].result)) / "labels", Path(str(laps["plain"].result))
        same = [(np.asarray(Image.open(mine / f"{path.stem}.png")) == np.asarray(Image.open(theirs / f"{path.stem}.png"))).mean() for path in paths]
    what = f"{COUNT} photos, read to written, CRF included, runtime {ours.runtime or 'torch'} / torch float32, C++ CRF, one after another"
    return Row("labelling", what, laps["ours"].wall, laps["plain"].wall, 4, f"{100 * float(np.mean(same)):.1f} % equal labels", "wall")
