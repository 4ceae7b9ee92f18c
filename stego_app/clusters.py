"""The clusters of a segmenter: from a patch token to fine clusters, and from fine clusters to any number of classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy, normalize

from models.errors import StegoError
from models.head import LookupHead, SegmentationHead
from stego_app.classes import cut as cut_parts

Head = SegmentationHead | LookupHead
_HEAD = "head."
_TEMPERATURES = tuple(float(value) for value in np.geomspace(0.02, 0.5, 12))


def cut(merges: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.int64]:
    """Class of each leaf when the tree is cut into ``classes`` parts, numbered by their first leaf.

    Args:
        merges: (F - 1, 2) nodes joined, in SciPy's numbering: row i makes node F + i; in order of merging.
        classes: number of parts.

    Returns:
        (F,) int64, values 0 to ``classes`` - 1. Cuts are nested: each part of a finer cut lies in one part of a coarser.

    Raises:
        StegoError: ``classes`` is not between 1 and F.
    """
    leaves = len(merges) + 1
    if not 1 <= classes <= leaves:
        raise StegoError(f"classes {classes}: the tree has {leaves} fine clusters; expected 1 to {leaves}")
    labels = np.empty(leaves, dtype=np.int64)
    for label, part in enumerate(sorted(cut_parts(merges, leaves, classes), key=min)):
        labels[list(part)] = label
    return labels


@dataclass(frozen=True)
class ClusterModel:
    """Everything that turns the tokens of a backbone into classes; new images need matrix products only.

    Attributes:
        mean: (C,) float32, subtracted from unit tokens.
        metric: (C, D) float32; the projected token is ``normalise((normalise(token) - mean) @ metric)``.
        head: projected token times sqrt(D) to code; the code is normalised.
        fine: (F, E) float32 unit rows, the directions of fine clusters.
        temperature: p(fine | patch) = softmax(fine_logits / temperature).
        merges: (F - 1, 2) int64, the tree over fine clusters; see `cut`.
        classes: parts of the default cut.
    """

    mean: torch.Tensor
    metric: torch.Tensor
    head: Head
    fine: torch.Tensor
    temperature: float
    merges: npt.NDArray[np.int64]
    classes: int

    def __post_init__(self) -> None:
        fits = self.metric.shape == (len(self.mean), self.head.in_dim) and self.fine.shape[1:] == (self.head.code_dim,)
        if not fits or self.merges.shape != (len(self.fine) - 1, 2) or not 1 <= self.classes <= len(self.fine) or self.temperature <= 0:
            raise StegoError(
                f"clusters that do not fit each other: metric {tuple(self.metric.shape)}, head {self.head.in_dim} to {self.head.code_dim}, "
                f"fine {tuple(self.fine.shape)}, merges {self.merges.shape}, classes {self.classes}, temperature {self.temperature}"
            )

    @torch.inference_mode()
    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (n, C) of any length to unit vectors (n, D) in which cosines measure correspondence."""
        return normalize((normalize(tokens.float(), dim=1) - self.mean) @ self.metric, dim=1)

    @torch.inference_mode()
    def codes(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (n, C) to unit codes (n, E)."""
        return self._codes_of(self.project(tokens))

    def _codes_of(self, projected: torch.Tensor) -> torch.Tensor:
        return normalize(self.head(projected * math.sqrt(self.head.in_dim)), dim=1)

    @torch.inference_mode()
    def detailed_codes(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (n, C) to unit codes beside unit projected tokens, (n, E + D).

        A code has about three dimensions a class: enough to tell the clusters apart, too few for what a probe may ask next.
        The projected token keeps the rest, so that whoever learns from codes (a linear probe, a few labels) loses nothing.
        """
        projected = self.project(tokens)
        return torch.cat([self._codes_of(projected), projected], dim=1)

    @torch.inference_mode()
    def fine_logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Cosine (n, F) of the code of each of ``tokens`` (n, C) with each fine cluster, in [-1, 1]."""
        return self.codes(tokens) @ self.fine.T

    @torch.inference_mode()
    def class_probabilities(self, tokens: torch.Tensor, classes: int | None = None) -> torch.Tensor:
        """Probabilities (n, K) of the parts of the cut into ``classes`` for ``tokens`` (n, C), numbered as `cut` does.

        Raises:
            StegoError: ``classes`` is not between 1 and the number of fine clusters.
        """
        parts = self.classes if classes is None else classes
        return sum_parts(self.fine_probabilities(self.fine_logits(tokens)), cut(self.merges, parts), parts)

    def fine_probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities (n, F) of the fine clusters from their `fine_logits`."""
        return torch.softmax(logits / self.temperature, dim=1)

    def calibrated(self, tokens: torch.Tensor, leaves: torch.Tensor) -> ClusterModel:
        """The same with the temperature at which the probabilities predict the fine clusters ``leaves`` (n,) of ``tokens`` (n, C) best (Guo et al. 2017)."""
        logits = self.fine_logits(tokens)
        losses = [float(cross_entropy(logits / value, leaves)) for value in _TEMPERATURES]
        return replace(self, temperature=_TEMPERATURES[int(np.argmin(losses))])

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """All arrays by name, for a safetensors file; with `header`, everything `from_tensors` needs."""
        head = {_HEAD + name: tensor.detach().cpu() for name, tensor in self.head.state_dict().items()}
        return {"mean": self.mean, "metric": self.metric, "fine": self.fine, "merges": torch.from_numpy(np.ascontiguousarray(self.merges)), **head}

    def header(self) -> dict[str, Any]:
        """What is no array, ready for JSON."""
        kind = {"head": "lookup", "sharpness": self.head.sharpness} if isinstance(self.head, LookupHead) else {"head": "segmentation"}
        return {"temperature": self.temperature, "classes": self.classes, **kind}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> ClusterModel:
        """Inverse of `to_tensors` and `header`.

        Raises:
            StegoError: the tensors do not fit each other.
            KeyError: a tensor or a field is missing.
            ValueError: an unknown kind of head.
        """
        return cls(
            mean=tensors["mean"].float(),
            metric=tensors["metric"].float(),
            head=_head_from(tensors, header),
            fine=tensors["fine"].float(),
            temperature=float(header["temperature"]),
            merges=tensors["merges"].long().numpy(),
            classes=int(header["classes"]),
        )


def sum_parts(fine: torch.Tensor, part_of_leaf: npt.NDArray[np.int64], parts: int) -> torch.Tensor:
    """Probabilities (n, ``parts``): those of the fine clusters, summed over the leaves of each part.

    Args:
        fine: (n, F) probabilities of the fine clusters.
        part_of_leaf: (F,) part of each fine cluster, 0 to ``parts`` - 1.
        parts: how many there are; a part without leaves has probability 0.
    """
    return fine @ torch.nn.functional.one_hot(torch.from_numpy(part_of_leaf), parts).float()


def _head_from(tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> Head:
    state = {name.removeprefix(_HEAD): tensor.float() for name, tensor in tensors.items() if name.startswith(_HEAD)}
    if header["head"] == "lookup":
        return LookupHead(state["codebook"], state["vectors"], float(header["sharpness"])).eval()
    if header["head"] != "segmentation":
        raise ValueError(f"unknown head '{header['head']}'")
    code_dim, in_dim = state["linear.weight"].shape
    head = SegmentationHead(in_dim, code_dim)
    try:
        head.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise StegoError(f"the weights of the segmentation head do not fit each other ({str(error).splitlines()[-1].strip()})") from error
    return head.eval()
