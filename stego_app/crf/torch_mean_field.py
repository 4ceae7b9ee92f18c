"""`stego_app.crf.mean_field` in torch: the whole of a mean field on the device that the backbone runs on."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import scipy.linalg
import torch

from models.errors import StegoError
from stego_app.crf.mean_field import bilateral_features, gaussian_radius
from stego_app.crf.settings import Kernels
from stego_app.crf.torch_lattice import TorchLattice, build_torch_lattice

Floats = npt.NDArray[np.float32]


def torch_mean_field(image: npt.NDArray[np.uint8], unary: Floats, kernels: Kernels, iterations: int, device: str) -> Floats:
    """`stego_app.crf.mean_field.mean_field`, computed on ``device``.

    The marginals are the same to rounding, but for a pixel in some ten thousand whose point lies on the border of two simplices.

    Raises:
        StegoError: no such device here.
    """
    height, width, classes = unary.shape
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise StegoError(f"CRF engine 'torch:{device}': no such device here ({str(error).splitlines()[0]})") from error
    bilateral = _bilateral_lattice(image, kernels, device)
    rows, columns = (torch.from_numpy(_spatial_matrix(length, kernels.spatial_sigma)).to(device) for length in (height, width))
    energies = torch.from_numpy(unary).to(device)
    marginals = torch.softmax(-energies, dim=-1)
    for _ in range(iterations):
        # Potts: a pixel pays for the neighbours' mass on other labels, which is a reward for their mass on its own.
        appearance = bilateral.apply(marginals.reshape(-1, classes)).reshape(unary.shape)
        smoothness = columns @ (rows @ marginals.reshape(height, -1)).reshape(unary.shape)
        marginals = torch.softmax(kernels.bilateral_weight * appearance + kernels.spatial_weight * smoothness - energies, dim=-1)
    result: Floats = marginals.cpu().numpy()
    return result


def _bilateral_lattice(image: npt.NDArray[np.uint8], kernels: Kernels, device: str) -> TorchLattice:
    return build_torch_lattice(torch.from_numpy(bilateral_features(image, kernels)).to(device)).normalised()


def _spatial_matrix(length: int, sigma: float) -> Floats:
    """The symmetrically normalised Gaussian along one axis, (length, length): dense products are what a GPU does best."""
    reach = gaussian_radius(sigma)
    half = cv2.getGaussianKernel(2 * reach + 1, sigma)[reach:, 0]
    kernel = scipy.linalg.toeplitz(np.pad(half[:length], (0, max(0, length - len(half)))))
    scale = 1 / np.sqrt(kernel.sum(axis=1))
    matrix: Floats = (scale[:, None] * kernel * scale).astype(np.float32)
    return matrix
