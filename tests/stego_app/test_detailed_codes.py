"""Detailed codes: a code, and beside it what clusters do not need."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from models.head import SegmentationHead
from stego_app.clusters import ClusterModel


@pytest.fixture
def narrow() -> ClusterModel:
    """Codes of two dimensions of tokens of sixteen."""
    torch.manual_seed(0)
    metric = torch.linalg.qr(torch.randn(16, 16)).Q
    fine = torch.nn.functional.normalize(torch.randn(3, 2), dim=1)
    return ClusterModel(torch.zeros(16), metric, SegmentationHead(16, 2).eval(), fine, 0.1, np.array([[0, 1], [2, 3]]), 2)


def test_they_are_the_code_and_the_projected_token(narrow: ClusterModel) -> None:
    tokens = torch.randn(7, 16)
    detailed = narrow.detailed_codes(tokens)
    assert detailed.shape == (7, 18)
    torch.testing.assert_close(detailed[:, :2], narrow.codes(tokens))
    torch.testing.assert_close(detailed[:, 2:], narrow.project(tokens))


def test_a_probe_finds_in_them_what_codes_have_lost(narrow: ClusterModel) -> None:
    tokens = torch.nn.functional.normalize(torch.randn(600, 16), dim=1)
    wanted = (tokens @ torch.randn(16, 4)).argmax(1).numpy()

    def score(values: torch.Tensor) -> float:
        return float(LogisticRegression(C=1e3, max_iter=2000).fit(values[:400], wanted[:400]).score(values[400:], wanted[400:]))

    features, codes, detailed = (score(values) for values in (tokens, narrow.codes(tokens), narrow.detailed_codes(tokens)))
    assert codes < 0.8 * features
    assert detailed > 0.95 * features
