"""The closed-form minimiser of the shift-free pair loss, and the classes it gives.

STEGO's loss needs shifts because raw cosines have no natural zero. The spectral contrastive loss (HaoChen, Wei, Gaidon
& Ma, NeurIPS 2021, section 3.2) compares positive pairs with random ones instead:

    L(z) = -2 E_positive <z_i, z_j> + E_random <z_i, z_j>^2

With A the distribution of positive pairs of codes and d its row sums it equals ||N - F F^T||^2 up to a constant, where
N = D^-1/2 A D^-1/2 and F = D^1/2 z (their lemma 3.2). By Eckart-Young its minimiser in K dimensions is
F = V sqrt(max(lambda, 0)) with the K leading eigenpairs of N, up to a rotation.

Correspondences alone also tell whole images apart: of cells under two microscopes, two patches under the same one correspond and two
under different ones do not, whatever they show, and the first classes are the microscopes. So two patches of one image, that do not
correspond, count against being alike. With S the distribution of any two patches of one image and s its row sums, N less w times

    D_s^-1/2 (S - s s^T) D_s^-1/2

is what the loss above gives, where s is d, with E_positive <z, z'> - w (E_same image <z, z'> - E_random <z, z'>) in place of its first
term. For a vector of unit length that takes away w times the part of its variance that lies between images.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from models.errors import StegoError

Matrix = npt.NDArray[np.float64]


class Spectrum(NamedTuple):
    """Eigenpairs of N, largest first: ``values`` (M,), ``vectors`` (M, M) in columns; ``degrees`` (M,) the row sums d."""

    values: Matrix
    vectors: Matrix
    degrees: Matrix


def spectrum(pairs: Matrix, same_image: Matrix | None = None, image_weight: float = 0.0) -> Spectrum:
    """Eigenpairs of the degree-normalised ``pairs``, less ``image_weight`` times what tells whole images apart.

    Args:
        pairs: (M, M) distribution of positive pairs, symmetric with positive row sums.
        same_image: (M, M) distribution of pairs of patches of one image, symmetric; codes that it lacks have empty rows.
        image_weight: w, 0 or more.
    """
    degrees = pairs.sum(1)
    root = np.sqrt(degrees)
    normalised = pairs / root[:, None] / root[None]
    if same_image is not None and image_weight > 0:
        share = same_image.sum(1)
        root = np.sqrt(np.where(share > 0, share, 1))
        normalised -= image_weight * (same_image - np.outer(share, share)) / root[:, None] / root[None]
    values, vectors = np.linalg.eigh(normalised)
    values, vectors = values[::-1], vectors[:, ::-1]
    # An eigenvector's sign is arbitrary; fixing it keeps results the same across linear-algebra libraries.
    signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(vectors))])
    return Spectrum(values, vectors * np.where(signs == 0, 1, signs), degrees)


def spectral_codes(found: Spectrum, dimensions: int) -> Matrix:
    """Unit codes (M, dimensions): the rows of the leading eigenvectors, normalised.

    They span the minimiser above; its eigenvalues are left out so that no class counts less for being harder
    to tell apart (Ng, Jordan & Weiss 2002).
    """
    rows = found.vectors[:, :dimensions]
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def code_vectors(found: Spectrum, clusters: int) -> Matrix:
    """Unit vectors (M, E) whose first half tells ``clusters`` apart, the second also what is inside them."""
    return np.concatenate([spectral_codes(found, clusters), spectral_codes(found, finer(found, clusters))], axis=1) / 2**0.5


def finer(found: Spectrum, clusters: int) -> int:
    """Dimensions in which what is inside ``clusters`` is told apart; beyond about twice as many eigenvectors are mostly noise."""
    return min(len(found.values), 2 * clusters)


def cluster_codes(codes: Matrix, weights: Matrix, classes: int, seed: int) -> npt.NDArray[np.int64]:
    """Class (M,) of each code: weighted k-means, the best of ten starts; all classes are used.

    Raises:
        StegoError: fewer distinct codes than classes.
    """
    # Sums over threads are added in any order, which would change the last bits. Too few distinct codes are counted below.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(classes, n_init=10, max_iter=100, random_state=seed).fit(codes, sample_weight=weights)
    labels = np.asarray(fitted.labels_, dtype=np.int64)
    if (found := len(np.unique(labels))) < classes:
        raise StegoError(f"classes {classes}: the images can only be told apart into {found}; ask for at most {found}")
    return labels
