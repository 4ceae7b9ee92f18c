"""Which precision a run computes in. Torch is imported where it is asked, so that bad settings are told before it is loaded."""

from __future__ import annotations

from models.errors import StegoError

_WHOLE = frozenset({"bf16-true", "16-true", "transformer-engine", "transformer-engine-float16"})


def training_precision(precision: str, accelerator: str) -> str:
    """Lightning's name of ``precision``; "auto" is bfloat16 where ``accelerator`` (Lightning's name) multiplies it natively, else float32.

    A processor without such instructions emulates them, at a thirtieth of float32's speed.

    Raises:
        StegoError: a precision in which the weights themselves would be kept in 16 bits.
    """
    if precision in _WHOLE:
        raise StegoError(f"--precision {precision}: weights are trained in float32; expected auto, bf16-mixed, 16-mixed, 32-true or 64-true")
    if precision != "auto":
        return precision
    import torch

    from stego_app.features import precision_of

    cuda = on_gpu(accelerator)
    device = torch.device("cuda" if cuda else "mps" if accelerator == "mps" else "cpu")
    return "bf16-mixed" if precision_of("auto", device) == "bf16" else "32-true"


def on_gpu(accelerator: str) -> bool:
    """Whether Lightning's ``accelerator`` is a CUDA device here."""
    import torch

    return accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())
