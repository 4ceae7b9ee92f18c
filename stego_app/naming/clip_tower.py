"""A CLIP of open_clip (Ilharco et al. 2021) as a text tower: its own dense image features, pooled on the segmenter's grid."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate, normalize

from models.errors import StegoError
from models.text.bridge import Calibration
from stego_app.encoder import Encoded
from stego_app.features.extract import resize_for_backbone
from stego_app.naming.words import Word

EXTRA = "uv sync --extra clip (or pip install 'stego-app[clip]')"
TEMPLATES = ("a photo of a {}.", "{}", "there is {} in the scene.")
NEVER_NONE = Calibration(temperature=0.01, threshold=-10.0, rejection=0.0, acceptance=1.0)
"""CLIP's usual temperature. What cosine means "none of these" differs from CLIP to CLIP and is not known here, so some word is always taken."""
_OWN_NAMES = ("hf-hub:", "local-dir:")


class ClipTower:
    """See the module; `stego_app.naming.tower.TextTower` says what each method does.

    Dense features are those of MaskCLIP (Zhou et al. 2022, arXiv:2112.01071, section 3.2): of the last attention only the values, projected as CLIP
    projects its CLS token, so that each patch answers for itself.

    Args:
        model: an open_clip CLIP whose image tower is open_clip's own ViT.
        tokenizer: texts to token numbers.
        mean, std: normalisation of RGB values in [0, 1].
        name: for messages and the fingerprint.
    """

    calibration = NEVER_NONE

    def __init__(self, model: Any, tokenizer: Callable[[list[str]], torch.Tensor], mean: Sequence[float], std: Sequence[float], name: str) -> None:
        visual = model.visual
        if not hasattr(getattr(visual, "transformer", None), "resblocks") or getattr(visual, "proj", None) is None:
            raise StegoError(f"tower 'clip:{name}': its image tower is not a ViT of open_clip's own; expected one such as ViT-B-16/openai")
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._mean, self._std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
        self._name = name

    @classmethod
    def load(cls, name: str, device: str = "cpu") -> ClipTower:
        """The CLIP ``name``: ARCHITECTURE/TAG or ARCHITECTURE/PATH of weights, or what open_clip takes whole ("hf-hub:…", "local-dir:…").

        Raises:
            StegoError: the extra ``clip`` is not installed, no such model, or weights that cannot be had.
        """
        try:
            open_clip = importlib.import_module("open_clip")
        except ImportError as error:
            raise StegoError(f"tower 'clip:{name}' needs the package open-clip-torch: {EXTRA}") from error
        whole = name.startswith(_OWN_NAMES)
        architecture, _, weights = (name, "", "") if whole else name.partition("/")
        if not whole and not weights:
            raise StegoError(f"tower 'clip:{name}': expected clip:ARCHITECTURE/WEIGHTS, such as clip:ViT-B-16/openai")
        try:
            model, transform = open_clip.create_model_from_pretrained(architecture, pretrained=weights or None, device=device)
            tokenizer = open_clip.get_tokenizer(architecture)
        except Exception as error:  # open_clip and the hub raise many kinds; all mean that there is no such model here
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise StegoError(f"tower 'clip:{name}': cannot be loaded ({reason}); expected a name that open_clip knows, or a path of weights") from error
        normalisation = next(step for step in transform.transforms if hasattr(step, "mean"))
        return cls(model, tokenizer, normalisation.mean, normalisation.std, name)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the name and a sum over the weights."""
        total = sum(float(parameter.double().sum()) for parameter in self._model.parameters())
        return hashlib.sha256(f"{self._name}|{total!r}".encode()).hexdigest()[:16]

    @torch.inference_mode()
    def words(self, words: Sequence[Word]) -> torch.Tensor:
        """See `TextTower`: means over phrases and templates."""
        device = next(self._model.parameters()).device
        means = []
        for word in words:
            texts = [template.format(phrase) for phrase in word.phrases for template in TEMPLATES]
            means.append(normalize(self._model.encode_text(self._tokenizer(texts).to(device)).float(), dim=1).mean(0))
        return normalize(torch.stack(means), dim=1).cpu()

    def tokens(self, tokens: npt.NDArray[np.float32] | torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """CLIP cannot see what a segmenter's file keeps.

        Raises:
            StegoError: always.
        """
        raise StegoError(f"tower 'clip:{self._name}' has to see images, since the segmenter's file knows its own backbone only; give --images FOLDER")

    @torch.inference_mode()
    def image(self, encoded: Encoded) -> torch.Tensor:
        """See `TextTower`."""
        visual = self._model.visual
        patch, size = visual.patch_size[0], visual.image_size[0]
        # The size it was trained at: its position embeddings are of that grid alone, so the picture is squeezed into it.
        pixels = (resize_for_backbone(encoded.image, (size, size), patch) - self._mean) / self._std
        seen: list[torch.Tensor] = []
        last = visual.transformer.resblocks[-1]
        handle = last.register_forward_pre_hook(lambda _block, arguments: seen.append(arguments[0]))
        try:
            visual(pixels[None].to(visual.proj.device))
        finally:
            handle.remove()
        tokens = seen[0] if visual.transformer.batch_first else seen[0].transpose(0, 1)
        dense = _values(last, tokens)[0, 1:]
        features = visual.ln_post(dense) @ visual.proj
        side = size // patch
        maps = normalize(features.float(), dim=1).T.reshape(1, -1, side, side)
        resized: torch.Tensor = interpolate(maps, encoded.grid, mode="bilinear", align_corners=False)[0].flatten(1).T
        return resized.cpu()

    def scores(self, patches: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """See `TextTower`: cosines."""
        return normalize(patches, dim=1) @ words.T


def _values(block: Any, tokens: torch.Tensor) -> torch.Tensor:
    """What the attention of ``block`` would give each of ``tokens`` (1, L, C) if it looked at itself alone."""
    attention = block.attn
    width = tokens.shape[-1]
    values = torch.nn.functional.linear(block.ln_1(tokens), attention.in_proj_weight[-width:], attention.in_proj_bias[-width:])
    result: torch.Tensor = attention.out_proj(values)
    return result
