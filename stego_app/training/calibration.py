"""Shifts from the data, without labels: the similarity above which as many pairs lie as are expected to agree.

Point pairs of one class and of different classes separate best almost exactly at the quantile ``1 - P(agree)`` of their
similarities, and ``P(agree) = Σ p_k²`` can be estimated from the sizes p_k of k-means clusters of the features. The authors'
own advice for new data is to look at the histograms of the three pair kinds; they are returned for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from models.correspondence import PairTerms, Shifts, correspondence, spatially_centred
from models.errors import StegoError
from stego_app.discovery.codebook import nearest_codes, spherical_kmeans
from stego_app.features.cache import FeatureCache
from stego_app.training.points import derangement, feature_points, random_positions
from stego_app.training.shifts import DEFAULT_WEIGHTS, PUBLISHED, QUANTILE, check_shifts

KINDS = ("self", "neighbour", "random")
BINS = 120
_IMAGES = 64
_TOKENS = 20_000


@dataclass(frozen=True)
class PairHistograms:
    """Distribution of the spatially centred feature correspondence in each pair kind, and where the shifts cut it.

    Attributes:
        edges: (BINS + 1,) edges of the bins.
        densities: pair kind ("self", "neighbour", "random") to (BINS,); each integrates to 1.
        shifts: pair kind to b.
        source: where the shifts come from: "quantile", or the name of a published set.
        agreement: the estimated P(agree) = Σ p_k².
        above: pair kind to the share of pairs above the shift, which are pulled together.
    """

    edges: npt.NDArray[np.float64]
    densities: Mapping[str, npt.NDArray[np.float64]]
    shifts: Mapping[str, float]
    source: str
    agreement: float
    above: Mapping[str, float]


def cluster_masses(tokens: npt.NDArray[np.float32], clusters: int, seed: int) -> npt.NDArray[np.float64]:
    """Shares (clusters,) of spherical k-means clusters among ``tokens`` (n, C).

    Raises:
        StegoError: fewer tokens than clusters.
    """
    if len(tokens) < clusters:
        raise StegoError(f"{clusters} clusters from {len(tokens)} patches: expected at least as many patches as clusters; give more images or fewer classes")
    unit = normalize(torch.from_numpy(tokens), dim=1)
    centroids = spherical_kmeans(unit, clusters, np.random.default_rng(seed), starts=3)
    return np.bincount(nearest_codes(unit, centroids).numpy(), minlength=clusters) / len(tokens)


def agreement_probability(masses: npt.NDArray[np.float64]) -> float:
    """``Σ p_k²``: how often two patches drawn at random fall into one cluster; 1 where all mass lies in one."""
    return float(np.square(masses / masses.sum()).sum())


def pair_similarities(cache: FeatureCache, neighbours: npt.NDArray[np.int64], points: int, batch: int, seed: int) -> dict[str, torch.Tensor]:
    """Centred feature correspondences of each pair kind, flat, over up to 64 images in batches as training sees them."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(cache), generator=generator)[:_IMAGES]
    found: dict[str, list[torch.Tensor]] = {kind: [] for kind in KINDS}
    for images in torch.split(chosen, batch):
        if len(images) < 2:
            continue
        picked = torch.randint(neighbours.shape[1], (len(images),), generator=generator)
        near = neighbours[images.numpy(), picked.numpy()]
        first = feature_points(cache, images.tolist(), random_positions(len(images), points, generator)).transpose(1, 2)
        second = feature_points(cache, near.tolist(), random_positions(len(images), points, generator)).transpose(1, 2)
        others = first[derangement(len(images), generator)]
        for kind, other in zip(KINDS, (first, second, others), strict=True):
            found[kind].append(spatially_centred(correspondence(first, other)).flatten())
    return {kind: torch.cat(values) for kind, values in found.items()}


def choose_shifts(
    name: str, cache: FeatureCache, neighbours: npt.NDArray[np.int64], clusters: int, *, points: int, batch: int, seed: int
) -> tuple[Shifts, PairHistograms]:
    """The shifts that ``name`` stands for, with the histograms they cut.

    Args:
        name: "quantile", or a published set (`stego_app.training.shifts.PUBLISHED`).
        cache: features.
        neighbours: (N, k) nearest images.
        clusters: number of k-means clusters for P(agree), the number of classes wanted.
        points: points an image.
        batch: images a batch.
        seed: of all draws.

    Raises:
        StegoError: an unknown name; fewer patches than clusters.
    """
    check_shifts(name)
    similarities = pair_similarities(cache, neighbours, points, batch, seed)
    tokens, _ = cache.sample(_TOKENS, seed)
    agreement = agreement_probability(cluster_masses(tokens, clusters, seed))
    if name == QUANTILE:
        shifts = Shifts(PairTerms(*(float(np.quantile(similarities[kind].numpy(), 1 - agreement)) for kind in KINDS)), DEFAULT_WEIGHTS)
    else:
        shifts = PUBLISHED[name]
    by_kind = dict(zip(KINDS, (shifts.shift.self_pairs, shifts.shift.neighbour_pairs, shifts.shift.random_pairs), strict=True))
    low = min(float(values.min()) for values in similarities.values())
    high = max(float(values.max()) for values in similarities.values())
    edges = np.linspace(low, high + 1e-6, BINS + 1)
    densities = {kind: np.histogram(values.numpy(), edges, density=True)[0] for kind, values in similarities.items()}
    above = {kind: float((similarities[kind] > by_kind[kind]).float().mean()) for kind in KINDS}
    return shifts, PairHistograms(edges, densities, by_kind, name, agreement, above)
