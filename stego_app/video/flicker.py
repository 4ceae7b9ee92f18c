"""How much labels flicker: the share of pixels whose label is not the one that the same surface had a frame before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stego_app.video.flow import Flow


@dataclass
class Flicker:
    """Counts over the pairs of neighbouring frames of a clip (cf. Lai et al., 2018, section 4.1, with labels in place of colours).

    Each label map is compared with the one before it carried along the flow; only pixels count whose flow is consistent forth and back. What
    moves, appears or is covered is not flicker; a label that changes on a surface that is still there is.
    """

    changed: int = 0
    counted: int = 0

    def add(self, previous: npt.NDArray[np.uint8], current: npt.NDArray[np.uint8], flow: Flow) -> None:
        """Count a pair of label maps (H, W); the flow is of the same size."""
        differs = flow.carry_labels(previous) != current
        self.changed += int(np.count_nonzero(differs & flow.consistent))
        self.counted += int(np.count_nonzero(flow.consistent))

    @property
    def share(self) -> float:
        """In [0, 1]; 0 where no pixel could be followed."""
        return self.changed / self.counted if self.counted else 0.0
