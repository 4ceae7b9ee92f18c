"""Holds a graph to torch's answer before anybody uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.errors import StegoError
from stego_app.demo_images import example_images
from stego_app.features.extract import resize_for_backbone
from stego_app.images import read_image
from stego_app.runtime.tokens import Graph

_COSINE = 0.9999
_RELATIVE = 5e-3
_SIZES = ((8, 8), (7, 11), (16, 5))  # patches; wide, tall and square, none of them what the graph was traced with


@dataclass(frozen=True)
class Agreement:
    """How far an output of a graph is from torch's.

    Attributes:
        cosine: the smallest of all patches.
        difference: the largest of all values.
        relative: ``difference`` over the root mean square of torch's values.
    """

    cosine: float
    difference: float
    relative: float

    def __str__(self) -> str:
        return f"largest difference {self.difference:.2g} ({self.relative:.1g} of the root mean square), smallest cosine {self.cosine:.6f}"


def check_images(patch: int) -> list[torch.Tensor]:
    """Batches (B, 3, H, W) of several sizes: the demo photos that other packages bring along, or waves with noise where there are none."""
    photos = _photos()
    batches = [resize_for_backbone(photos[index % len(photos)], (rows * patch, columns * patch), patch)[None] for index, (rows, columns) in enumerate(_SIZES)]
    return [*batches, torch.cat([batches[0], batches[0].flip(-1), 1 - batches[0]])]


def example_batches(patch: int, resolution: int) -> list[torch.Tensor]:
    """The same photos, each a batch (1, 3, H, W) of its own with the short side at ``resolution`` pixels."""
    return [resize_for_backbone(photo, resolution, patch)[None] for photo in _photos()]


def compare(network: nn.Module, graph: Graph, outputs: Sequence[str], batches: Sequence[torch.Tensor]) -> dict[str, Agreement]:
    """The worst agreement of each of ``outputs`` over all ``batches``."""
    found: dict[str, list[Agreement]] = {name: [] for name in outputs}
    for batch in batches:
        with torch.inference_mode():
            expected = network(batch)
        given = graph.run(batch.numpy())
        for name, reference in zip(outputs, expected, strict=True):
            found[name].append(_agreement(reference.numpy(), given[name]))
    return {
        name: Agreement(min(each.cosine for each in list_), max(each.difference for each in list_), max(each.relative for each in list_))
        for name, list_ in found.items()
    }


def refuse_disagreement(found: Mapping[str, Agreement], what: str) -> None:
    """Nothing where all agree to within rounding of float32.

    Raises:
        StegoError: one does not; names it and how far it is off.
    """
    for name, agreement in found.items():
        if not (agreement.cosine >= _COSINE and agreement.relative <= _RELATIVE):  # also where they are not numbers
            raise StegoError(f"{what}: its '{name}' differ from torch's ({agreement}), so nothing was written; use --runtime torch for this network")


def _agreement(reference: npt.NDArray[np.float32], given: npt.NDArray[np.float32]) -> Agreement:
    if reference.shape != given.shape:
        return Agreement(float("nan"), float("nan"), float("nan"))
    difference = float(np.abs(reference - given).max())
    lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(given, axis=1)
    cosine = float(((reference * given).sum(axis=1) / np.maximum(lengths, 1e-12)).min())
    return Agreement(cosine, difference, difference / max(1e-12, float(np.sqrt(np.mean(reference**2)))))


def _photos() -> list[npt.NDArray[np.uint8]]:
    return [read_image(path) for path in example_images()[:3]] or [_waves()]


def _waves() -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[0:240, 0:320]
    base = np.stack([np.sin(rows / 17 + columns / 29), np.cos(rows / 11), np.sin(columns / 7)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 0.2, base.shape)
    return np.clip(127 + 90 * (base + noise), 0, 255).astype(np.uint8)
