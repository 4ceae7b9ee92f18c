"""What the dense CRF gives where labels are known: by the authors' C++ on every pixel and for all classes, and as `stego label` does it.

    python benchmarks/crf_quality.py --data CAMVID [--count 20] [--split train]

The middle square of evenly chosen frames at 448², the embedded segmenter's 27 classes, matched to the data's by their overlap on these frames.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from benchmarks.crf import square
from benchmarks.speed.crf import CLASSES, SIDE
from benchmarks.speed.refinement import labels_as_labelling_does, labels_by_reference
from stego_app.crf import available_engines
from stego_app.data import open_dataset
from stego_app.data.dataset import evenly
from stego_app.evaluation import accumulate, hungarian_scores, majority_scores
from stego_app.images import read_image
from stego_app.segmentation import decide
from stego_app.segmenter import Segmenter

WAYS = {
    "no CRF": lambda photo, rough: decide(rough, photo.shape[:2])[0],
    "pydensecrf2, every pixel and class": labels_by_reference,
    "ours, as `stego label` does it": labels_as_labelling_does,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--split", default="train")
    options = parser.parse_args()
    if "pydensecrf" not in available_engines():
        sys.exit("pydensecrf2 is not installed: uv sync --extra crf")
    dataset = open_dataset(options.data, split=options.split, layout="camvid")
    names = tuple(dataset.class_names or ())
    segmenter = Segmenter.load("default", device="cpu")
    counts = {way: np.zeros((CLASSES, len(names)), dtype=np.int64) for way in WAYS}
    for sample in evenly(dataset.labelled, options.count):
        photo = square(read_image(sample.image), SIDE)
        label = square(dataset.read_label(sample), SIDE, cv2.INTER_NEAREST)
        rough = segmenter.probabilities(segmenter.encode(photo), classes=CLASSES)
        for way, labels in WAYS.items():
            counts[way] += accumulate(labels(photo, rough), label, CLASSES, len(names))
    print(f"{options.count} frames of {options.split}\n\n| | Hungarian, mIoU / accuracy | many to one, mIoU / accuracy |\n|---|---|---|")
    for way, table in counts.items():
        cells = [f"{scores.miou:.2f} / {scores.accuracy:.2f}" for scores in (hungarian_scores(table, names), majority_scores(table, names))]
        print(f"| {way} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
