"""Is a run learning, or has it collapsed? Numbers of a few hundred images' features, none of which needs labels but k-NN's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

COLLAPSED_STD = 0.01
COLLAPSED_RANK = 1.5
UNIFORM_ENTROPY = 0.9999
COLLAPSED_CHECKS = 2


def feature_std(features: torch.Tensor) -> float:
    """Spread of features (N, C) laid on the unit sphere, in [0, 1]: ``sqrt(1 - |mean|²)``; 0 if all images have the same one.

    It is the root of the channels' summed variances; where channels share it evenly each has SimSiam's 1/sqrt(C) of it
    (Chen & He, 2021, section 4.1).
    """
    unit = functional.normalize(features.double(), dim=1)
    return math.sqrt(max(0.0, 1 - float(unit.mean(0).square().sum())))


def rankme(features: torch.Tensor) -> float:
    """Effective rank: the exponential of the entropy of the singular values of features (N, C) (Garrido et al., RankMe, 2023, equation 1).

    The mean over images is taken off first: what all images share would otherwise hide the directions in which they differ. Not a number where
    features are none.
    """
    centred = features.double() - features.double().mean(0)
    if not bool(torch.isfinite(centred).all()):
        return math.nan
    values = torch.linalg.svdvals(centred)
    total = float(values.sum())
    if total <= 0:
        return 1.0
    shares = values / total + 1e-12
    return float(torch.exp(-(shares * shares.log()).sum()))


def entropy_share(probabilities: torch.Tensor) -> float:
    """Entropy of distributions (N, K) over ``log K``, their mean: 1 is uniform, 0 one-hot."""
    p = probabilities.double().clamp_min(1e-12)
    return float(-(p * p.log()).sum(-1).mean() / math.log(p.shape[-1]))


def knn_accuracy(
    train: torch.Tensor, train_labels: torch.Tensor, test: torch.Tensor, test_labels: torch.Tensor, k: int = 20, temperature: float = 0.07
) -> float:
    """Share of ``test`` whose weighted k nearest neighbours by cosine name the right label (Wu et al., 2018, section 3.4), in [0, 1]."""
    similarity = functional.normalize(test.float(), dim=1) @ functional.normalize(train.float(), dim=1).T
    return _vote(similarity, train_labels, test_labels, k, temperature)


def leave_one_out_knn(features: torch.Tensor, labels: torch.Tensor, k: int = 20, temperature: float = 0.07) -> float:
    """As `knn_accuracy` among the images themselves, each judged by the others."""
    unit = functional.normalize(features.float(), dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-2)
    return _vote(similarity, labels, labels, k, temperature)


def _vote(similarity: torch.Tensor, train_labels: torch.Tensor, test_labels: torch.Tensor, k: int, temperature: float) -> float:
    near, index = similarity.topk(min(k, similarity.shape[1] - 1), dim=1)
    votes = torch.zeros(len(similarity), int(train_labels.max()) + 1)
    votes.scatter_add_(1, train_labels[index], torch.exp(near / temperature))
    return float((votes.argmax(1) == test_labels).float().mean())


@dataclass(frozen=True)
class Health:
    """One check of vectors of ``items``. ``rank`` is of at most ``full_rank``; ``knn`` is None without folders' names, ``teacher_*`` without a teacher."""

    step: int
    loss: float
    std: float
    rank: float
    full_rank: int
    knn: float | None = None
    teacher_entropy: float | None = None
    teacher_marginal: float | None = None
    items: str = "images"

    def problem(self) -> str | None:
        """What collapse this looks like, in words, or None."""
        if self.std < COLLAPSED_STD:
            return f"all {self.items} get nearly the same features (standard deviation {self.std:.4f})"
        if self.rank < COLLAPSED_RANK:
            return f"features vary along one direction only (effective rank {self.rank:.2f} of {self.full_rank})"
        if self.teacher_marginal is not None and self.teacher_marginal < 0.02:
            return f"the teacher puts all {self.items} into one prototype (entropy of its mean {self.teacher_marginal:.3f} of 1)"
        if self.teacher_entropy is not None and self.teacher_entropy > UNIFORM_ENTROPY:
            return f"the teacher's answers are uniform (entropy {self.teacher_entropy:.5f} of 1)"
        return None

    def line(self) -> str:
        """The panel in one line of the terminal."""
        parts = [] if math.isnan(self.loss) else [f"loss {self.loss:.4f}"]  # before the first step there is none
        parts += [f"std {self.std:.3f}", f"rank {self.rank:.1f}/{self.full_rank}"]
        if self.teacher_entropy is not None:
            parts.append(f"teacher entropy {self.teacher_entropy:.3f}")
        if self.knn is not None:
            parts.append(f"k-NN {100 * self.knn:.1f} %")
        return "  ".join(parts)


def measure(features: torch.Tensor, labels: torch.Tensor | None, step: int, loss: float, logs: dict[str, float], items: str = "images") -> Health:
    """A check of the features (N, C) of ``items``; ``labels`` (N,) or None; ``logs`` are the method's own of the last step."""
    features = features.float().cpu()
    return Health(
        step=step,
        loss=loss,
        std=feature_std(features),
        rank=rankme(features),
        full_rank=min(features.shape[0] - 1, features.shape[1]),
        knn=None if labels is None else leave_one_out_knn(features, labels),
        teacher_entropy=logs.get("teacher_entropy"),
        teacher_marginal=logs.get("teacher_marginal"),
        items=items,
    )


def collapsed(history: list[Health]) -> str | None:
    """The problem of the last `COLLAPSED_CHECKS` checks if each of them has one, else None."""
    last = [health.problem() for health in history[-COLLAPSED_CHECKS:]]
    return last[-1] if len(last) == COLLAPSED_CHECKS and all(last) else None
