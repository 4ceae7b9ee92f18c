"""What to try next: one recommendation for each measured signal, none without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from stego_app.insights.detail import thin_parts
from stego_app.insights.duplicates import DUPLICATE, merged_groups
from stego_app.insights.exemplars import class_spots, pair_spots
from stego_app.insights.insight import Insight, Section, Spot, listed
from stego_app.insights.measure import Measurements
from stego_app.insights.stability import DOUBTFUL, GOOD, POOR, again
from stego_app.insights.survey import Survey

FEW = 20
"""With fewer images, halves of them cannot check a number of classes on each other (see `stego_app.discovery`)."""
LINKED = 0.5
"""Where fewer patches than this have a match in another image, the images share too little."""
GROWTH = 0.05
"""More images help where the last doubling of their number gave so many more patches a match: one patch in twenty."""
THIN = 0.2
"""Thin parts are worth a finer grid from a fifth of the picture on, if most of them are real."""
FINER = 1.5

_MOST = 3


def advice(survey: Survey, names: Sequence[str], found: Measurements, model: str, resolution: int) -> Section:
    """The recommendations, each with what was measured and what to type."""
    how = "Each recommendation follows from something measured above or beside it; where nothing calls for a change, nothing is recommended."
    insights = [
        *_more_images(survey, found),
        *_fewer_classes(survey, names, found),
        *_same_thing(survey, names, found, model),
        *_split(survey, names, found, model),
        *_finer_grid(survey, found, resolution),
    ]
    nothing = Insight("Nothing that was measured calls for a change.", {"action": "nothing"}, short="next: nothing that was measured calls for a change")
    return Section("next", "What to try next", how, insights or [nothing])


def _more_images(survey: Survey, found: Measurements) -> Iterator[Insight]:
    images = len(np.unique(survey.numbers))
    if images < FEW:
        text = f"More images: there are {images}; from {FEW} on, one half can check the number of classes on the other."
        yield Insight(text, {"action": "more images", "images": images}, [Spot(0, survey.paths[0].name)], short=f"next: more images ({images} are few)")
        return
    links = found.links
    if links is None or links.all_images >= LINKED:
        return
    growth = links.all_images - links.half
    reason = f"only {links.all_images:.0%} of patches look like something in another image"
    spots = [Spot(outlier.image, survey.paths[outlier.image].name) for outlier in found.outliers[:_MOST]]
    values = {"linked": links.all_images, "linked_in_half": links.half}
    if growth >= GROWTH:
        text = f"More images of the same kind: {reason}, but among half of the images it is {links.half:.0%}, so more of them still help."
        yield Insight(text, {"action": "more images", **values}, spots, short=f"next: more images ({reason})")
    else:
        text = f"Another backbone (--backbone): {reason}, and it is hardly less ({links.half:.0%}) among half of the images, so more images would not help."
        yield Insight(text, {"action": "another backbone", **values}, spots, short=f"next: another backbone ({reason})")


def _fewer_classes(survey: Survey, names: Sequence[str], found: Measurements) -> Iterator[Insight]:
    near = [pair for pair in found.pairs if pair.affinity >= DUPLICATE]
    merged = merged_groups(list(found.pairs), survey.classes)
    if merged < survey.classes:
        pair = near[0]
        text = (
            f"Fewer classes (--classes {merged}, when training or when labelling): that many are left if near-duplicates such as {names[pair.first]} "
            f"and {names[pair.second]} are taken together."
        )
        spots = pair_spots(survey, names, pair.first, pair.second, 2)
        yield Insight(text, {"action": "fewer classes", "classes": merged}, spots, short=f"next: fewer classes (--classes {merged}: near-duplicates)")
        return
    if survey.classes not in found.stability:
        return
    _, overlap, agreement = found.stability[survey.classes]
    good = [classes for classes, cut in found.stability.items() if cut.agreement >= GOOD]
    if agreement < POOR and good:
        yield _stable_cut(survey, names, found, max(good))
        return
    unstable = np.flatnonzero(overlap < DOUBTFUL)
    left = survey.classes - len(unstable)
    if len(unstable) > survey.classes / 2 and left >= 2:
        worst = int(unstable[np.argmin(overlap[unstable])])
        text = (
            f"Fewer classes (--classes {left}) or more images: {len(unstable)} of {survey.classes} classes do not come back {again(survey.numbers)}, "
            f"for example {names[worst]}."
        )
        yield Insight(
            text,
            {"action": "fewer classes", "classes": left},
            class_spots(survey, worst, names[worst]),
            short=f"next: fewer classes (--classes {left}: {len(unstable)} are unstable)",
        )


def _stable_cut(survey: Survey, names: Sequence[str], found: Measurements, classes: int) -> Insight:
    """That a cut of the tree into ``classes`` holds, and what it joins."""
    coarse = found.stability[classes]
    counts = np.zeros((classes, survey.classes), dtype=np.int64)
    np.add.at(counts, (coarse.labels, survey.labels), 1)
    # A patch's class by its surest fine cluster may be another than by the sum over fine clusters; most patches of a class tell where it goes.
    goes_to, size = counts.argmax(0), counts.sum(0)
    groups = [sorted(np.flatnonzero(goes_to == part).tolist(), key=lambda k: -size[k]) for part in range(classes)]
    joined = sorted((group for group in groups if len(group) > 1), key=lambda group: -size[group].sum())
    agreement = found.stability[survey.classes].agreement
    joins = "; ".join(f"{listed([names[k] for k in group])} become one" for group in joined)
    text = (
        f"Fewer classes (--classes {classes}, when labelling or when training): {survey.classes} hardly come back {again(survey.numbers)} (agreement "
        f"{agreement:.2f}, where 1 is the same and 0 is chance), {classes} do ({coarse.agreement:.2f}). {joins}."
    )
    first, second = joined[0][:2]
    values = {"classes": classes, "agreement": coarse.agreement, "agreement_now": agreement, "joined": [[names[k] for k in group] for group in joined]}
    return Insight(
        text,
        {"action": "fewer classes", **values},
        pair_spots(survey, names, first, second, 2),
        short=f"next: fewer classes (--classes {classes} come back: agreement {coarse.agreement:.2f}, not {agreement:.2f})",
    )


def _same_thing(survey: Survey, names: Sequence[str], found: Measurements, model: str) -> Iterator[Insight]:
    seen: set[frozenset[int]] = set()
    for item in found.confined:
        if item.counterpart is None or frozenset((item.label, item.counterpart)) in seen:
            continue
        seen.add(frozenset((item.label, item.counterpart)))
        first, second = sorted((item.label, item.counterpart))
        text = (
            f"If the pictures agree, make one class of {names[first]} and {names[second]}, which take each other's place in images {item.style.name}: "
            f"stego classes {model} --merge {first},{second}"
        )
        spots = pair_spots(survey, names, first, second, 2)
        short = f"next: look at {names[first]} and {names[second]}: one thing in two lights or sequences? stego classes {model} --merge {first},{second}"
        yield Insight(text, {"action": "merge", "classes": [names[first], names[second]]}, spots, short=short)


def _split(survey: Survey, names: Sequence[str], found: Measurements, model: str) -> Iterator[Insight]:
    for mixed in found.mixed[:_MOST]:
        name, pair = names[mixed.label], mixed.closest
        text = (
            f"More classes: the two parts of {name} are less alike ({mixed.affinity:.2f}) than {names[pair.first]} and {names[pair.second]}, "
            f"which are kept apart ({pair.affinity:.2f}). Ask for more classes, or: stego classes {model} --split {mixed.label}"
        )
        spots = [spot for number, part in enumerate(mixed.parts, start=1) for spot in class_spots(survey, mixed.label, f"{name}, part {number}", leaves=part)]
        yield Insight(
            text,
            {"action": "split", "class": name, "affinity": mixed.affinity},
            spots,
            short=f"next: look into {name}, which holds two kinds: stego classes {model} --split {mixed.label}",
        )


def _finer_grid(survey: Survey, found: Measurements, resolution: int) -> Iterator[Insight]:
    detail = found.detail
    if detail is None or detail.thin < THIN or detail.kept < 0.5:
        return
    finer = round(resolution * FINER)
    text = (
        f"A higher resolution (--resolution {finer}): {detail.thin:.0%} of the patches belong to parts thinner than two patches, and at {finer} pixels "
        f"{detail.kept:.0%} of them keep their class (of the other patches, {detail.rest:.0%} do): most of this is detail, not noise."
    )
    spots = [Spot(image, f"{survey.paths[image].name}: the thin parts", thin_parts(survey.maps[image])) for image in found.detail_images[:_MOST]]
    values = {"action": "higher resolution", "resolution": finer, "thin": detail.thin, "kept": detail.kept, "rest": detail.rest}
    yield Insight(text, values, spots, short=f"next: a higher resolution (--resolution {finer}: {detail.thin:.0%} of the patches are thin detail)")
