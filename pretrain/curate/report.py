"""The report of a curation: one page, with pictures inside, of what was left out and what was found, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.errors import StegoError
from pretrain.curate.duplicates import Removal
from pretrain.curate.outcome import Outcome
from stego_app.data.dataset import evenly
from stego_app.images import read_image
from stego_app.progress import Progress
from stego_app.report.html import findings, page, picture, reduced, table, thumbnails

Item = TypeVar("Item")

SIDE = 150
_COLUMNS = 8
_EXPLAINED = {
    "nearest": "the nearest images to each curated image",
    "clusters": "images drawn from the clusters that curated images fall in",
    "balanced": "images spread evenly over the pool by hierarchical k-means",
    "all": "everything that is left",
}


def report_page(outcome: Outcome, progress: Progress) -> str:
    """The whole page; needs nothing beside it."""
    by_set = {of: [removal for removal in outcome.removals if removal.of == of] for of in ("pool", "curated", "evaluation")}
    sections = [
        ("Images", table(("", "images"), outcome.counts().items())),
        ("From which similarity two images are one", _similarity(outcome)),
        ("Near-duplicates within the pool", _groups(outcome, by_set["pool"], progress)),
        ("Near-duplicates of evaluation sets", _removed(outcome, by_set["evaluation"], "evaluation image", outcome.pool.paths, progress)),
        ("Curated images that resemble evaluation sets", _removed(outcome, outcome.withheld, "evaluation image", outcome.like.paths, progress)),
        ("Near-duplicates of the curated set", _removed(outcome, by_set["curated"], "curated image", outcome.pool.paths, progress)),
        ("Chosen", _chosen(outcome, progress)),
        ("Files that could not be read", findings([f"{name}: {reason}" for name, reason in outcome.failures[:50]], warning=True)),
    ]
    lead = f"{len(outcome.paths)} of {len(outcome.pool.paths)} images: {_EXPLAINED[outcome.method]}. Backbone {outcome.settings.backbone}."
    return page("Curated images", lead, sections)


def _similarity(outcome: Outcome) -> str:
    thresholds = outcome.thresholds
    rows = [(kind, f"{share:.0%}") for kind, share in thresholds.found.items()]
    strangers = "more than one in a hundred may have another just as alike"
    if thresholds.strangers < 1:  # extrapolated: it may come out above what a similarity can be
        strangers = f"only one in a hundred is expected to have another more alike than {thresholds.strangers:.2f}"
    text = (
        f"Copies were made of {max(map(len, outcome.copies.values()))} images of the pool. All but 2 % of resized and re-encoded ones are "
        f"{thresholds.copies:.2f} or more like their originals; of different images "
        f"{strangers}. "
        f"Images count as one from {thresholds.pool:.2f} within the pool and from {thresholds.evaluation:.2f} against evaluation sets."
    )
    doubt = ["Different images of this pool are as alike as copies: look closely at what was left out."]
    warning = "" if thresholds.separable else findings(doubt, warning=True)
    return f"<p>{escape(text)}</p>{warning}{picture(_plot(outcome), 'similarities')}{table(('copies of this kind', 'found'), rows)}"


def _plot(outcome: Outcome) -> bytes:
    figure = Figure(figsize=(8, 3), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    edges = np.linspace(-0.1, 1, 111)
    series: dict[str, npt.NDArray[np.float32]] = {
        "nearest other image of the pool": outcome.nearest,
        **{f"copy, {kind}": values for kind, values in outcome.copies.items()},
    }
    for number, (name, values) in enumerate(series.items()):
        axes.hist(np.clip(values, -0.1, 1), edges.tolist(), density=True, histtype="step", color=f"C{number}", label=name, linewidth=1.4)
    axes.axvline(outcome.thresholds.pool, color="black", linestyle="--", linewidth=1, label="near-duplicates from here")
    axes.set_xlabel("similarity")
    axes.set_ylabel("density")
    axes.legend(fontsize=8)
    buffer = BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _groups(outcome: Outcome, removals: list[Removal], progress: Progress) -> str:
    """Kept and removed images of components, the most doubtful first."""
    groups: dict[int, list[Removal]] = {}
    for removal in sorted(removals, key=lambda removal: removal.similarity):
        groups.setdefault(removal.like, []).append(removal)
    shown = _both_ends(sorted(groups.items(), key=lambda group: group[1][0].similarity), outcome.settings.shown)
    parts = []
    for number, (kept, members) in enumerate(shown, start=1):
        items = [("kept: " + _name(outcome.pool.paths[kept]), outcome.pool.paths[kept])]
        items += [
            (f"{removal.similarity:.3f} {_name(outcome.pool.paths[removal.row])}", outcome.pool.paths[removal.row]) for removal in members[: _COLUMNS - 1]
        ]
        parts.append(_row(items, len(members) + 1 - len(items)))
        progress("report, near-duplicates", number, len(shown))
    return _counted(len(shown), len(groups), "groups, the least and the most alike first") + "".join(parts)


def _removed(outcome: Outcome, removals: list[Removal], kind: str, paths: Sequence[Path], progress: Progress) -> str:
    """Removed images among ``paths``, each beside the image of the other ``kind`` that it resembles, the most doubtful first."""
    shown = _both_ends(sorted(removals, key=lambda removal: removal.similarity), outcome.settings.shown)
    parts = []
    for number, removal in enumerate(shown, start=1):
        other = outcome.other(removal)
        own = paths[removal.row]
        parts.append(_row([(f"{kind}: {_name(other)}", other), (f"left out, {removal.similarity:.3f}: {_name(own)}", own)], 0))
        progress(f"report, {kind}s", number, len(shown))
    return _counted(len(shown), len(removals), "images, the least and the most alike first") + f"<div class=pairs>{''.join(parts)}</div>" if removals else ""


def _chosen(outcome: Outcome, progress: Progress) -> str:
    """Curated images with what was found for them, or a sample of the list."""
    chosen, shown = outcome.chosen, outcome.settings.shown
    if not chosen.queries:
        sample = evenly(chosen.rows, 2 * shown)
        items = [(_name(outcome.pool.paths[row]), outcome.pool.paths[row]) for row in sample]
        return _counted(len(sample), len(chosen.rows), "images, evenly spaced") + _row(items, 0) if items else ""
    found: dict[int, list[tuple[float, int]]] = {}
    for row, query, similarity in zip(chosen.rows, chosen.queries, chosen.similarities, strict=True):
        found.setdefault(query, []).append((similarity, row))
    queries = evenly(sorted(found), shown) if shown else []
    parts = []
    for number, query in enumerate(queries, start=1):
        best = sorted(found[query], reverse=True)
        items = [("curated: " + _name(outcome.like.paths[query]), outcome.like.paths[query])]
        items += [(f"{similarity:.3f} {_name(outcome.pool.paths[row])}", outcome.pool.paths[row]) for similarity, row in best[: _COLUMNS - 1]]
        parts.append(_row(items, len(best) + 1 - len(items)))
        progress("report, retrieved", number, len(queries))
    return _counted(
        len(queries), len(found), "curated images for which something was found; each image is shown once, with the one it was found by first"
    ) + "".join(parts)


def _both_ends(items: list[Item], count: int) -> list[Item]:
    """The first two thirds of ``count`` and the last third of it."""
    if len(items) <= count:
        return items
    last = count // 3
    return items[: count - last] + items[len(items) - last :]


def _counted(shown: int, of: int, what: str) -> str:
    return f"<p class=how>{shown} of {of} {escape(what)}.</p>" if of else ""


def _row(items: Iterable[tuple[str, Path]], more: int) -> str:
    pictures = []
    for caption, path in items:
        try:
            pictures.append((caption, reduced(read_image(path), SIDE)))
        except StegoError:  # it could be read a while ago; the report is not worth failing for
            pictures.append((f"{caption} (no longer readable)", np.zeros((SIDE // 2, SIDE // 2, 3), np.uint8)))
    return thumbnails(pictures) + (f"<p class=how>and {more} more</p>" if more > 0 else "")


def _name(path: Path) -> str:
    return "/".join(path.parts[-2:])
