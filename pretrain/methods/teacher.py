"""A teacher: the exponential moving average of a student."""

from __future__ import annotations

import copy
from typing import Any

import torch
from lightly.models.utils import update_momentum
from torch import nn

from pretrain.encoder import Encoder, set_drop_path


class Teacher(nn.Module):
    """A copy of ``student`` that follows it and is never trained.

    It stays in evaluation mode (no stochastic depth), except for batch norms: those of projection heads work on the batch's own
    statistics in the teacher too, as in BYOL.
    """

    def __init__(self, student: nn.Module, twin: nn.Module | None = None) -> None:
        """``twin`` is a module of the student's shape to use as the copy, for students that cannot be copied (weight-normed heads)."""
        super().__init__()
        if twin is not None:
            twin.load_state_dict(student.state_dict())
        self.module = (twin if twin is not None else copy.deepcopy(student)).requires_grad_(False)
        for part in self.module.modules():
            if isinstance(part, Encoder):
                set_drop_path(part.network, 0.0)
                part.vit.set_grad_checkpointing(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The student's forward, without gradients."""
        with torch.no_grad():
            return self.module(*args, **kwargs)

    @torch.no_grad()
    def follow(self, student: nn.Module, momentum: float) -> None:
        """``teacher = momentum · teacher + (1 - momentum) · student`` for every parameter, but those frozen ones that both have as one tensor."""
        pairs = zip(student.parameters(), self.module.parameters(), strict=True)
        theirs, ours = zip(*[(parameter, mine) for parameter, mine in pairs if parameter is not mine], strict=True)
        update_momentum(nn.ParameterList(theirs), nn.ParameterList(ours), m=momentum)
