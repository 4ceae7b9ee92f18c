"""Which precision a run computes in."""

from __future__ import annotations

import torch

from stego_app.features import precision_of


def training_precision(precision: str, accelerator: str) -> str:
    """Lightning's name of ``precision``; "auto" is bfloat16 where ``accelerator`` (Lightning's name) multiplies it natively, else float32.

    A processor without such instructions emulates them, at a thirtieth of float32's speed.
    """
    if precision != "auto":
        return precision
    cuda = on_gpu(accelerator)
    device = torch.device("cuda" if cuda else "mps" if accelerator == "mps" else "cpu")
    return "bf16-mixed" if precision_of("auto", device) == "bf16" else "32-true"


def on_gpu(accelerator: str) -> bool:
    """Whether Lightning's ``accelerator`` is a CUDA device here."""
    return accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())
