"""Signs that a training run went wrong, in plain words: pure functions of cluster sizes, codes and features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Set between runs of both kinds on CamVid, 11 clusters, 250 steps: healthy ones (quantile shifts) had 8.9 effective clusters,
# code rank 20 and kept 86 %; collapsed ones (published COCO-Stuff shifts) 3.8 to 4.8, 3 to 4 and 51 to 55 %.
LARGEST_SHARE = 0.6
EFFECTIVE_SHARE = 0.5
EMPTY_SHARE = 1e-4
CODE_SIMILARITY = 0.8
RANK_SHARE = 0.4
FEATURES_KEPT = 0.65

_REMEDIES = {
    "stego": "try --shifts quantile, or --objective auto, which has no shifts to tune",
    "auto": "try another number of classes, or more and more varied images",
}


@dataclass(frozen=True)
class Finding:
    """One thing to doubt: ``sign`` names it, ``value`` is what was measured, ``text`` says it and what to try."""

    sign: str
    value: float
    text: str


def effective_clusters(shares: npt.NDArray[np.float64]) -> float:
    """``exp`` of the entropy of ``shares`` (K,): K where all are equal, 1 where one has everything."""
    positive = shares[shares > 0] / shares.sum()
    return float(np.exp(-(positive * np.log(positive)).sum()))


def code_similarity(codes: npt.NDArray[np.float32]) -> float:
    """Mean cosine of two different rows of ``codes`` (n, E), in [-1, 1]: near 1 where all codes point one way."""
    unit = codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
    count = len(unit)
    return float((np.square(unit.sum(0, dtype=np.float64)).sum() - count) / (count * (count - 1)))


def code_rank(codes: npt.NDArray[np.float32]) -> float:
    """Effective rank of unit ``codes`` (n, E) about their mean: ``exp`` of the entropy of the covariance's spectrum.

    Roy and Vetterli, "The effective rank", EUSIPCO 2007. 1 where codes differ in one direction only; 0 where they are all equal.
    """
    unit = codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
    spectrum = np.clip(np.linalg.eigvalsh(np.cov(unit.T.astype(np.float64))), 0, None)
    return 0.0 if spectrum.sum() < 1e-9 else effective_clusters(spectrum)


def features_kept(features: npt.NDArray[np.float32], codes: npt.NDArray[np.float32]) -> float:
    """How much of the features is a linear function of the codes, as a share of what as many dimensions could keep at best.

    The variance of unit ``features`` (n, C) explained by least squares on ``codes`` (n, E), over that of their E principal
    components; in [0, 1]. Low where the head threw away what a linear probe on the features would find.
    """
    x = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    x = (x - x.mean(0)).astype(np.float64)
    z = codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
    z = (z - z.mean(0)).astype(np.float64)
    basis, singular, _ = np.linalg.svd(z, full_matrices=False)
    basis = basis[:, singular > 1e-4 * max(float(singular.max()), 1e-9)]  # the rest is rounding
    explained = np.square(basis.T @ x).sum()
    best = np.clip(np.linalg.eigvalsh(x.T @ x), 0, None)[::-1][: codes.shape[1]].sum()
    return float(min(1.0, explained / best)) if best > 0 else 0.0


def find_collapse(shares: npt.NDArray[np.float64], features: npt.NDArray[np.float32], codes: npt.NDArray[np.float32], objective: str = "auto") -> list[Finding]:
    """What to doubt about a result.

    Args:
        shares: (K,) share of patches in each class.
        features: (n, C) features of sampled patches.
        codes: (n, E) their codes.
        objective: "stego" or "auto", for what to try; codes of "auto" are few by design, so only "stego" is asked what they keep.

    Returns:
        The findings, gravest first; empty where nothing is wrong.
    """
    remedy = _REMEDIES[objective]
    count, largest, effective = len(shares), float(shares.max()), effective_clusters(shares)
    similarity, rank = code_similarity(codes), code_rank(codes)
    empty = int((shares < EMPTY_SHARE).sum())
    findings: list[Finding] = []
    if count > 1 and largest > LARGEST_SHARE:
        what = f"one class covers {largest:.0%} of all patches: unless most of what the images show is one thing, too much was pulled together"
        findings.append(Finding("largest", largest, f"{what}; {remedy}"))
    if similarity > CODE_SIMILARITY:
        what = f"the codes of any two patches are nearly the same (mean cosine {similarity:.2f}), so that little tells classes apart"
        findings.append(Finding("similar", similarity, f"{what}; {remedy}"))
    if count > 2 and rank < RANK_SHARE * min(count, codes.shape[1]):
        findings.append(Finding("rank", rank, f"the codes differ in about {rank:.1f} directions, few for {count} classes; {remedy}"))
    if count > 2 and effective < EFFECTIVE_SHARE * count:
        what = f"the {count} classes share patches as unevenly as {effective:.1f} equal ones would"
        findings.append(Finding("uneven", effective, f"{what}; {remedy}"))
    if empty:
        findings.append(Finding("empty", empty, f"{empty} of {count} classes have almost no patches: ask for at most {count - empty} classes"))
    if objective == "stego" and (kept := features_kept(features, codes)) < FEATURES_KEPT:
        what = f"the codes keep {kept:.0%} of what {codes.shape[1]} dimensions could keep of the features: training lost what a probe would find"
        findings.append(Finding("lost", kept, f"{what}; {remedy}"))
    return findings
