"""The measurements in plain words, each with the places that show it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stego_app.insights.advice import advice
from stego_app.insights.duplicates import DUPLICATE, Pair
from stego_app.insights.exemplars import class_spots, pair_spots
from stego_app.insights.insight import Insight, Section, Spot, listed
from stego_app.insights.measure import Measurements
from stego_app.insights.outliers import FEWEST as FEWEST_FOR_OUTLIERS
from stego_app.insights.outliers import OUTLYING
from stego_app.insights.places import GUESSED
from stego_app.insights.stability import DOUBTFUL, GOOD, POOR, STABLE, again
from stego_app.insights.styles import CONFINED
from stego_app.insights.survey import Survey

_SHOWN = 12
"""So many of a kind are shown at most; the counts are of all."""


def explain(survey: Survey, names: Sequence[str], found: Measurements, model: str, resolution: int, brighten: bool, objective: str = "auto") -> list[Section]:
    """All sections of the explanation.

    Args:
        survey: the images.
        names: of the classes, in the order of labels.
        found: see `stego_app.insights.measure.measure`.
        model: file of the segmenter, as commands take it.
        resolution: short side in pixels that it was trained with, for commands.
        brighten: whether it sees dark images brightened.
        objective: "auto" or "stego", which decides what a refit is.
    """
    return [
        _stability(survey, names, found, objective),
        _duplicates(survey, names, found),
        _outliers(survey, found),
        _styles(survey, names, found, brighten),
        _places(survey, names, found),
        advice(survey, names, found, model, resolution),
    ]


def _stability(survey: Survey, names: Sequence[str], found: Measurements, objective: str) -> Section:
    what = "classes were looked for again" if objective == "auto" else "classes were looked for again among the trained codes"
    how = (
        f"The {what}, once in each half of the images (in all of them with other seeds where there are few), and every class was compared with the most "
        f"similar new one: the bar is the share of their patches that both have in common. {STABLE:.0%} or more is "
        f"stable, under {DOUBTFUL:.0%} should not be trusted (Hennig 2007)."
    )
    if survey.classes not in found.stability:
        return Section("stability", "Are the classes stable?", how, [Insight("The classes could not be found again, so nothing is known of their stability.")])
    values = found.stability[survey.classes].overlap
    where = again(survey.numbers)
    known = [k for k in range(len(names)) if not np.isnan(values[k])]
    stable = [k for k in known if values[k] >= STABLE]
    doubtful = [k for k in known if DOUBTFUL <= values[k] < STABLE]
    unstable = sorted((k for k in known if values[k] < DOUBTFUL), key=lambda k: values[k])
    share = float(np.isin(survey.labels, stable).mean())
    text = f"{len(stable)} of {len(known)} classes are stable, with {share:.0%} of all patches; {len(doubtful)} are doubtful and {len(unstable)} unstable."
    bad = f" (unstable: {listed([names[k] for k in unstable], 5)})" if unstable else ""
    insights = [
        Insight(
            text,
            {
                "stable": [names[k] for k in stable],
                "doubtful": [names[k] for k in doubtful],
                "unstable": [names[k] for k in unstable],
                "patches_in_stable": share,
            },
            short=f"stability: {len(stable)} of {len(known)} classes come back {where}{bad}",
        )
    ]
    for k in unstable[:_SHOWN]:
        sentence = (
            f"{names[k]} did not come back {where}: the most similar class there has {values[k]:.0%} of their "
            f"patches in common with it. Its borders, or the class itself, are a matter of chance."
        )
        insights.append(Insight(sentence, {"class": names[k], "overlap": float(values[k])}, class_spots(survey, k, names[k])))
    insights.append(_agreement(found))
    return Section("stability", "Are the classes stable?", how, insights, [(names[k], float(values[k])) for k in known], (DOUBTFUL, STABLE))


def _agreement(found: Measurements) -> Insight:
    """How well the division as a whole comes back, at each number of classes that the tree can be cut into."""
    by_number = {classes: found.stability[classes].agreement for classes in sorted(found.stability)}
    text = (
        f"All classes together agree with those that were found again, by their number: {', '.join(f'{k}: {value:.2f}' for k, value in by_number.items())} "
        f"(adjusted Rand index: 1 is the same, 0 is chance; {GOOD} or more is good, under {POOR} poor, Steinley 2004)."
    )
    return Insight(text, {"agreement": {str(k): value for k, value in by_number.items()}})


def _duplicates(survey: Survey, names: Sequence[str], found: Measurements) -> Section:
    how = (
        "For each patch, the most similar patches in other images were looked up. Two classes are nearly the same where these lie in each other "
        f"almost as often as in the class itself: 1 is one class divided at random, 0 is never. From {DUPLICATE} they are called near-duplicates."
    )

    def compared(pair: Pair, text: str) -> Insight:
        values = {"classes": [names[pair.first], names[pair.second]], "affinity": pair.affinity}
        return Insight(text, values, pair_spots(survey, names, pair.first, pair.second))

    near = [pair for pair in found.pairs if pair.affinity >= DUPLICATE]
    insights = [compared(pair, f"{names[pair.first]} and {names[pair.second]} are nearly the same ({pair.affinity:.2f}).") for pair in near[:_SHOWN]]
    if not near and found.pairs:
        pair = found.pairs[0]
        insights.append(
            compared(pair, f"No two classes are nearly the same; the most alike are {names[pair.first]} and {names[pair.second]} ({pair.affinity:.2f}).")
        )
    if not found.pairs:
        insights.append(Insight("With a single image there are no others to compare patches with."))
    words = [f"{names[pair.first]} and {names[pair.second]}" for pair in near]
    head = Insight(f"{len(near)} pairs are near-duplicates.", {"near_duplicates": len(near)}, short=f"near-duplicates: {listed(words, 4) or 'none'}")
    return Section("near_duplicates", "Which classes are nearly the same?", how, [head, *insights])


def _outliers(survey: Survey, found: Measurements) -> Section:
    how = (
        "Three things are measured for each image: how similar its patches are to the most similar ones in other images, how near they are to any class, "
        f"and how near its mix of classes is to that of another image. An image is unusual where one of them lies more than {OUTLYING} robust standard "
        "deviations from the middle of all images (Iglewicz and Hoaglin 1993)."
    )
    if len(survey.maps) < FEWEST_FOR_OUTLIERS:
        few = Insight(
            f"{len(survey.maps)} images are too few to say which of them are unusual.", short=f"unusual images: {len(survey.maps)} images are too few to say"
        )
        return Section("outliers", "Which images are unusual?", how, [few])
    count = len(found.outliers)
    first = f", first of all {survey.paths[found.outliers[0].image].name}: {found.outliers[0].reasons[0]}" if count else ""
    text = f"{count} of {len(survey.maps)} images are unusual" + (f"; the {_SHOWN} most unusual are shown." if count > _SHOWN else ".")
    insights = [Insight(text, {"count": count}, short=f"unusual images: {count} of {len(survey.maps)}{first}")]
    for outlier in found.outliers[:_SHOWN]:
        name = survey.paths[outlier.image].name
        reasons = "; ".join(outlier.reasons)
        values = {"image": str(survey.paths[outlier.image]), "score": outlier.score, "reasons": list(outlier.reasons)}
        insights.append(Insight(f"{name}: {reasons}.", values, [Spot(outlier.image, name)]))
    return Section("outliers", "Which images are unusual?", how, insights)


def _styles(survey: Survey, names: Sequence[str], found: Measurements, brighten: bool) -> Section:
    how = (
        f"A class is listed where at least {CONFINED:.0%} of its patches lie in images of one sequence (by file name) "
        f"or one lighting (where the brightness of the rest "
        "of the picture tells whether the class is in it). A counterpart is the class of the other images that is most similar once the mean of either kind of "
        "image is taken away: the two are then probably one thing, seen twice."
    )
    if not found.confined:
        text = "No class belongs to one sequence or one lighting only."
        none = Insight(text, short="light and sequence: no class follows them")
        return Section("styles", "Do classes follow light or sequence?", how, [none, *_dark(found.dark, brighten)])
    insights = []
    for item in found.confined[:_SHOWN]:
        name = names[item.label]
        text = f"{item.inside:.0%} of {name} lie in images {item.style.name} ({item.images:.0%} of all images)."
        spots = class_spots(survey, item.label, name)
        if item.counterpart is None:
            text += " No class elsewhere takes its place: it may be something that only these images show."
        else:
            other = names[item.counterpart]
            text += (
                f" {other} takes its place elsewhere (similarity {item.similarity:.2f}): probably the same thing, told apart by how the pictures were taken."
            )
            spots += class_spots(survey, item.counterpart, other)
        values = {"class": name, "style": item.style.name, "inside": item.inside, "images": item.images}
        insights.append(Insight(text, {**values, "counterpart": None if item.counterpart is None else names[item.counterpart]}, spots))
    words = [f"{names[item.label]} only in images {item.style.name}" for item in found.confined]
    head = Insight(f"{len(words)} classes belong to one sequence or lighting.", {"count": len(words)}, short=f"light and sequence: {listed(words, 3)}")
    return Section("styles", "Do classes follow light or sequence?", how, [head, *insights, *_dark(found.dark, brighten)])


def _dark(share: float, brighten: bool) -> list[Insight]:
    """What was done about dark images, if there are any."""
    if share == 0:
        return []
    done = (
        "were brightened before the backbone saw them, so that light does not divide the classes; --set brighten=false leaves them as they are"
        if brighten
        else "were seen as they are; --set brighten=true brightens them first, so that light does not divide the classes"
    )
    short = f"light: {share:.0%} of the images are dark and were {'brightened' if brighten else 'left so'}"
    return [Insight(f"{share:.0%} of the images are dark; they {done}.", {"dark": share, "brightened": brighten}, short=short)]


def _places(survey: Survey, names: Sequence[str], found: Measurements) -> Section:
    how = (
        "A class is listed where place alone gives it away: guessing it, in every image, at just the places where it "
        "is more often than not overlaps with it by "
        f"{GUESSED:.0%} or more. For a fixed camera that is natural (sky, road, the own bonnet); among photos of all "
        f"kinds such a class is a place rather than a thing."
    )
    if not found.places:
        return Section(
            "places",
            "Do classes follow the place in the picture?",
            how,
            [Insight("No class can be guessed from place alone.", short="place: no class follows it")],
        )
    insights = []
    for place in found.places[:_SHOWN]:
        text = f"{names[place.label]} can be guessed from place alone: it lies at {place.where} (overlap {place.overlap:.0%})."
        shown = [Spot(spot.image, spot.caption, spot.mask) for spot in class_spots(survey, place.label, names[place.label])]
        insights.append(Insight(text, {"class": names[place.label], "where": place.where, "overlap": place.overlap}, shown))
    words = [f"{names[place.label]} ({place.where})" for place in found.places]
    head = Insight(f"{len(words)} classes follow the place.", {"count": len(words)}, short=f"place: {listed(words, 4)}")
    return Section("places", "Do classes follow the place in the picture?", how, [head, *insights])
