"""The methods by name. Their modules are imported when asked for: torch and lightly take seconds."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from models.errors import StegoError
from pretrain.settings import nearest

if TYPE_CHECKING:
    from pretrain.methods.base import Pretext

METHODS = {
    "simclr": "pretrain.methods.simclr:SimClr",
    "byol": "pretrain.methods.byol:Byol",
    "simsiam": "pretrain.methods.simsiam:SimSiam",
    "barlow-twins": "pretrain.methods.barlow_twins:BarlowTwins",
    "vicreg": "pretrain.methods.vicreg:VicReg",
    "swav": "pretrain.methods.swav:Swav",
    "mae": "pretrain.methods.mae:Mae",
    "simmim": "pretrain.methods.simmim:SimMim",
    "ijepa": "pretrain.methods.ijepa:IJepa",
    "dino": "pretrain.methods.dino:Dino",
    "ibot": "pretrain.methods.ibot:Ibot",
    "simclrv2": "pretrain.methods.simclrv2:SimClrV2",
    "lejepa": "pretrain.methods.lejepa:LeJepa",
    "dinov2": "pretrain.methods.dinov2:DinoV2",
    "neco": "pretrain.methods.neco:Neco",
    "also": "pretrain.methods.also:Also",
    "vjepa": "pretrain.methods.vjepa:VJepa",
    "vjepa2": "pretrain.methods.vjepa:VJepa2",
}
"""Name to module and class."""


def check_method(name: str) -> None:
    """Whether there is a method ``name``.

    Raises:
        StegoError: no such method; the nearest name is suggested.
    """
    if name not in METHODS:
        raise StegoError(f"unknown pretraining method '{name}'{nearest(name, METHODS)}")


def load_method(name: str) -> type[Pretext]:
    """The class of method ``name``.

    Raises:
        StegoError: see `check_method`.
    """
    check_method(name)
    module, _, member = METHODS[name].partition(":")
    found: type[Pretext] = getattr(import_module(module), member)
    return found
