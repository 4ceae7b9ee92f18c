"""The published shifts and weights of STEGO's objective, by name.

Order everywhere: self, neighbour, random. They were tuned by their authors with labels, for DINO backbones on one data set
each, and often collapse elsewhere; `stego_app.training.calibration` finds shifts from the data.
"""

from __future__ import annotations

from models.correspondence import PairTerms, Shifts
from models.errors import StegoError

DEFAULT_WEIGHTS = PairTerms(0.67, 0.25, 0.63)

PUBLISHED: dict[str, Shifts] = {
    "cocostuff-s": Shifts(PairTerms(0.08, 0.02, 0.66), DEFAULT_WEIGHTS),  # ViT-S
    "cocostuff": Shifts(PairTerms(0.12, 0.20, 1.0), PairTerms(0.10, 1.0, 0.15)),  # ViT-B
    "cityscapes": Shifts(PairTerms(0.458, 0.175, 0.314), PairTerms(1.0, 0.577, 0.906)),
    "potsdam": Shifts(PairTerms(0.08, 0.02, 0.46), DEFAULT_WEIGHTS),
    "default": Shifts(PairTerms(0.18, 0.12, 0.46), DEFAULT_WEIGHTS),
}
QUANTILE = "quantile"


def check_shifts(name: str) -> str:
    """``name`` if it is "quantile" or a published set.

    Raises:
        StegoError: it is neither.
    """
    if name != QUANTILE and name not in PUBLISHED:
        raise StegoError(f"shifts '{name}': expected {QUANTILE} or a published set ({', '.join(PUBLISHED)})")
    return name
