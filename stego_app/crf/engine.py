"""Refinement of class probabilities by a dense CRF, with a choice of implementations."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from models.errors import StegoError
from stego_app.crf.mean_field import mean_field
from stego_app.crf.settings import CrfSettings, Kernels

Floats = npt.NDArray[np.float32]

ENGINES = ("auto", "mean-field", "torch", "pydensecrf")

ABSENT = 0.1
"""A class is left out if its largest probability in an image is below this share of the largest of all: the cost grows with
the number of classes. On photographs that changes fewer than one label in a thousand."""

SMALLEST = 1e-5
"""Probabilities are clipped here before their logarithm is taken, as everybody does."""


def available_engines() -> tuple[str, ...]:
    """The engines that run here; "auto" is "mean-field", the fastest on a processor, and always there."""
    return ENGINES if importlib.util.find_spec("pydensecrf") is not None else ENGINES[:-1]


def refine(image: npt.NDArray[np.uint8], probabilities: Floats, settings: CrfSettings | None = None, *, engine: str = "auto") -> Floats:
    """Probabilities after mean-field inference in the fully connected CRF of Krähenbühl & Koltun (2011).

    Unary energies are -log p; the pairwise energy is a Potts model over a spatial and a bilateral Gaussian.

    Args:
        image: (H, W, 3) uint8 RGB.
        probabilities: (K, H, W) in [0, 1]; normalised over K here.
        settings: the defaults if None.
        engine: "auto", "mean-field" (ours), "torch" (the same in torch; "torch:cuda" on a GPU) or "pydensecrf" (the authors' C++, from the
            extra ``stego-app[crf]``).

    Returns:
        (K, H, W) float32, summing to 1 over K; zero for classes that are `ABSENT`.

    Raises:
        StegoError: shapes that do not fit, probabilities that are not finite, or an engine that is unknown or not installed.
    """
    _check(image, probabilities, engine)
    options = settings or CrfSettings()
    height, width = image.shape[:2]
    strongest = probabilities.reshape(len(probabilities), -1).max(axis=1)
    present = np.flatnonzero(strongest >= ABSENT * strongest.max())
    result = np.zeros(probabilities.shape, dtype=np.float32)
    if len(present) == 1:
        result[present] = 1
        return result
    # Classes go last, so that a pixel's values lie side by side.
    chosen = np.moveaxis(probabilities[present], 0, -1).astype(np.float32, order="C")
    chosen /= np.maximum(chosen.sum(axis=-1, keepdims=True), np.float32(1e-12))
    unary = -np.log(np.clip(chosen, SMALLEST, 1))
    marginals = _solver(engine)(image, unary, options.kernels(height, width), options.iterations)
    result[present] = np.moveaxis(marginals, -1, 0)
    return result


def _solver(engine: str) -> Callable[[npt.NDArray[np.uint8], Floats, Kernels, int], Floats]:
    name, _, device = engine.partition(":")
    if name == "torch":
        from stego_app.crf.torch_mean_field import torch_mean_field  # worker processes do without torch

        return partial(torch_mean_field, device=device or "cpu")
    return _pydensecrf if name == "pydensecrf" else mean_field


def _pydensecrf(image: npt.NDArray[np.uint8], unary: Floats, kernels: Kernels, iterations: int) -> Floats:
    """`mean_field` by the authors' implementation, which filters with both kernels on the permutohedral lattice."""
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as error:
        raise StegoError("engine 'pydensecrf' is not installed; expected: pip install 'stego-app[crf]' (needs a C++ compiler)") from error
    height, width, classes = unary.shape
    crf = DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(np.ascontiguousarray(unary.reshape(-1, classes).T))
    crf.addPairwiseGaussian(sxy=kernels.spatial_sigma, compat=kernels.spatial_weight)
    crf.addPairwiseBilateral(
        sxy=kernels.bilateral_sigma_xy, srgb=kernels.bilateral_sigma_rgb, rgbim=np.require(image, requirements=["C", "W"]), compat=kernels.bilateral_weight
    )
    marginals: Floats = np.array(crf.inference(iterations), dtype=np.float32).T.reshape(height, width, classes)
    return marginals


def _check(image: npt.NDArray[np.uint8], probabilities: Floats, engine: str) -> None:
    if engine not in ENGINES and not engine.startswith("torch:"):
        raise StegoError(f"CRF engine '{engine}': expected one of {', '.join(ENGINES)}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise StegoError(f"image of shape {image.shape} and type {image.dtype}: expected (height, width, 3) of uint8")
    if probabilities.ndim != 3 or len(probabilities) == 0 or probabilities.shape[1:] != image.shape[:2]:
        raise StegoError(f"probabilities of shape {probabilities.shape} for an image of {image.shape[:2]}: expected (classes, height, width)")
    if not np.isfinite(probabilities).all():
        raise StegoError("probabilities: expected finite numbers")
