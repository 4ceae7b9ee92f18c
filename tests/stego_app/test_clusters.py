from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cut_tree, linkage

from models.errors import StegoError
from models.head import LookupHead, SegmentationHead
from stego_app.clusters import ClusterModel, Head, cut


def merges_of(leaves: int, seed: int) -> npt.NDArray[np.int64]:
    """A random tree in SciPy's numbering."""
    random, nodes = np.random.default_rng(seed), list(range(leaves))
    merges = []
    for row in range(leaves - 1):
        pair = [nodes.pop(int(random.integers(len(nodes)))) for _ in range(2)]
        merges.append(pair)
        nodes.append(leaves + row)
    return np.array(merges, dtype=np.int64).reshape(-1, 2)


def model_of(head: Head, fine: int = 6, dim: int = 8, seed: int = 0) -> ClusterModel:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(fine, head.code_dim, generator=generator), dim=1)
    mean, metric = torch.randn(dim, generator=generator) / 10, torch.randn(dim, head.in_dim, generator=generator)
    return ClusterModel(mean, metric, head, directions, 0.1, merges_of(fine, seed), 3)


def heads() -> list[Head]:
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trained = SegmentationHead(7, 4)
    book = torch.nn.functional.normalize(torch.randn(9, 7, generator=generator), dim=1)
    return [trained.eval(), LookupHead(book, torch.randn(9, 4, generator=generator), 20.0)]


@given(st.integers(1, 25), st.integers(0, 1000))
def test_cuts_are_nested_and_use_all_labels(leaves: int, seed: int) -> None:
    merges = merges_of(leaves, seed)
    previous = cut(merges, 1)
    for classes in range(1, leaves + 1):
        labels = cut(merges, classes)
        assert sorted(set(labels)) == list(range(classes))
        assert len(set(zip(previous, labels, strict=True))) == classes  # each part lies in one part of the coarser cut
        previous = labels


def test_cut_matches_scipy() -> None:
    points = np.random.default_rng(0).normal(size=(20, 3))
    tree = linkage(points, "average")
    for classes in (1, 2, 7, 20):
        ours, theirs = cut(tree[:, :2].astype(np.int64), classes), cut_tree(tree, classes).ravel()
        assert len(set(zip(ours, theirs, strict=True))) == classes


@pytest.mark.parametrize("classes", [0, 7])
def test_cut_refuses_impossible_numbers(classes: int) -> None:
    with pytest.raises(StegoError, match="expected 1 to 6"):
        cut(merges_of(6, 0), classes)


@pytest.mark.parametrize("head", heads())
def test_probabilities_are_sums_over_fine_clusters(head: Head) -> None:
    model, tokens = model_of(head), torch.randn(10, 8, generator=torch.Generator().manual_seed(2))
    unit = tokens / tokens.norm(dim=1, keepdim=True)
    projected = (unit - model.mean) @ model.metric
    projected = projected / projected.norm(dim=1, keepdim=True)
    with torch.inference_mode():
        code = model.head(projected * 7**0.5)
    logits = code / code.norm(dim=1, keepdim=True) @ model.fine.T
    np.testing.assert_allclose(model.fine_logits(tokens).numpy(), logits.numpy(), atol=1e-5)
    fine, labels = torch.softmax(logits / 0.1, dim=1), cut(model.merges, 4)
    expected = np.stack([fine[:, labels == label].sum(1).numpy() for label in range(4)], axis=1)
    np.testing.assert_allclose(model.class_probabilities(tokens, 4).numpy(), expected, atol=1e-5)
    assert model.class_probabilities(tokens).shape == (10, 3)


@pytest.mark.parametrize("head", heads())
def test_survives_the_way_through_tensors(head: Head) -> None:
    model, tokens = model_of(head), torch.randn(10, 8, generator=torch.Generator().manual_seed(3))
    again = ClusterModel.from_tensors(model.to_tensors(), model.header())
    assert torch.equal(again.fine_logits(tokens), model.fine_logits(tokens))
    assert np.array_equal(again.merges, model.merges)
    assert (again.classes, again.temperature) == (model.classes, model.temperature)


def test_parts_that_do_not_fit_are_refused() -> None:
    good = model_of(heads()[0])
    with pytest.raises(StegoError, match="do not fit"):
        ClusterModel(good.mean, good.metric, good.head, good.fine[:, :2], 0.1, good.merges, 3)
    with pytest.raises(StegoError, match="do not fit"):
        ClusterModel(good.mean, good.metric, good.head, good.fine, 0.1, good.merges, 9)
    header = good.header() | {"head": "unheard of"}
    with pytest.raises(ValueError, match="unheard of"):
        ClusterModel.from_tensors(good.to_tensors(), header)
    damaged = good.to_tensors()
    damaged["head.linear.bias"] = torch.zeros(2)
    with pytest.raises(StegoError, match="head"):
        ClusterModel.from_tensors(damaged, good.header())
