"""How sharp and how centred the answers are that a network is to foretell, so that neither a short run nor a new domain drowns in uniform ones."""

from __future__ import annotations

import math

import torch
from lightly.models.modules.center import center_mean
from torch import distributed, nn

from pretrain.across import several_processes
from pretrain.health import entropy_share

GAIN = 1.0
SHARPEST = 1e-3


class Sharpening(nn.Module):
    """The temperature of targets: the published one, lowered while the answers are too even to teach anything.

    If a network can foretell the share r of what sets one image's answers apart, its own come to differ by ``r · its temperature / the targets'`` of
    theirs. Below 1 a teacher, which follows it, flattens step by step until all answers are uniform and the loss is log K. Random weights start there,
    and the published temperatures leave only after thousands of steps. So the temperature has a ceiling that falls while the entropy of
    the answers over log K is above ``most_entropy``, and rises, up to ``highest``, below it.

    Args:
        highest: the published temperature, or the last of its schedule.
        most_entropy: in (0, 1]; 1 for the published temperature alone.
    """

    ceiling: torch.Tensor

    def __init__(self, highest: float, most_entropy: float) -> None:
        super().__init__()
        self.highest = highest
        self.most_entropy = most_entropy
        self.register_buffer("ceiling", torch.tensor(highest))

    def temperature(self, published: float) -> float:
        """The temperature of a step for which ``published`` is the paper's."""
        return min(float(self.ceiling), published)

    @torch.no_grad()
    def follow(self, entropy: float) -> None:
        """Move the ceiling by the ``entropy`` over log K, in [0, 1], of this process's answers; all processes move it alike."""
        if self.most_entropy >= 1:
            return
        excess = torch.tensor(entropy - self.most_entropy, device=self.ceiling.device)
        if several_processes():
            distributed.all_reduce(excess)
            excess /= distributed.get_world_size()
        self.ceiling.mul_(math.exp(-GAIN * float(excess))).clamp_(SHARPEST, self.highest)


def evenness(answers: torch.Tensor) -> dict[str, float]:
    """Entropies over log K of ``answers`` (N, K): their mean, and that of their average."""
    return {"teacher_entropy": entropy_share(answers), "teacher_marginal": entropy_share(answers.mean(0, keepdim=True))}


@torch.no_grad()
def start_center(center: torch.Tensor, answers: torch.Tensor) -> None:
    """Set a ``center`` (..., K) that has seen nothing to the mean of the first ``answers`` (N, K).

    From zero, the first targets would be what all images share, and that is what the student would learn.
    """
    if len(answers) and not center.any():
        center.copy_(center_mean(x=answers.float(), dim=(0,)).expand_as(center))


def center_momentum(momentum: float | None, teacher: float) -> float:
    """The centre's momentum: ``momentum``, or for None one that averages over a tenth of the steps that the ``teacher``'s momentum spans.

    The papers' 0.9, which it is at most, suits their 0.996. Beside a quick teacher that centre lags behind: what is left of the common part is
    sharpened into targets, and teacher and student run away along it.
    """
    return min(0.9, max(0.0, 1 - 10 * (1 - teacher))) if momentum is None else momentum
