"""The learning rate of V-JEPA 2, as a function of the step alone."""

from __future__ import annotations

from pretrain.schedules import Clock


def warmup_constant_cooldown(clock: Clock, peak: float, warmup: float, cooldown: float) -> float:
    """Linear warm-up over the share ``warmup`` of the steps, ``peak``, and a line to 0 over the last share ``cooldown`` (Assran et al., 2025, section 2.4)."""
    warm, cool = round(warmup * clock.steps), round(cooldown * clock.steps)
    if clock.step < warm:
        return peak * (clock.step + 1) / warm
    left = clock.steps - clock.step
    return peak * min(1.0, left / (cool + 1))
