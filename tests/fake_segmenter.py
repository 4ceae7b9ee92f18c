"""A segmenter that needs no network: its fine clusters are cells of the colour cube, its tree joins near colours.

Classes, names, colours and edits come from the real class table, so that only the picture's understanding is fake.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.cluster.hierarchy import linkage

from models.errors import StegoError
from stego_app.classes import IGNORED, ClassTable, class_table, split_in_two
from stego_app.confidence.agreement import MissingConfidenceError
from stego_app.edits import Edit, Ignore, Merge, Recolour, Rename, Split, checked_name, edits_to_json, parse_color

LEAVES = 27  # three levels of red, green and blue
SHARES = np.linspace(2, 1, LEAVES) / np.linspace(2, 1, LEAVES).sum()


# Near colours are joined first; the slight stretch of the axes leaves no ties.
MERGES = linkage(np.indices((3, 3, 3)).reshape(3, -1).T * [1.0, 1.1, 1.23], "average")[:, :2].astype(np.int64)


@dataclass(frozen=True)
class FakeEncoded:
    image: npt.NDArray[np.uint8]
    leaves: npt.NDArray[np.int64]

    @property
    def grid(self) -> tuple[int, int]:
        """Patches of about 8 pixels."""
        return max(1, self.image.shape[0] // 8), max(1, self.image.shape[1] // 8)

    @property
    def tokens(self) -> npt.NDArray[np.float32]:
        """(h*w, 4): the mean colour of each patch less grey, and a small constant, so that no token is zero."""
        means = np.asarray(Image.fromarray(self.image).resize(self.grid[::-1], Image.Resampling.BOX), np.float32).reshape(-1, 3)
        return np.hstack([means / 255 - 0.5, np.full((len(means), 1), 0.05, np.float32)])


@dataclass(frozen=True)
class FakeSegmentation:
    labels: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.float32]
    names: list[str]
    palette: npt.NDArray[np.uint8]
    image: npt.NDArray[np.uint8]
    has_confidence: bool = True
    kept: npt.NDArray[np.float32] | None = None

    @property
    def confidence(self) -> npt.NDArray[np.float32]:
        """0.9 for the first class, 0.1 less for each further one, never below 0.1; 0 for ignored."""
        if not self.has_confidence:
            raise MissingConfidenceError
        if self.kept is not None:
            return self.kept
        return np.where(self.labels == IGNORED, 0, np.maximum(0.1, 0.9 - 0.1 * self.labels)).astype(np.float32)

    @property
    def image_confidence(self) -> float | None:
        known = self.confidence[self.labels != IGNORED]
        return float(known.mean()) if known.size else None

    def class_confidence(self) -> dict[int, float]:
        return {int(label): float(self.confidence[self.labels == label].mean()) for label in np.unique(self.labels) if label != IGNORED}

    def abstaining(self, threshold: float) -> FakeSegmentation:
        labels = np.where(self.confidence < threshold, np.uint8(IGNORED), self.labels)
        return replace(self, labels=labels, kept=self.confidence)

    def overlay(self, alpha: float = 0.5, fade: float = 0.0) -> npt.NDArray[np.uint8]:
        colors = np.vstack([self.palette, np.zeros((256 - len(self.palette), 3), np.uint8)])[self.labels]
        strength = alpha * (1 - fade * (1 - self.confidence[..., None])) if fade else alpha
        mixed = (1 - strength) * self.image + strength * colors
        return np.where((self.labels == IGNORED)[..., None], self.image, mixed).astype(np.uint8)

    def areas(self) -> list[dict[str, Any]]:
        counts = np.bincount(self.labels.ravel(), minlength=256)
        return [
            {
                "label": label,
                "name": name,
                "color": "#{:02x}{:02x}{:02x}".format(*self.palette[label]),
                "pixels": int(counts[label]),
                "share": float(counts[label] / self.labels.size),
            }
            for label, name in sorted(enumerate(self.names), key=lambda item: -counts[item[0]])
            if counts[label]
        ]

    def to_index_png(self) -> bytes:
        picture = Image.fromarray(self.labels, "P")
        picture.putpalette(self.palette.tobytes())
        buffer = BytesIO()
        picture.save(buffer, "PNG", bits=8)
        return buffer.getvalue()

    def to_overlay_png(self, alpha: float = 0.5, fade: float = 0.0) -> bytes:
        return self._written(alpha, fade, "PNG")

    def to_overlay_jpeg(self, alpha: float = 0.5, *, fade: float = 0.0) -> bytes:
        return self._written(alpha, fade, "JPEG")

    def _written(self, alpha: float, fade: float, kind: str) -> bytes:
        buffer = BytesIO()
        Image.fromarray(self.overlay(alpha, fade)).save(buffer, kind)
        return buffer.getvalue()


@dataclass
class FakeSegmenter:
    """See the module. ``on_encode`` is called before each encoding: a test can count, block or fail there. ``batches``: sizes asked for together."""

    edits: tuple[Edit, ...] = ()
    default_classes: int = 9
    max_classes: int = LEAVES
    has_confidence: bool = True
    on_encode: Callable[[], None] = field(default=lambda: None)
    lock: threading.Lock = field(default_factory=threading.Lock)
    batches: list[int] = field(default_factory=list)

    def table(self, classes: int | None = None) -> ClassTable:
        count = self.default_classes if classes is None else classes
        if not 1 <= count <= LEAVES:
            raise StegoError(f"classes {count}: expected 1 to {LEAVES}")
        return class_table(MERGES, SHARES, self.edits, count)

    def encode(self, image: npt.NDArray[np.uint8]) -> FakeEncoded:
        self.on_encode()
        levels = image.astype(np.int64) * 3 // 256
        return FakeEncoded(image, levels @ np.array([9, 3, 1]))

    def encode_many(self, images: Sequence[npt.NDArray[np.uint8]], *, flip: bool = False) -> list[FakeEncoded]:
        self.batches.append(len(images))
        return [self.encode(image[:, ::-1][:, ::-1] if flip else image) for image in images]

    def codes(self, encoded: FakeEncoded) -> npt.NDArray[np.float32]:
        """Which colours are strong, without how strong."""
        return np.sign(encoded.tokens)

    def decode(self, encoded: FakeEncoded, *, classes: int | None = None, crf: float = True) -> FakeSegmentation:
        table = self.table(classes)
        labels = table.leaf_to_label[encoded.leaves].astype(np.uint8)
        scores = np.full(labels.shape, 0.9 if crf else 0.7, np.float32)
        return FakeSegmentation(labels, scores, table.names, table.palette, encoded.image, self.has_confidence)

    def __call__(self, image: npt.NDArray[np.uint8], *, classes: int | None = None, crf: bool = True, flip: bool = False) -> FakeSegmentation:
        return self.decode(self.encode(image[:, ::-1][:, ::-1] if flip else image), classes=classes, crf=crf)

    def info(self) -> dict[str, Any]:
        return {"name": "fake", "backbone": {"name": "none"}, "names": self.table().names, "edits": len(self.edits)}

    def rename(self, leaves: Iterable[int], name: str) -> FakeSegmenter:
        return self._with(Rename(tuple(leaves), checked_name(name)))

    def recolour(self, leaves: Iterable[int], color: str) -> FakeSegmenter:
        return self._with(Recolour(tuple(leaves), parse_color(color)))

    def merge(self, groups: Iterable[Iterable[int]]) -> FakeSegmenter:
        return self._with(Merge(tuple(sorted({leaf for group in groups for leaf in group}))))

    def split(self, leaves: Iterable[int]) -> FakeSegmenter:
        first, second = split_in_two(MERGES, LEAVES, leaves)
        return self._with(Split((tuple(sorted(first)), tuple(sorted(second)))))

    def ignore(self, leaves: Iterable[int]) -> FakeSegmenter:
        return self._with(Ignore(tuple(leaves)))

    def undo(self, steps: int = 1) -> FakeSegmenter:
        if steps > len(self.edits):
            raise StegoError(f"undo {steps}: there are only {len(self.edits)} edits to take back")
        return replace(self, edits=self.edits[: len(self.edits) - steps])

    def save(self, path: str | Path) -> None:
        Path(path).write_text(json.dumps(edits_to_json(self.edits)))

    def _with(self, edit: Edit) -> FakeSegmenter:
        return replace(self, edits=(*self.edits, edit))


@dataclass
class ChangingCatalog:
    """One segmenter, called "default", that a test may change as another program does."""

    segmenter: FakeSegmenter
    default: str = "default"

    def names(self) -> list[str]:
        return [self.default]

    def get(self, name: str | None = None) -> FakeSegmenter:
        assert name in (None, self.default)
        return self.segmenter
