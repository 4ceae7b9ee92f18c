"""A BERT encoder (Devlin et al. 2019) read from a safetensors file: all that a small sentence model needs, without a library of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from models.errors import StegoError

_ATTENTION = ("query", "key", "value")


@dataclass(frozen=True)
class BertShape:
    """The numbers of a BERT's configuration file that decide its shape."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    inner: int
    positions: int
    epsilon: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BertShape:
        """Read ``config.json`` as published with the weights.

        Raises:
            KeyError: a field is missing.
            ValueError: a BERT of another kind (its activation or its positions).
        """
        if config["hidden_act"] != "gelu" or config.get("position_embedding_type", "absolute") != "absolute":
            raise ValueError("expected a BERT with gelu and absolute positions")
        return cls(
            vocabulary=int(config["vocab_size"]),
            width=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            inner=int(config["intermediate_size"]),
            positions=int(config["max_position_embeddings"]),
            epsilon=float(config["layer_norm_eps"]),
        )


class Bert(nn.Module):
    """Token numbers to one vector a token."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.positions, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        # BERT is torch's encoder with the norm after each residual.
        layer = nn.TransformerEncoderLayer(shape.width, shape.heads, shape.inner, 0.0, "gelu", shape.epsilon, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Vectors (B, T, C) of ``tokens`` (B, T) int64; ``mask`` (B, T) is True where there is a token. T is at most ``shape.positions``."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        embedded = self.norm(self.words(tokens) + self.positions(places))
        encoded: torch.Tensor = self.encoder(embedded, src_key_padding_mask=~mask)
        return encoded


def bert_from_tensors(shape: BertShape, tensors: Mapping[str, torch.Tensor]) -> Bert:
    """A BERT filled from published ``tensors`` (named as in Hugging Face's files), in evaluation mode.

    Raises:
        StegoError: a tensor is missing or of another shape.
    """
    try:
        state = _state(shape, tensors)
        with torch.device("meta"):  # nothing random is drawn that would be thrown away
            network = Bert(shape)
        network.load_state_dict(state, strict=True, assign=True)
    except (KeyError, RuntimeError) as error:
        raise StegoError(f"the weights of the sentence model do not fit its configuration ({str(error).splitlines()[-1].strip()})") from error
    return network.eval()


def _state(shape: BertShape, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The published names as ours. There is one kind of segment in a single sentence, so its vector goes into every position's."""
    state = {
        "words.weight": tensors["embeddings.word_embeddings.weight"],
        "positions.weight": tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": tensors["embeddings.LayerNorm.weight"],
        "norm.bias": tensors["embeddings.LayerNorm.bias"],
    }
    for number in range(shape.layers):
        ours, theirs = f"encoder.layers.{number}", f"encoder.layer.{number}"
        for part in ("weight", "bias"):
            state[f"{ours}.self_attn.in_proj_{part}"] = torch.cat([tensors[f"{theirs}.attention.self.{kind}.{part}"] for kind in _ATTENTION])
            state[f"{ours}.self_attn.out_proj.{part}"] = tensors[f"{theirs}.attention.output.dense.{part}"]
            state[f"{ours}.norm1.{part}"] = tensors[f"{theirs}.attention.output.LayerNorm.{part}"]
            state[f"{ours}.linear1.{part}"] = tensors[f"{theirs}.intermediate.dense.{part}"]
            state[f"{ours}.linear2.{part}"] = tensors[f"{theirs}.output.dense.{part}"]
            state[f"{ours}.norm2.{part}"] = tensors[f"{theirs}.output.LayerNorm.{part}"]
    return state
