"""Scores of unsupervised segmentation against labels: Hungarian matching over the whole set, linear probes, confusion."""

from stego_app.evaluation.histogram import accumulate
from stego_app.evaluation.matching import hungarian, majority
from stego_app.evaluation.scores import Scores, hungarian_scores, majority_scores, matched_scores

__all__ = ["Scores", "accumulate", "hungarian", "hungarian_scores", "majority", "majority_scores", "matched_scores"]
