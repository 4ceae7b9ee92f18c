"""The bridge: scores by a naive loop, the file, and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from models.artifact import ArtifactError, write_artifact
from models.errors import StegoError
from models.text.bridge import Bridge, Calibration, embed_names, read_bridge, save_bridge


class Letters:
    """A sentence model whose vectors count letters."""

    fingerprint = "letters"

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        return normalize(torch.tensor([[1.0 + text.count(letter) for letter in "aeinorst"] for text in texts]), dim=1)


def bridge(seed: int = 0) -> Bridge:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    anchors = normalize(draw(7, 8), dim=1), normalize(draw(5, 8), dim=1)
    return Bridge("back", "letters", ("{}", "a {}"), draw(6), draw(6, 8), draw(8) / 4, *anchors, 3, Calibration(0.1, 0.2, 0.8, 0.4))


def test_scores_are_csls_as_a_loop_computes_it() -> None:
    made = bridge()
    patches, words = normalize(torch.randn(4, 8), dim=1), normalize(torch.randn(3, 8), dim=1)
    found = made.scores(patches, words)
    for i, patch in enumerate(patches.numpy()):
        for j, word in enumerate(words.numpy()):
            near = np.mean(sorted((made.word_anchors.numpy() @ patch).tolist())[-3:])
            far = np.mean(sorted((made.patch_anchors.numpy() @ word).tolist())[-3:])
            assert float(found[i, j]) == pytest.approx(2 * float(patch @ word) - near - far, abs=1e-5)


def test_a_name_is_the_mean_over_its_phrases_and_templates() -> None:
    model = Letters()
    [vector] = embed_names(model, [("car", "auto")], ("{}", "a {}"))
    mean = model(["car", "a car", "auto", "a auto"]).mean(0)
    torch.testing.assert_close(vector, mean / mean.norm())


def test_the_file_brings_back_what_was_saved(tmp_path: Path) -> None:
    made = bridge()
    save_bridge(tmp_path / "b.safetensors", made, {"data": "none"})
    read = read_bridge(tmp_path / "b.safetensors")
    assert (read.backbone, read.sentences, read.templates, read.neighbours, read.calibration) == ("back", "letters", ("{}", "a {}"), 3, made.calibration)
    torch.testing.assert_close(read.patch_map, made.patch_map, atol=2e-3, rtol=1e-3)


def test_files_that_are_no_bridge_are_named(tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    write_artifact(path, "bridge", {"patch_map": torch.zeros(2, 2)}, {})
    with pytest.raises(ArtifactError, match="not complete"):
        read_bridge(path)
    write_artifact(path, "segmenter", {"patch_map": torch.zeros(2, 2)}, {})
    with pytest.raises(ArtifactError, match="this is a segmenter file; expected a bridge file"):
        read_bridge(path)


def test_another_sentence_model_is_refused() -> None:
    model = Letters()
    model.fingerprint = "others"
    with pytest.raises(StegoError, match="fitted to the sentence model letters, not others"):
        bridge().words(model, [("car",)])
