"""Runs compute in bfloat16 only where that is not emulated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pretrain.precision import training_precision
from pretrain.settings import make_pretrain_config


@pytest.mark.parametrize(("instructions", "expected"), [({}, "32-true"), ({"amx_bf16": True}, "bf16-mixed"), ({"avx512_bf16": True}, "bf16-mixed")])
def test_a_processor_without_bfloat16_instructions_trains_in_float32(monkeypatch: pytest.MonkeyPatch, instructions: dict[str, bool], expected: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    assert training_precision("auto", "cpu") == expected
    config = make_pretrain_config(method="simclr", data=(Path("images"),), out=Path("x.safetensors"), accelerator="cpu")
    assert config.precision == config.hashed["precision"] == expected


def test_a_named_precision_is_kept() -> None:
    assert training_precision("bf16-mixed", "cpu") == "bf16-mixed"
    assert training_precision("32-true", "gpu") == "32-true"


def test_a_graphics_card_decides_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert training_precision("auto", "auto") == training_precision("auto", "gpu") == "bf16-mixed"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert training_precision("auto", "auto") == "32-true"
