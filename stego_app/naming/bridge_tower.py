"""The tower that works offline: MiniLM's sentence vectors, and a bridge that maps the backbone's patches to them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from models.errors import StegoError
from models.text.bridge import Bridge, Calibration, bridge_path, read_bridge
from models.text.sentences import MiniLm, SentenceModel
from stego_app.encoder import Encoded
from stego_app.naming.tower import TOWERS
from stego_app.naming.words import Word

EMBEDDED = "bridge"


class BridgeTower:
    """See the module; `stego_app.naming.tower.TextTower` says what each method does."""

    def __init__(self, bridge: Bridge, model: SentenceModel) -> None:
        self.bridge = bridge
        self._model = model

    @classmethod
    def load(cls, name: str, backbone_fingerprint: str) -> BridgeTower:
        """The embedded bridge, or the one in a file.

        Raises:
            StegoError: no such file, a bridge for another backbone, or the extra ``text`` is not installed.
        """
        if name != EMBEDDED and not name.endswith(".safetensors"):
            raise StegoError(f"tower '{name}': expected {TOWERS}")
        path = bridge_path() if name == EMBEDDED else Path(name)
        bridge = read_bridge(path)
        if bridge.backbone != backbone_fingerprint:
            raise StegoError(
                f"{path.name}: this bridge was fitted to the backbone {bridge.backbone}, the segmenter has {backbone_fingerprint}; "
                "fit one with `stego pretrain naming --backbone …`, or take --tower clip:NAME"
            )
        return cls(bridge, MiniLm.load())

    @property
    def fingerprint(self) -> str:
        """16 hex digits of all that scores depend on."""
        digest = hashlib.sha256(repr((self.bridge.backbone, self.bridge.sentences, self.bridge.templates, self.bridge.calibration)).encode())
        digest.update(self.bridge.patch_map.numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def calibration(self) -> Calibration:
        """That of the bridge."""
        return self.bridge.calibration

    def words(self, words: Sequence[Word]) -> torch.Tensor:
        """See `TextTower`."""
        return self.bridge.words(self._model, [word.phrases for word in words])

    def tokens(self, tokens: npt.NDArray[np.float32] | torch.Tensor) -> torch.Tensor:
        """See `TextTower`. ``tokens`` are unit tokens, or means of such."""
        return self.bridge.patches(torch.as_tensor(tokens))

    def image(self, encoded: Encoded) -> torch.Tensor:
        """See `TextTower`."""
        return self.tokens(normalize(encoded.tokens.float(), dim=1))

    def scores(self, patches: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """See `TextTower`: cross-domain similarity local scaling."""
        return self.bridge.scores(normalize(patches, dim=1), words)
