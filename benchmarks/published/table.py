"""The published rows and ours, as one Markdown table with what has to be said beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.published.recipes import PublishedRow, Recipe

HONESTY = (
    "Published numbers are chosen with labels: STEGO, EAGLE, SmooSeg and DepthG keep the checkpoint with the best labelled score, PriMaPs and HP watch "
    "labelled scores, and shifts or thresholds are tuned per data set. Here no label chooses anything and the last step is scored; only the shifts of "
    "STEGO's objective, which are its authors', were tuned with labels.",
    "Published rows are with flip averaging and a dense CRF where the authors report it (STEGO, CAUSE).",
)
COMMON_DEVIATIONS = (
    "Images are resized bicubically with antialiasing (published: nearest pixel); labels to the nearest pixel, as published.",
    "Linear probes: multinomial logistic regression, solved to its optimum, on pixels of the training split's centre crops "
    "(published: a linear layer trained beside the head on its crops, without weight decay).",
    "STEGO's objective: 70 dimensions, batch 16 and 5,000 steps as in its configuration file, the last step kept; five crops keep their aspect "
    "(published: the centre square of each). Its shifts were published for DINO: on DINOv2 those for the same size of network are used.",
    "Flip averaging is of the backbone's features (published: of the codes made from them).",
    "The CRF is this project's own, with STEGO's settings.",
)
_COLUMNS = ("", "backbone", "accuracy", "mIoU", "linear accuracy", "linear mIoU")
VARIANTS = {"plain": "", "flip": ", flip", "flip+crf": ", flip + CRF"}


def results_table(recipe: Recipe, rows: Sequence[PublishedRow], backbone: str, results: Mapping[str, Mapping[str, Any]], note: str) -> str:
    """Markdown.

    Args:
        recipe: of the data set.
        rows: the published results.
        backbone: as the user gave it.
        results: by the title of the objective: ``clusters`` (variant to miou, accuracy) and ``linear`` ("codes", "codes + CRF", "features" …).
        note: a sentence on what was trained and scored.
    """
    lines = [f"# {recipe.title}", "", _line(_COLUMNS), "|---|---|---:|---:|---:|---:|"]
    lines += [_line((row.method, row.backbone, *map(_number, (row.accuracy, row.miou, row.linear_accuracy, row.linear_miou)))) for row in rows]
    features = []
    for title, found in results.items():
        linear = found["linear"]
        for variant, shown in VARIANTS.items():
            scores = found["clusters"][variant]
            # The probe is scored with flip averaging only, as published.
            probe = {"flip": linear["codes"], "flip+crf": linear["codes + CRF"]}.get(variant, {})
            numbers = (scores["accuracy"], scores["miou"], probe.get("accuracy"), probe.get("miou"))
            lines.append(_line((f"**{title}**{shown}", backbone, *map(_number, numbers))))
        for variant, shown in (("features", "flip"), ("features + CRF", "flip + CRF")):
            if variant in linear:
                features.append(_line((f"plain features, {shown}", backbone, "–", "–", _number(linear[variant]["accuracy"]), _number(linear[variant]["miou"]))))
    lines += features
    lines += ["", *(f"- {line}" for line in (note, *HONESTY)), "", "Differences from the published protocol:", ""]
    lines += [f"- {line}" for line in (*recipe.deviations, *COMMON_DEVIATIONS)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
