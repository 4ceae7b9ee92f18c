from __future__ import annotations

import numpy as np
import pytest
import torch

from models.head import LookupHead, SegmentationHead


def test_segmentation_head_is_a_linear_map_plus_a_perceptron() -> None:
    head, tokens = SegmentationHead(6, 3), torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    state = {name: value.numpy() for name, value in head.state_dict().items()}
    x = tokens.numpy()
    hidden = np.maximum(x @ state["nonlinear.0.weight"].T + state["nonlinear.0.bias"], 0)
    expected = x @ state["linear.weight"].T + state["linear.bias"] + hidden @ state["nonlinear.2.weight"].T + state["nonlinear.2.bias"]
    with torch.inference_mode():
        np.testing.assert_allclose(head(tokens).numpy(), expected, atol=1e-5)


def test_lookup_gives_the_softmax_average_of_vectors() -> None:
    generator = torch.Generator().manual_seed(1)
    book = torch.nn.functional.normalize(torch.randn(4, 6, generator=generator), dim=1)
    vectors, tokens = torch.randn(4, 3, generator=generator), torch.nn.functional.normalize(torch.randn(5, 6, generator=generator), dim=1)
    weights = np.exp(8 * tokens.numpy() @ book.numpy().T)
    expected = weights / weights.sum(1, keepdims=True) @ vectors.numpy()
    np.testing.assert_allclose(LookupHead(book, vectors, 8.0)(tokens * 6**0.5).numpy(), expected, atol=1e-5)


def test_a_sharp_lookup_gives_the_vector_of_the_nearest_entry() -> None:
    book, vectors = torch.eye(3), torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    nearest = LookupHead(book, vectors, 500.0)(torch.tensor([[0.1, 0.2, 0.9]]) * 3**0.5)
    np.testing.assert_allclose(nearest.numpy(), [[2.0, 2.0]], atol=1e-4)


def test_lookup_needs_a_vector_for_each_entry() -> None:
    with pytest.raises(ValueError, match="one vector an entry"):
        LookupHead(torch.eye(3), torch.zeros(2, 4), 1.0)
