"""The BERT encoder against BERT's equations written out in NumPy, and the published names of its weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import erf

from models.errors import StegoError
from models.text.bert import BertShape, bert_from_tensors

SHAPE = BertShape(vocabulary=11, width=8, layers=2, heads=2, inner=12, positions=9, epsilon=1e-12)


def published(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under the names of Hugging Face's files."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    width, inner = SHAPE.width, SHAPE.inner
    tensors = {
        "embeddings.word_embeddings.weight": draw(SHAPE.vocabulary, width),
        "embeddings.position_embeddings.weight": draw(SHAPE.positions, width),
        "embeddings.token_type_embeddings.weight": draw(2, width),
        "embeddings.LayerNorm.weight": draw(width),
        "embeddings.LayerNorm.bias": draw(width),
    }
    for layer in range(SHAPE.layers):
        at = f"encoder.layer.{layer}"
        shapes = {"attention.self.query": (width, width), "attention.self.key": (width, width), "attention.self.value": (width, width)}
        shapes |= {"attention.output.dense": (width, width), "intermediate.dense": (inner, width), "output.dense": (width, inner)}
        for name, shape in shapes.items():
            tensors[f"{at}.{name}.weight"], tensors[f"{at}.{name}.bias"] = draw(*shape), draw(shape[0])
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            tensors[f"{at}.{name}.weight"], tensors[f"{at}.{name}.bias"] = draw(width), draw(width)
    return tensors


def naive(tensors: dict[str, torch.Tensor], tokens: list[int]) -> np.ndarray:
    """BERT (Devlin et al. 2019; Vaswani et al. 2017, section 3) for one sentence without padding, one head and one token at a time."""
    t = {name: tensor.double().numpy() for name, tensor in tensors.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + SHAPE.epsilon)
        return np.asarray(x * t[f"{name}.weight"] + t[f"{name}.bias"])

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return np.asarray(x @ t[f"{name}.weight"].T + t[f"{name}.bias"])

    x = np.stack([t["embeddings.word_embeddings.weight"][token] + t["embeddings.position_embeddings.weight"][i] for i, token in enumerate(tokens)])
    x = norm(x + t["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    size = SHAPE.width // SHAPE.heads
    for layer in range(SHAPE.layers):
        at = f"encoder.layer.{layer}"
        query, key, value = (linear(x, f"{at}.attention.self.{name}") for name in ("query", "key", "value"))
        mixed = np.zeros_like(x)
        for head in range(SHAPE.heads):
            part = slice(head * size, (head + 1) * size)
            for i in range(len(tokens)):
                weights = np.exp([query[i, part] @ key[j, part] / np.sqrt(size) for j in range(len(tokens))])
                mixed[i, part] = (weights / weights.sum()) @ value[:, part]
        x = norm(x + linear(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = linear(x, f"{at}.intermediate.dense")
        inner = inner * (1 + erf(inner / np.sqrt(2))) / 2
        x = norm(x + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    return x


def test_a_batch_with_padding_equals_berts_equations_one_sentence_at_a_time() -> None:
    tensors = published()
    network = bert_from_tensors(SHAPE, tensors)
    tokens = torch.tensor([[2, 5, 7, 3], [2, 9, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    with torch.inference_mode():
        found = network(tokens, mask)
    np.testing.assert_allclose(found[0].numpy(), naive(tensors, [2, 5, 7, 3]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[1, :2].numpy(), naive(tensors, [2, 9]), rtol=1e-4, atol=1e-4)


def test_a_missing_or_wrong_tensor_is_one_line() -> None:
    tensors = published()
    del tensors["encoder.layer.1.output.dense.bias"]
    with pytest.raises(StegoError, match="do not fit its configuration"):
        bert_from_tensors(SHAPE, tensors)
    with pytest.raises(StegoError, match="do not fit its configuration"):
        bert_from_tensors(SHAPE, published() | {"embeddings.LayerNorm.bias": torch.zeros(3)})


def test_a_configuration_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="gelu"):
        BertShape.from_config({"hidden_act": "relu"})
