"""Patch features as arrays of unit rows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.errors import StegoError
from stego_app.encoder import Encoded
from stego_app.patch_features import patch_features, unit_rows


def test_both_spaces_have_unit_rows() -> None:
    tokens = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) * 7
    encoded = Encoded(np.zeros((20, 30, 3), np.uint8), tokens, (2, 3))
    segmenter = SimpleNamespace(codes=lambda item: item.tokens[:, :2] * 3)
    backbone, codes = (patch_features(segmenter, encoded, space) for space in ("backbone", "codes"))
    assert (backbone.grid, codes.grid) == ((2, 3), (2, 3))
    np.testing.assert_allclose(backbone.values, torch.nn.functional.normalize(tokens).numpy(), rtol=1e-6)
    np.testing.assert_allclose(codes.values, torch.nn.functional.normalize(tokens[:, :2]).numpy(), rtol=1e-6)
    with pytest.raises(StegoError, match="expected backbone or codes"):
        patch_features(segmenter, encoded, "pixels")


def test_a_row_of_zeros_stays() -> None:
    np.testing.assert_array_equal(unit_rows(np.array([[0, 0], [3, 4]], np.float32)), np.array([[0, 0], [0.6, 0.8]], np.float32))
