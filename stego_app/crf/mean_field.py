"""Mean-field inference in the fully connected CRF (Krähenbühl & Koltun 2011, algorithm 1), in NumPy and SciPy."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from stego_app.crf.lattice import Lattice, build_lattice
from stego_app.crf.settings import Kernels

Floats = npt.NDArray[np.float32]


def mean_field(image: npt.NDArray[np.uint8], unary: Floats, kernels: Kernels, iterations: int) -> Floats:
    """Approximate marginals after ``iterations`` updates.

    Args:
        image: (H, W, 3) uint8 RGB.
        unary: (H, W, K) energies -log p, between 0 and about 20.
        kernels: of this image size.
        iterations: 0 gives the normalised exp(-unary).

    Returns:
        (H, W, K) float32, summing to 1 over K.
    """
    height, width, classes = unary.shape
    bilateral = bilateral_lattice(image, kernels)
    spatial = SpatialKernel(height, width, kernels.spatial_sigma)
    marginals = _softmax(-unary)
    for _ in range(iterations):
        # Potts: a pixel pays for the neighbours' mass on other labels, which is a reward for their mass on its own.
        logits = bilateral.apply(marginals.reshape(-1, classes)).reshape(unary.shape)
        logits *= np.float32(kernels.bilateral_weight)
        logits -= unary
        cv2.scaleAdd(spatial.apply(marginals), kernels.spatial_weight, logits, logits)
        marginals = _softmax(logits)
    return marginals


def bilateral_lattice(image: npt.NDArray[np.uint8], kernels: Kernels) -> Lattice:
    """The symmetrically normalised filter over position and colour (equation 3, first kernel) of an (H, W, 3) image."""
    return build_lattice(bilateral_features(image, kernels)).normalised()


def bilateral_features(image: npt.NDArray[np.uint8], kernels: Kernels) -> Floats:
    """Position and colour of each pixel (5, H * W), divided by their standard deviations."""
    height, width = image.shape[:2]
    features = np.empty((5, height, width), dtype=np.float32)
    features[0] = np.arange(width, dtype=np.float32) / kernels.bilateral_sigma_xy
    features[1] = (np.arange(height, dtype=np.float32) / kernels.bilateral_sigma_xy)[:, None]
    features[2:] = image.transpose(2, 0, 1) / np.float32(kernels.bilateral_sigma_rgb)
    return features.reshape(5, -1)


class SpatialKernel:
    """The symmetrically normalised Gaussian over position (equation 3, second kernel): separable, so filtered exactly."""

    def __init__(self, height: int, width: int, sigma: float) -> None:
        self.sigma = sigma
        self.rows = _scale(height, sigma).reshape(height, 1, 1)
        self.columns = _scale(width, sigma).reshape(1, width, 1)
        # Only near the border does a pixel have less than all of its neighbours.
        reach = gaussian_radius(sigma)
        self.border_rows = _ends(height, reach)
        self.border_columns = _ends(width, reach)

    def apply(self, values: Floats) -> Floats:
        """Filter ``values`` (H, W, K)."""
        return self._scaled(_gaussian(self._scaled(values.copy()), self.sigma).reshape(values.shape))

    def _scaled(self, values: Floats) -> Floats:
        for part in self.border_rows:
            values[part] *= self.rows[part]
        for part in self.border_columns:
            values[:, part] *= self.columns[:, part]
        return values


def _gaussian(values: Floats, sigma: float) -> Floats:
    # Outside the image there are no pixels to exchange messages with: zeros, not a mirror.
    side = 2 * gaussian_radius(sigma) + 1
    result: Floats = cv2.GaussianBlur(values, (side, side), sigma, borderType=cv2.BORDER_CONSTANT)
    return result


def _scale(length: int, sigma: float) -> Floats:
    """(filter of ones)^(-1/2) along one axis."""
    reach = gaussian_radius(sigma)
    kernel = cv2.getGaussianKernel(2 * reach + 1, sigma)[:, 0]
    mass = np.convolve(np.ones(length), kernel)[reach : reach + length]
    return (1 / np.sqrt(mass)).astype(np.float32)


def gaussian_radius(sigma: float) -> int:
    """Pixels beyond which a Gaussian is cut off."""
    return max(1, round(4 * sigma))


def _ends(length: int, reach: int) -> tuple[slice, ...]:
    if 2 * reach >= length:
        return (slice(None),)
    return slice(0, reach), slice(length - reach, length)


def _softmax(logits: Floats) -> Floats:
    """Softmax over the last axis, in place."""
    # Energies are bounded (see `mean_field`), so no row can vanish; a reward above 80 is certainty and would overflow.
    np.minimum(logits, np.float32(80), out=logits)
    np.exp(logits, out=logits)
    classes = logits.shape[-1]
    # A product with ones: summing over a short last axis is several times slower.
    mass = logits.reshape(-1, classes) @ np.ones((classes, 1), dtype=np.float32)
    logits /= mass.reshape(*logits.shape[:-1], 1)
    return logits
