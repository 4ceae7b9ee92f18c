"""The CLIP tower on a tiny random CLIP: its dense features by an independent calculation. No published weights can be had here."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from models.errors import StegoError
from stego_app.encoder import Encoded
from stego_app.naming.clip_tower import ClipTower
from stego_app.naming.words import Word


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(StegoError, match=r"open-clip-torch.*--extra clip"):
        ClipTower.load("ViT-B-16/openai")


@pytest.fixture
def model() -> Any:
    if importlib.util.find_spec("open_clip") is None:
        pytest.skip("the extra clip is not installed: uv sync --extra clip")
    from open_clip.model import CLIP

    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
    return CLIP(16, vision, {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1}).eval()


def tokenize(texts: list[str]) -> torch.Tensor:
    return torch.tensor([[1, *(2 + ord(letter) % 40 for letter in text[-6:].ljust(6)), 49] for text in texts])


def test_dense_features_are_the_projected_values_of_the_last_attention(model: Any) -> None:
    tower = ClipTower(model, tokenize, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "tiny")
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    found = tower.image(Encoded(image, torch.zeros(16, 1), (4, 4)))
    visual = model.visual
    pixels = (torch.from_numpy(image).permute(2, 0, 1).float() / 255 - 0.5) / 0.25
    with torch.inference_mode():
        # One patch at a time: its embedding, all blocks but the last, then V and the output matrix of the last, on itself.
        patches = torch.stack([(visual.conv1.weight * pixels[:, r : r + 8, c : c + 8]).sum((1, 2, 3)) for r in range(0, 32, 8) for c in range(0, 32, 8)])
        x = visual.ln_pre(torch.cat([visual.class_embedding[None], patches])[None] + visual.positional_embedding)
        x = visual.transformer.resblocks[0](x)
        last = visual.transformer.resblocks[1]
        weight, bias = last.attn.in_proj_weight.chunk(3)[2], last.attn.in_proj_bias.chunk(3)[2]
        rows = [visual.ln_post(last.attn.out_proj(weight @ last.ln_1(token) + bias)) @ visual.proj for token in x[0, 1:]]
    torch.testing.assert_close(found, normalize(torch.stack(rows), dim=1), atol=1e-4, rtol=1e-3)


def test_a_patch_finds_the_word_that_was_made_to_match_it(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = ClipTower(model, tokenize, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "tiny")
    image = np.random.default_rng(1).integers(0, 255, (48, 40, 3), np.uint8)
    patches = tower.image(Encoded(image, torch.zeros(30, 1), (6, 5)))
    chosen = [3, 17, 28]
    monkeypatch.setattr(model, "encode_text", lambda _tokens: patches[[chosen[0]]].expand(3, -1))
    words = [tower.words([Word("a", ("a",))])]
    for row in chosen[1:]:
        monkeypatch.setattr(model, "encode_text", lambda _tokens, row=row: patches[[row]].expand(3, -1))
        words.append(tower.words([Word("b", ("b",))]))
    assert tower.scores(patches, torch.cat(words)).argmax(0).tolist() == chosen


def test_words_are_means_over_templates(model: Any) -> None:
    tower = ClipTower(model, tokenize, (0.5,) * 3, (0.25,) * 3, "tiny")
    [vector] = tower.words([Word("cat", ("cat",))])
    with torch.inference_mode():
        each = normalize(model.encode_text(tokenize(["a photo of a cat.", "cat", "there is cat in the scene."])), dim=1)
    torch.testing.assert_close(vector, normalize(each.mean(0), dim=0))


def test_it_asks_for_images_and_for_weights(model: Any) -> None:
    tower = ClipTower(model, tokenize, (0.5,) * 3, (0.25,) * 3, "tiny")
    with pytest.raises(StegoError, match="has to see images"):
        tower.tokens(np.zeros((1, 4), np.float32))
    with pytest.raises(StegoError, match="expected clip:ARCHITECTURE/WEIGHTS"):
        ClipTower.load("ViT-B-16")
    with pytest.raises(StegoError, match="cannot be loaded"):
        ClipTower.load("ViT-B-16/nowhere")
    with pytest.raises(StegoError, match="not a ViT of open_clip's own"):
        ClipTower(torch.nn.ModuleDict({"visual": torch.nn.Linear(1, 1)}), tokenize, (0.5,) * 3, (0.25,) * 3, "other")
