"""int8 per output channel: the error bound, and packing that keeps what is not a matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.quantize import SCALE_SUFFIX, dequantize_per_channel, pack_state, quantize_per_channel, unpack_state


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 9), seed=st.integers(0, 10_000), size=st.floats(1e-6, 1e4))
def test_error_is_at_most_half_a_scale(rows: int, columns: int, seed: int, size: float) -> None:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * size
    levels, scale = quantize_per_channel(weight)
    assert levels.dtype == torch.int8
    assert int(levels.abs().max()) == 127 or float(weight.abs().max()) < 1e-9
    error = (dequantize_per_channel(levels, scale) - weight).abs()
    assert bool((error <= scale[:, None] * 0.5 * (1 + 1e-4)).all())


def test_levels_equal_a_numpy_calculation_row_by_row() -> None:
    weight = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    levels, scale = quantize_per_channel(weight)
    for row in range(5):
        values = weight[row].numpy().astype(np.float32)
        step = np.float32(np.abs(values).max() / 127)
        assert scale[row].item() == pytest.approx(step, rel=1e-6)
        assert np.abs(levels[row].numpy() - np.rint(values / step)).max() == 0


def test_a_channel_of_zeros_stays_zero() -> None:
    weight = torch.zeros(2, 4)
    weight[1, 0] = 3.0
    assert torch.equal(dequantize_per_channel(*quantize_per_channel(weight)), weight)


STATE = {
    "blocks.0.attn.qkv.weight": torch.randn(6, 4, generator=torch.Generator().manual_seed(0)),
    "blocks.0.attn.qkv.bias": torch.linspace(-1, 1, 6),
    "norm.weight": torch.linspace(0.5, 2, 4),
    "pos_embed": torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(2)),
}


def test_packed_types_and_round_trip() -> None:
    assert {tensor.dtype for tensor in pack_state(STATE, "fp32").values()} == {torch.float32}
    assert {tensor.dtype for tensor in pack_state(STATE, "fp16").values()} == {torch.float16}
    packed = pack_state(STATE, "int8")
    assert packed["blocks.0.attn.qkv.weight"].dtype == torch.int8
    assert packed["blocks.0.attn.qkv.weight" + SCALE_SUFFIX].shape == (6,)
    assert packed["pos_embed"].dtype == packed["norm.weight"].dtype == torch.float16
    for precision, tolerance in (("fp32", 0.0), ("fp16", 1e-3), ("int8", 2e-2)):
        state = unpack_state(pack_state(STATE, precision))
        assert state.keys() == STATE.keys()
        for name, tensor in STATE.items():
            assert state[name].dtype == torch.float32
            assert torch.allclose(state[name], tensor, atol=tolerance, rtol=0)


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="int4"):
        pack_state(STATE, "int4")
