"""Linear probes on features, on codes and on detailed codes, trained and scored in one pass over a set."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from models.errors import StegoError
from stego_app.evaluation.checkpoint import Arrays, from_text_array, text_array
from stego_app.evaluation.histogram import accumulate
from stego_app.evaluation.linear_probe import LinearProbe, ProbePoints
from stego_app.progress import Progress

PROBED = ("features", "codes", "detailed_codes")
_PARTS = ("mean", "scale", "weight", "bias")


class Probes:
    """Takes points of the first ``train`` images; fits when the first other image comes; scores on that and all after it."""

    def __init__(self, train: int, classes: int, seed: int, progress: Progress) -> None:
        self.classes, self.progress = classes, progress
        self.points = {what: ProbePoints(train, classes, seed) for what in PROBED}
        self.fitted: dict[str, LinearProbe] | None = None
        self.counts: dict[str, npt.NDArray[np.int64]] = {}
        self.problem: str | None = None
        self.trained = self.scored = 0
        """Images taken so far: those that cannot be read never come."""

    def see(self, tokens: Mapping[str, torch.Tensor], grid: tuple[int, int], label: npt.NDArray[np.uint8], *, training: bool) -> None:
        """Take an image: ``tokens`` has (h*w, C) for each of `PROBED`, on ``grid`` (h, w); label (H, W)."""
        if training:
            self.trained += 1
            for what, points in self.points.items():
                points.add(tokens[what], grid, label)
            return
        self.scored += 1
        if self.fitted is None:
            self._fit()
        for what, probe in (self.fitted or {}).items():
            said = probe.predict(tokens[what], grid, (label.shape[0], label.shape[1]))
            self.counts[what] = self.counts.get(what, 0) + accumulate(said, label, self.classes, self.classes)

    def _fit(self) -> None:
        self.fitted = {}
        try:
            for number, (what, points) in enumerate(self.points.items()):
                self.progress("fitting linear probes", number, len(PROBED))
                self.fitted[what] = points.fit()
            self.progress("fitting linear probes", len(PROBED), len(PROBED))
        except StegoError as error:
            self.problem = str(error).removeprefix("linear probe: ")
        self.points = {}

    def notes(self) -> list[str]:
        """How the probes were trained, or why there are none."""
        if not self.counts:
            return [f"No linear probe: {self.problem or 'none of the images to score it on could be read'}."]
        return [f"The linear probes were trained with labels on {self.trained} of these images, every other one, and scored on the other {self.scored}."]

    def state(self) -> Arrays:
        """Everything learnt so far."""
        arrays: Arrays = {"fit": text_array([self.fitted is not None, self.problem, self.trained, self.scored])}
        for what, points in self.points.items():
            tokens, labels, lengths = points.state()
            arrays |= {f"{what}.tokens": tokens.numpy(), f"{what}.labels": labels.numpy(), f"{what}.lengths": np.array(lengths, dtype=np.int64)}
        for what, probe in (self.fitted or {}).items():
            arrays |= {f"{what}.{part}": getattr(probe, part).numpy() for part in _PARTS}
        return arrays | {f"{what}.counts": counts for what, counts in self.counts.items()}

    def restore(self, arrays: Arrays) -> None:
        """Go on from `state`."""
        fitted, self.problem, self.trained, self.scored = from_text_array(arrays["fit"])
        if not fitted:
            for what, points in self.points.items():
                tokens, labels = (torch.from_numpy(arrays[f"{what}.{part}"]) for part in ("tokens", "labels"))
                points.restore(tokens, labels, arrays[f"{what}.lengths"].tolist())
            return
        self.points = {}
        self.fitted = {what: LinearProbe(*(torch.from_numpy(arrays[f"{what}.{part}"]) for part in _PARTS)) for what in PROBED if f"{what}.mean" in arrays}
        self.counts = {what: arrays[f"{what}.counts"] for what in PROBED if f"{what}.counts" in arrays}
