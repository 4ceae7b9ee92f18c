"""The front door: load a segmenter, give it images, get segments with the same classes in every image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.errors import StegoError
from stego_app.classes import IGNORED, ClassTable, class_table, split_in_two
from stego_app.clusters import sum_parts
from stego_app.confidence.agreement import MissingConfidenceError
from stego_app.confidence.maps import Trust, agreement_maps
from stego_app.crf import CrfSettings
from stego_app.edits import Edit, Ignore, Merge, Recolour, Rename, Split, checked_name, parse_color
from stego_app.encoder import Encoded, encode_images
from stego_app.progress import Progress, silent
from stego_app.runtime.choice import choose
from stego_app.runtime.opening import AUTO, check_request, log, open_tokens, runtime_device, runtime_precision
from stego_app.segmentation import Segmentation, finish
from stego_app.segmenter_file import SegmenterModel, default_segmenter_path, read_segmenter, save_segmenter


class Segmenter:
    """Images in, class maps out. Immutable: every edit gives a new segmenter that shares the networks."""

    def __init__(
        self,
        model: SegmenterModel,
        *,
        device: str = "auto",
        precision: str = "auto",
        name: str = "segmenter",
        runtime: str | None = None,
        tell: Callable[[str], None] = log.info,
    ) -> None:
        self.model = model
        self.name = name
        check_request(runtime, precision)
        self.device = runtime_device(runtime, device)
        model.backbone.to(self.device).eval()
        if runtime == AUTO:  # beside a CPU's, there is one runtime for a device
            runtime = choose(model, tell).runtime if self.device.type == "cpu" else None
        self.runtime = runtime
        self.precision = runtime_precision(self.runtime, precision, self.device)
        self._tokens = open_tokens(self.runtime, model.backbone, self.precision, tell)
        self._clusters = model.clusters
        self._table = lru_cache(maxsize=64)(self._make_table)

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "default",
        *,
        device: str = "auto",
        precision: str = "auto",
        runtime: str | None = None,
        tell: Callable[[str], None] = log.info,
    ) -> Segmenter:
        """The embedded general segmenter ("default"), or the one in a file.

        Args:
            name_or_path: "default", or a file.
            device: "auto", "cpu", "cuda" or "mps".
            precision: of the backbone: "fp32", "bf16", or "auto" for bf16 where the processor multiplies it.
            runtime: "torch" (fp32), "torch-bf16", "onnx", "openvino", "int8", or "auto" for the fastest that keeps the labels; torch in
                ``precision`` if None. Graphs are exported once for each backbone, which takes up to a minute.
            tell: gets one line on what takes long and what "auto" has chosen.

        Raises:
            StegoError: no such file, or a file that is damaged or of another kind; a runtime that is unknown, not installed, or
                not for this device or network.
        """
        embedded = str(name_or_path) == "default"
        path = default_segmenter_path() if embedded else Path(name_or_path)
        name = "default" if embedded else path.stem
        check_request(runtime, precision)  # before a file is read for nothing
        return cls(read_segmenter(path), device=device, precision=precision, name=name, runtime=runtime, tell=tell)

    @classmethod
    def fit(
        cls,
        images: Sequence[Path],
        *,
        classes: int | None = None,
        resolution: int | None = None,
        backbone: str = "default",
        device: str = "auto",
        cache: Path | None = None,
        seed: int = 0,
        runtime: str | None = None,
        progress: Progress = silent,
        tell: Callable[[str], None] = log.info,
    ) -> Segmenter:
        """A segmenter whose classes are those of the image files given: features and closed-form clusters, no gradient step.

        Features for the fit are torch's; ``runtime`` (see `load`) is for what is labelled afterwards. ``resolution`` None is what the images ask
        for, and ``tell`` hears of it where that takes longer.

        Raises:
            StegoError: no readable image, or more classes asked for than the images can tell apart.
        """
        from stego_app.settings import load_settings
        from stego_app.training_run import TrainConfig, fit_clusters

        if not images:
            raise StegoError("no images to fit classes to; expected at least one")
        folder = images[0].parent
        given = {"data": folder, "resolution": resolution, "seed": seed, "device": device, "backbone": backbone, "classes": classes, "cache": cache}
        check_request(runtime, "auto")  # before minutes of work
        config = load_settings(TrainConfig, file=None, overrides=[], fields=given)
        return cls(fit_clusters(config, images, progress, tell), device=device, name=folder.name, runtime=runtime)

    # What it knows -----------------------------------------------------------------------------------------------

    @property
    def default_classes(self) -> int:
        """The number of parts into which the tree is cut unless another is asked for."""
        return self._clusters.classes

    @property
    def max_classes(self) -> int:
        """The finest granularity: the number of fine clusters."""
        return len(self.model.shares)

    @property
    def has_confidence(self) -> bool:
        """Whether the file holds what confidence is told from."""
        return self.model.agreement is not None

    @property
    def crf_engine(self) -> str:
        """Where the CRF runs (see `stego_app.crf.refine`): on the GPU if the backbone does, for processors cannot keep up with one."""
        return f"torch:{self.device}" if self.device.type == "cuda" else "auto"

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The person's changes, in order."""
        return self.model.edits

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change whenever the labels could: weights, clusters, edits, or 8-bit arithmetic."""
        digest = hashlib.sha256(self.model.backbone.fingerprint.encode())
        for name, tensor in sorted(self._clusters.to_tensors().items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        if self.model.agreement is not None:  # it decides where labels are withheld
            for name, array in sorted(self.model.agreement.to_arrays().items()):
                digest.update(name.encode() + array.tobytes())
        digest.update(json.dumps([self.model.settings.model_dump(), self.default_classes, repr(self.edits)]).encode())
        if self.runtime == "int8":  # the others agree with each other to within rounding
            digest.update(b"int8")
        return digest.hexdigest()[:16]

    def table(self, classes: int | None = None) -> ClassTable:
        """The classes at a granularity, with names, colours and the leaves they are made of.

        Raises:
            StegoError: ``classes`` is not between 1 and `max_classes`.
        """
        count = self.default_classes if classes is None else classes
        if not 1 <= count <= min(self.max_classes, IGNORED):
            raise StegoError(f"classes {count}: this segmenter has {self.max_classes} fine clusters; expected 1 to {min(self.max_classes, IGNORED)}")
        return self._table(count)

    def _make_table(self, classes: int) -> ClassTable:
        return class_table(self._clusters.merges, self.model.shares, self.edits, classes)

    def class_names(self, classes: int | None = None) -> list[str]:
        """Names in the order of labels."""
        return self.table(classes).names

    def palette(self, classes: int | None = None) -> npt.NDArray[np.uint8]:
        """Colours (K, 3) in the order of labels."""
        return self.table(classes).palette

    def info(self) -> dict[str, Any]:
        """What is known of this segmenter, ready for JSON."""
        spec = self.model.backbone.spec
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "backbone": {
                "name": self.model.backbone_name,
                "architecture": spec.architecture,
                "depth": spec.depth,
                "block": spec.block,
                "patch_size": spec.patch_size,
            },
            "classes": self.default_classes,
            "max_classes": self.max_classes,
            "names": self.class_names(),
            "resolution": self.model.settings.resolution,
            "runtime": self.runtime or "torch",
            "precision": self.precision,
            "edits": len(self.edits),
            "confidence": None if self.model.agreement is None else self.model.agreement.header(),
            "provenance": dict(self.model.provenance),
        }

    # Labelling ---------------------------------------------------------------------------------------------------

    def __call__(
        self,
        image: npt.NDArray[np.uint8],
        *,
        classes: int | None = None,
        crf: bool = True,
        flip: bool = False,
        resolution: int | None = None,
        window: int | None = None,
    ) -> Segmentation:
        """Segment one image.

        Args:
            image: (H, W, 3) uint8 RGB, of any size.
            classes: number of classes; the segmenter's own if None.
            crf: refine edges with a dense CRF.
            flip: average with the mirrored image.
            resolution: short side for the backbone, in pixels; the segmenter's own if None.
            window: side of overlapping windows in pixels, 0 for the whole image at once; the segmenter's own if None.

        Raises:
            StegoError: not such an array, or ``classes`` out of range.
        """
        return self.decode(self.encode(image, flip=flip, resolution=resolution, window=window), classes=classes, crf=crf)

    def batch(self, images: Sequence[npt.NDArray[np.uint8]], *, classes: int | None = None, crf: bool = True, flip: bool = False) -> list[Segmentation]:
        """Segment several images of any sizes; equal sizes share forward passes."""
        return [self.decode(encoded, classes=classes, crf=crf) for encoded in self.encode_many(images, flip=flip)]

    def encode(self, image: npt.NDArray[np.uint8], *, flip: bool = False, resolution: int | None = None, window: int | None = None) -> Encoded:
        """The backbone's part of the work, to be decoded at any granularity afterwards."""
        return self.encode_many([image], flip=flip, resolution=resolution, window=window)[0]

    def encode_many(
        self, images: Sequence[npt.NDArray[np.uint8]], *, flip: bool = False, resolution: int | None = None, window: int | None = None
    ) -> list[Encoded]:
        """`encode` for several images at once."""
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
                raise StegoError(f"image of shape {image.shape} and type {image.dtype}: expected (height, width, 3) of uint8")
        settings = self.model.settings
        return encode_images(
            self._tokens,
            images,
            resolution=settings.resolution if resolution is None else resolution,
            window=settings.window if window is None else window,
            flip=flip,
            brighten=settings.brighten,
        )

    def decode(self, encoded: Encoded, *, classes: int | None = None, crf: float = True) -> Segmentation:
        """Labels of an encoded image at a granularity; cheap beside `encode`, apart from the CRF.

        Args:
            encoded: from `encode`.
            classes: number of classes; the segmenter's own if None.
            crf: how strongly the dense CRF refines edges, 0 to 2: False or 0 for not at all, True or 1 for STEGO's weights.

        Raises:
            StegoError: ``classes`` or ``crf`` is out of range.
        """
        table = self.table(classes)
        if self.has_confidence:
            probabilities, trust = self.probabilities_and_trust(encoded, classes=classes)
        else:
            probabilities, trust = self.probabilities(encoded, classes=classes), None
        return finish(
            encoded.image,
            probabilities,
            names=table.names,
            palette=table.palette,
            crf=crf > 0,
            settings=CrfSettings().scaled(crf),
            engine=self.crf_engine,
            trust=trust,
        )

    def probabilities(self, encoded: Encoded, *, classes: int | None = None) -> npt.NDArray[np.float32]:
        """(K + 1, h, w) probabilities on the patch grid: one row a class in the order of labels, the last for ignored."""
        fine = self._clusters.fine_probabilities(self._clusters.fine_logits(encoded.tokens))
        return self._class_maps(fine, encoded.grid, classes)

    def probabilities_and_trust(self, encoded: Encoded, *, classes: int | None = None) -> tuple[npt.NDArray[np.float32], Trust]:
        """`probabilities` and how far they are to be trusted, with one pass of the head.

        Raises:
            MissingConfidenceError: the file does not hold what trust is told from.
        """
        if self.model.agreement is None:
            raise MissingConfidenceError
        fine = self._clusters.fine_probabilities(self._clusters.fine_logits(encoded.tokens))
        rows, count = self._rows(classes)
        trust = agreement_maps(_on_grid(fine, encoded.grid), self.model.agreement, rows, count)
        return self._class_maps(fine, encoded.grid, classes), trust

    def _class_maps(self, fine: torch.Tensor, grid: tuple[int, int], classes: int | None) -> npt.NDArray[np.float32]:
        return _on_grid(sum_parts(fine, *self._rows(classes)), grid)

    def _rows(self, classes: int | None) -> tuple[npt.NDArray[np.int64], int]:
        """Row (F,) of each fine cluster in `probabilities`, and how many rows there are."""
        table = self.table(classes)
        # Ignored leaves, whose label is larger than any class, share the last row.
        return np.minimum(table.leaf_to_label, len(table.classes)), len(table.classes) + 1

    def class_probabilities(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        *,
        classes: int | None = None,
        flip: bool = False,
        resolution: int | None = None,
        window: int | None = None,
    ) -> list[npt.NDArray[np.float32]]:
        """`probabilities` of several images, without keeping their tokens: what batch labelling needs."""
        encoded = self.encode_many(images, flip=flip, resolution=resolution, window=window)
        return [self.probabilities(item, classes=classes) for item in encoded]

    def class_probabilities_and_trust(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        *,
        classes: int | None = None,
        flip: bool = False,
        resolution: int | None = None,
        window: int | None = None,
    ) -> list[tuple[npt.NDArray[np.float32], Trust]]:
        """`probabilities_and_trust` of several images.

        Raises:
            MissingConfidenceError: see `probabilities_and_trust`.
        """
        encoded = self.encode_many(images, flip=flip, resolution=resolution, window=window)
        return [self.probabilities_and_trust(item, classes=classes) for item in encoded]

    def codes(self, encoded: Encoded) -> torch.Tensor:
        """The unit codes (h*w, E) of an encoded image."""
        return self._clusters.codes(encoded.tokens)

    def detailed_codes(self, encoded: Encoded) -> torch.Tensor:
        """The codes (h*w, E + D) of an encoded image, with what clusters do not need of its features: what to learn from, as a probe does."""
        return self._clusters.detailed_codes(encoded.tokens)

    # Editing -----------------------------------------------------------------------------------------------------

    def rename(self, leaves: Iterable[int], name: str) -> Segmenter:
        """Name the class made of ``leaves`` (see `ClassTable.leaves_of`)."""
        return self.edited(Rename(tuple(leaves), checked_name(name)))

    def recolour(self, leaves: Iterable[int], color: str) -> Segmenter:
        """Give the class made of ``leaves`` the colour ``#rrggbb``."""
        return self.edited(Recolour(tuple(leaves), parse_color(color)))

    def merge(self, groups: Iterable[Iterable[int]]) -> Segmenter:
        """Make one class of several, each given by its leaves.

        Raises:
            StegoError: fewer than two different classes.
        """
        parts = {tuple(group) for group in groups}
        if len(parts) < 2:
            raise StegoError("merge: expected two or more different classes")
        return self.edited(Merge(tuple(sorted({leaf for group in parts for leaf in group}))))

    def split(self, leaves: Iterable[int]) -> Segmenter:
        """Split the class made of ``leaves`` in two, where the tree joined it last."""
        first, second = split_in_two(self._clusters.merges, self.max_classes, leaves)
        return self.edited(Split((tuple(sorted(first)), tuple(sorted(second)))))

    def ignore(self, leaves: Iterable[int]) -> Segmenter:
        """Leave the class made of ``leaves`` out: its pixels get the label 255."""
        return self.edited(Ignore(tuple(leaves)))

    def undo(self, steps: int = 1) -> Segmenter:
        """Take back the latest edits.

        Raises:
            StegoError: there are fewer edits than that.
        """
        if steps > len(self.edits):
            raise StegoError(f"undo {steps}: there are only {len(self.edits)} edits to take back")
        return self._with(self.edits[: len(self.edits) - steps])

    def edited(self, edit: Edit) -> Segmenter:
        """This segmenter with one more edit."""
        return self._with((*self.edits, edit))

    def _with(self, edits: tuple[Edit, ...]) -> Segmenter:
        changed = copy(self)  # with the runtime as it is: an edit opens no graph again
        changed.model = self.model.with_edits(edits)
        changed._table = lru_cache(maxsize=64)(changed._make_table)
        return changed

    def save(self, path: str | Path) -> None:
        """Write the segmenter file, edits included, atomically."""
        save_segmenter(Path(path), self.model)


def _on_grid(values: torch.Tensor, grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Values (h*w, n) of an image's patches as maps (n, h, w)."""
    maps: npt.NDArray[np.float32] = values.T.reshape(-1, *grid).contiguous().numpy()
    return maps
