"""The local decoder: what is at a place, as told by one point near it; and the losses of what it says."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, relu


class Answers(NamedTuple):
    """For each pair of a query and a support: the logit of being full (P,), and the intensity (P,)."""

    occupancy: torch.Tensor
    intensity: torch.Tensor


class LocalDecoder(nn.Module):
    """An MLP over [latent of the support, query - support] (Boulch et al. 2023, section 3.3).

    The first layer is applied to the two parts apart and then summed: the same sum, with the larger part computed once a support, not once a pair.
    """

    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        self.of_latent = nn.Linear(latent, hidden)
        self.of_offset = nn.Linear(3, hidden, bias=False)
        self.inner = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 2)

    def forward(self, latents: torch.Tensor, offsets: torch.Tensor, support: torch.Tensor) -> Answers:
        """Answers at ``offsets`` (P, 3) m from the supports ``support`` (P,), whose ``latents`` are (S, latent)."""
        hidden = relu(self.of_latent(latents)[support] + self.of_offset(offsets))
        answers = self.last(relu(self.inner(hidden)))
        return Answers(answers[:, 0], answers[:, 1])


class PairLosses(NamedTuple):
    """Means over pairs: binary cross-entropy, L1 of intensity where it is known, and the share of right answers (no gradient)."""

    occupancy: torch.Tensor
    intensity: torch.Tensor
    accuracy: torch.Tensor


def pair_losses(answers: Answers, full: torch.Tensor, intensity: torch.Tensor) -> PairLosses:
    """Losses of ``answers`` for pairs whose query is ``full`` (P,) bool and has ``intensity`` (P,), negative where unknown (section 3.3, equations 1 and 2)."""
    occupancy, known = answers.occupancy.float(), intensity >= 0
    entropy = binary_cross_entropy_with_logits(occupancy, full.float(), reduction="sum") / max(1, len(full))
    error = (answers.intensity.float() - intensity).abs()[known].sum() / known.sum().clamp(min=1)
    accuracy = ((occupancy.detach() > 0) == full).float().sum() / max(1, len(full))
    return PairLosses(entropy, error, accuracy)
