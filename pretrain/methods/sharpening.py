"""How sharp and how centred a teacher's answers are, so that neither a short run nor a new domain drowns in uniform ones."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightly.models.modules.center import center_mean
from torch import distributed, nn

from pretrain.schedules import linear_warmup

GAIN = 1.0
SHARPEST = 1e-3


class Sharpening(nn.Module):
    """A teacher's temperature: the published schedule, lowered while the answers are too even to teach anything.

    If a student can foretell the share r of what sets one image's answers apart, its own come to differ by ``r · student_temperature /
    teacher_temperature`` of the teacher's. Below 1 the teacher, which follows it, flattens step by step until all answers are uniform. Random
    weights start there, and the published temperatures leave only after thousands of steps. So the temperature has a ceiling that falls while the
    entropy of the answers over log K is above ``most_entropy``, and rises, up to the schedule, below it.

    Args:
        options: with ``teacher_start``, ``teacher_temperature``, ``temperature_warmup`` and ``most_entropy`` (1: the schedule alone).
    """

    ceiling: torch.Tensor

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options
        self.highest = max(options.teacher_start, options.teacher_temperature)
        self.register_buffer("ceiling", torch.tensor(self.highest))

    def temperature(self, progress: float) -> float:
        """The temperature where ``progress`` in [0, 1] of the run is done."""
        options = self.options
        return min(float(self.ceiling), linear_warmup(options.teacher_start, options.teacher_temperature, progress, options.temperature_warmup))

    @torch.no_grad()
    def follow(self, entropy: float) -> None:
        """Move the ceiling by the ``entropy`` over log K, in [0, 1], of this process's answers; all processes move it alike."""
        if self.options.most_entropy >= 1:
            return
        excess = torch.tensor(entropy - self.options.most_entropy, device=self.ceiling.device)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(excess)
            excess /= distributed.get_world_size()
        self.ceiling.mul_(math.exp(-GAIN * float(excess))).clamp_(SHARPEST, self.highest)


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
