"""Schedules of the two V-JEPAs, as functions of the step alone."""

from __future__ import annotations

from pretrain.schedules import Clock


def warmup_constant_cooldown(clock: Clock, peak: float, warmup: float, cooldown: float) -> float:
    """Linear warm-up over the share ``warmup`` of the steps, ``peak``, and a line to 0 over the last share ``cooldown`` (Assran et al., 2025, section 2.4)."""
    warm, cool = round(warmup * clock.steps), round(cooldown * clock.steps)
    if clock.step < warm:
        return peak * (clock.step + 1) / warm
    left = clock.steps - clock.step
    return peak * min(1.0, left / (cool + 1))


def shortened_momentum(published: float, steps: int) -> float:
    """The published momentum, or, in a run too short for it, one whose average spans a twentieth of the run; see `pretrain.schedules.teacher_momentum`."""
    return min(published, max(0.5, 1 - 20 / steps))
