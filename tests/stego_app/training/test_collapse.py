"""Signs of collapse on results that are known to be healthy or broken."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stego_app.training.collapse import code_rank, code_similarity, effective_clusters, features_kept, find_collapse

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(400, 20)).astype(np.float32)
CODES = (FEATURES @ RANDOM.normal(size=(20, 8))).astype(np.float32)
EVEN = np.full(8, 1 / 8)


def signs(shares: npt.NDArray[np.float64], codes: npt.NDArray[np.float32] = CODES) -> list[str]:
    return [finding.sign for finding in find_collapse(shares, FEATURES, codes, "stego")]


def test_a_healthy_result_has_no_findings() -> None:
    assert signs(EVEN) == []
    assert signs(np.array([0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.03, 0.02])) == []


def test_one_class_takes_all() -> None:
    shares = np.array([0.94, 0.02, 0.01, 0.01, 0.01, 0.01, 0.0, 0.0])
    findings = find_collapse(shares, FEATURES, CODES, "stego")
    assert [finding.sign for finding in findings] == ["largest", "uneven", "empty"]
    assert findings[0].text.startswith("one class covers 94% of all patches")
    assert "try --shifts quantile" in findings[0].text
    assert "2 of 8 classes have almost no patches" in findings[2].text
    assert all("\n" not in finding.text for finding in findings)


def test_codes_that_all_point_one_way() -> None:
    assert "similar" in signs(EVEN, CODES * 0.05 + 10)


def test_codes_of_one_direction() -> None:
    line = np.outer(RANDOM.normal(size=400), RANDOM.normal(size=8)).astype(np.float32) + 0.01 * CODES
    assert "rank" in signs(EVEN, line)


def test_codes_unrelated_to_the_features() -> None:
    unrelated = RANDOM.normal(size=(400, 8)).astype(np.float32)
    assert signs(EVEN, unrelated) == ["lost"]
    assert find_collapse(EVEN, FEATURES, unrelated, "auto") == []


def test_advice_belongs_to_the_objective() -> None:
    [first, *_] = find_collapse(np.array([0.9, 0.05, 0.05]), FEATURES, CODES, "auto")
    assert "another number of classes" in first.text
    assert "shifts" not in first.text


@given(st.integers(1, 20))
def test_effective_clusters_counts_equal_ones(count: int) -> None:
    assert effective_clusters(np.full(count, 1 / count)) == pytest.approx(count)
    assert effective_clusters(np.array([1.0] + [0.0] * count)) == pytest.approx(1)


def test_code_similarity_equals_a_loop_over_pairs() -> None:
    codes = RANDOM.normal(size=(12, 5)).astype(np.float32) + 0.5
    cosines = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for i, a in enumerate(codes) for j, b in enumerate(codes) if i != j]
    assert code_similarity(codes) == pytest.approx(np.mean(cosines), abs=1e-6)


def test_code_rank_of_known_spectra() -> None:
    axes = np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32)
    assert code_rank(axes) == pytest.approx(4, abs=1e-4)
    assert code_rank(axes[[0, 4]]) == pytest.approx(1, abs=1e-4)
    assert code_rank(np.ones((10, 4), np.float32)) == 0


def test_features_kept_compares_with_the_principal_components() -> None:
    unit = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)
    centred = unit - unit.mean(0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    for dims in (3, 8):
        scores = (centred @ axes[:dims].T).astype(np.float64)
        # Codes are compared as unit vectors; a large constant coordinate keeps their directions a linear function of the scores.
        codes = np.concatenate([scores, np.full((len(scores), 1), 1e4)], axis=1)
        expected = np.square(singular[:dims]).sum() / np.square(singular[: dims + 1]).sum()
        assert features_kept(FEATURES, codes) == pytest.approx(expected, abs=1e-3)
    assert features_kept(FEATURES, np.ones((400, 3), np.float32)) == pytest.approx(0, abs=1e-9)
