"""Scores of unsupervised segmentation against labels: Hungarian matching over the whole set, linear probes, confusion."""

from stego_app.evaluation.evaluate import EvaluationSettings, Segments, evaluate_segmenter
from stego_app.evaluation.histogram import accumulate
from stego_app.evaluation.matching import hungarian, majority
from stego_app.evaluation.report import EvaluationReport
from stego_app.evaluation.scores import Scores, hungarian_scores, majority_scores, matched_scores

__all__ = [
    "EvaluationReport",
    "EvaluationSettings",
    "Scores",
    "Segments",
    "accumulate",
    "evaluate_segmenter",
    "hungarian",
    "hungarian_scores",
    "majority",
    "majority_scores",
    "matched_scores",
]
