"""Schedules as functions of the step alone: there is no scheduler's state to resume."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Where a run stands: optimiser step ``step`` (from 0) of ``steps``."""

    step: int
    steps: int

    @property
    def progress(self) -> float:
        """0 at the first step, nearly 1 at the last."""
        return self.step / self.steps


def cosine(start: float, end: float, progress: float) -> float:
    """From ``start`` to ``end`` along half a cosine; ``progress`` in [0, 1]."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))


def learning_rate(clock: Clock, peak: float, warmup: float, last: float = 0.0) -> float:
    """Linear warm-up over the share ``warmup`` of the steps, then a cosine to ``last``."""
    warm = round(warmup * clock.steps)
    if clock.step < warm:
        return peak * (clock.step + 1) / warm
    return cosine(peak, last, (clock.step - warm) / max(1, clock.steps - warm))


def scaled_rate(base: float, batch: int, reference: int = 256) -> float:
    """The linear scaling rule: ``base`` is for ``reference`` items a step (Goyal et al., 2017)."""
    return base * batch / reference


def linear_warmup(start: float, end: float, progress: float, share: float) -> float:
    """From ``start`` to ``end`` over the first ``share`` of a run, then ``end``; teacher temperatures (Caron et al., 2021, section 3.2)."""
    return end if progress >= share else start + (end - start) * progress / share


def teacher_momentum(momentum: float | None, steps: int, progress: float) -> float:
    """A cosine from ``momentum`` to 1 (Grill et al., 2020, section 3.2).

    The papers' 0.996 averages over 250 steps, more than a short run has; so if ``momentum`` is None it starts where the average
    spans a tenth of the run, and at 0.996 at most.
    """
    start = min(0.996, max(0.5, 1 - 10 / steps)) if momentum is None else momentum
    return cosine(start, 1.0, progress)
