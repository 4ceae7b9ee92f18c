"""What a segmenter file keeps so that confidence can be told for new images: a table of transitions and a calibration curve.

The signal is *retention*: given a patch, how often do the patches of other images that look most like it get the class that
the patch gets? Retention between fine clusters is a small table measured once, at training; a class of any cut of the tree,
edited or not, is a set of columns of it. On street scenes and photographs it tells wrong pixels from right ones better than
the probability, margin or entropy of the classes does (see ``docs/results.md``): a wrong class is often a confident one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import StegoError

Floats = npt.NDArray[np.float32]

MISSING = "this segmenter file holds no table of agreement, from which confidence is told; train it again with `stego train` (on four images or more)"
"""Said wherever confidence is asked of a segmenter that cannot tell it."""


class MissingConfidenceError(StegoError):
    """Confidence was asked of a segmenter file that lacks what it takes."""

    def __init__(self) -> None:
        super().__init__(MISSING)


@dataclass(frozen=True)
class Reliability:
    """How well confidence met the agreement that was found, on images that the table and the curve were not learnt from.

    Attributes:
        pairs: patches that were compared with their partners in other images.
        agreement: mean rate of agreement.
        error: expected calibration error (Guo et al. 2017, equation 3): mean distance between confidence and agreement over
            ten bins of equal width, weighted by their patches.
    """

    pairs: int
    agreement: float
    error: float


@dataclass(frozen=True)
class Agreement:
    """Everything confidence needs besides the probabilities of fine clusters.

    Attributes:
        transitions: (F, F) float32, rows sum to 1: where the partners of patches of each fine cluster lie.
        scores: (n,) float32, increasing, in [0, 1]: knots of the calibration curve.
        rates: (n,) float32, never decreasing, in [0, 1]: the agreement found at each knot.
        reliability: see `Reliability`.

    Raises:
        StegoError: arrays that do not fit each other, or values out of range.
    """

    transitions: Floats
    scores: Floats
    rates: Floats
    reliability: Reliability

    def __post_init__(self) -> None:
        table, scores, rates = self.transitions, self.scores, self.rates
        square = table.ndim == 2 and len(table) == table.shape[-1] > 0
        # NaN fails every comparison, so what is asked for is asked for positively.
        rows = square and bool((table >= 0).all()) and bool((np.abs(table.sum(1) - 1) < 1e-3).all())
        curve = scores.ndim == 1 and scores.shape == rates.shape and len(scores) >= 2
        rising = curve and bool((np.diff(scores) > 0).all()) and bool((np.diff(rates) >= 0).all())
        if not (rows and rising and rates[0] >= 0 and rates[-1] <= 1):
            raise StegoError(f"a table of agreement that is none: transitions {table.shape}, curve {scores.shape} and {rates.shape}")

    def calibrated(self, values: Floats) -> Floats:
        """Expected agreement, in [0, 1], of raw scores of any shape: linear between knots, constant outside them."""
        return np.interp(values, self.scores, self.rates).astype(np.float32)

    def to_arrays(self) -> dict[str, Floats]:
        """All arrays by name; with `header`, everything `from_arrays` needs."""
        return {"transitions": self.transitions, "scores": self.scores, "rates": self.rates}

    def header(self) -> dict[str, Any]:
        """What is no array, ready for JSON."""
        found = self.reliability
        return {"pairs": found.pairs, "agreement": found.agreement, "error": found.error}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats], header: Mapping[str, Any]) -> Agreement:
        """Inverse of `to_arrays` and `header`.

        Raises:
            StegoError: see the class.
            KeyError: an array or a field is missing.
        """
        reliability = Reliability(int(header["pairs"]), float(header["agreement"]), float(header["error"]))
        return cls(arrays["transitions"], arrays["scores"], arrays["rates"], reliability)
