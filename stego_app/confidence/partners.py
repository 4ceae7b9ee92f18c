"""What the partners of patches (`stego_app.partners`) say about how steady their classes are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from stego_app.partners import find_partners

PARTNERS = 20
"""Partners of a patch. From 5 to 100 makes little difference to how well errors are told."""


class Patches(NamedTuple):
    """Patches of several images: ``tokens`` (n, D) unit vectors, ``fine`` (n, F) probabilities, ``images`` (n,) the image of each."""

    tokens: torch.Tensor
    fine: torch.Tensor
    images: npt.NDArray[np.int64]

    def take(self, chosen: npt.NDArray[np.bool_]) -> Patches:
        """Those where ``chosen`` (n,) holds."""
        mask = torch.from_numpy(chosen)
        return Patches(self.tokens[mask], self.fine[mask], self.images[chosen])


def partners_of(patches: Patches, count: int = PARTNERS) -> torch.Tensor:
    """Numbers (n, k) of the ``count`` patches with the largest cosine in other images; fewer where a patch has fewer.

    Patches come from two images or more. Work and memory are bounded by the number of patches drawn, not by that of images.
    """
    return torch.from_numpy(find_partners(patches.tokens, patches.images, count).nearest)


def transitions_of(fine: torch.Tensor, partners: torch.Tensor) -> npt.NDArray[np.float32]:
    """(F, F) float32, rows sum to 1: probability of the fine cluster of a partner, given that of the patch; counted both ways round.

    Args:
        fine: (n, F) probabilities of the fine clusters.
        partners: (n, k) numbers of the partners.
    """
    met = torch.zeros_like(fine)
    for column in partners.T:
        met += fine[column]
    joint = (fine.T @ met / partners.shape[1]).double()
    # The small part keeps the row of a fine cluster that was not drawn: its patches stay where they are.
    joint = joint + joint.T + 1e-6 * torch.eye(len(joint), dtype=torch.float64)
    table: npt.NDArray[np.float32] = (joint / joint.sum(1, keepdim=True)).float().numpy()
    return table


def agreement_rates(labels: npt.NDArray[np.int64], partners: torch.Tensor) -> npt.NDArray[np.float64]:
    """(n,) share of each patch's partners that have its class."""
    return np.asarray((labels[partners.numpy()] == labels[:, None]).mean(1))
