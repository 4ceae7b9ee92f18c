"""All measurements on a finished segmenter and its images; `stego_app.insights.explain` puts them into words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from models.errors import StegoError
from stego_app.classes import ClassTable
from stego_app.clusters import cut
from stego_app.data.dataset import evenly
from stego_app.features.exposure import DARK
from stego_app.insights import outliers, places, styles
from stego_app.insights.detail import Detail, confirm_detail
from stego_app.insights.duplicates import Mixed, Pair, closest_pairs, find_mixed
from stego_app.insights.partners import PARTNERS, class_affinity, linked_share
from stego_app.insights.stability import Refit, Stability, class_stability
from stego_app.insights.survey import Survey
from stego_app.partners import find_partners
from stego_app.progress import Progress
from stego_app.read_ahead import read_ahead

Picture = Callable[[int], npt.NDArray[np.uint8]]
"""Number of an image in the survey to its pixels (H, W, 3)."""
Finer = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.int64]]
"""Pixels (H, W, 3) to a class map (h, w) on a finer grid of patches."""

_LOOKED_CLOSER = 6
_AHEAD = 4


@dataclass(frozen=True)
class Links:
    """Share of patches with a partner as similar as two views of one point: among all images, and among half of them."""

    all_images: float
    half: float


@dataclass(frozen=True)
class Measurements:
    """What was measured; see the modules of the same names.

    ``stability``: at each number of classes, K and fewer, that could be found again. ``dark``: share of the images that are; see `stego_app.features.exposure`.
    """

    stability: Mapping[int, Stability]
    pairs: Sequence[Pair]
    mixed: Sequence[Mixed]
    outliers: Sequence[outliers.Outlier]
    confined: Sequence[styles.Confined]
    dark: float
    places: Sequence[places.Place]
    links: Links | None
    detail: Detail | None
    detail_images: Sequence[int]


def measure(
    survey: Survey,
    table: ClassTable,
    merges: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    *,
    refit: Refit,
    picture: Picture,
    finer: Finer,
    threshold: float | None,
    seed: int,
    progress: Progress,
) -> Measurements:
    """Measure everything.

    Args:
        survey: the images seen through the classes.
        table: the classes.
        merges: (F - 1, 2) the tree.
        numbers: file of each entry of the cache, for the refits.
        refit: see `stego_app.insights.stability.Refit`.
        picture: reads an image of the survey.
        finer: labels an image on a finer grid.
        threshold: cosine of two views of one point, if known.
        seed: of the halves.
        progress: called as ``progress(stage, done, total)``.
    """
    progress("checking", 0, 3)
    tokens = torch.from_numpy(survey.projected)
    partners = find_partners(tokens, survey.files, PARTNERS)
    pairs = closest_pairs(class_affinity(survey.labels, partners.nearest, survey.classes)) if partners.nearest.size else []
    progress("checking", 1, 3)
    coarser = {classes: cut(merges, classes)[survey.leaves] for classes in range(2, survey.classes)}
    stability = class_stability({survey.classes: survey.labels, **coarser}, survey.tokens, numbers, refit, seed)
    progress("checking", 2, 3)
    looked, detail = _detail(survey, picture, finer)
    progress("checking", 3, 3)
    brightness = _brightness(survey, picture, progress)
    similarity = outliers.partner_similarity(partners.cosine, survey.owners, len(survey.maps))
    mix = outliers.mix_distance(survey.histogram, survey.numbers)
    return Measurements(
        stability=stability,
        pairs=pairs,
        mixed=find_mixed(table, merges, survey.leaves, partners.nearest, pairs[0] if pairs else None),
        outliers=outliers.find_outliers(similarity, survey.fit, mix),
        confined=_confined(survey, brightness),
        dark=styles.dark_share(brightness, DARK),
        places=places.find_places(places.place_maps(survey.maps, survey.classes)),
        links=None if threshold is None or not partners.nearest.size else _links(survey, partners.cosine, threshold, seed),
        detail=detail,
        detail_images=looked,
    )


def _links(survey: Survey, cosine: npt.NDArray[np.float64], threshold: float, seed: int) -> Links:
    files = np.unique(survey.files)
    half = np.isin(survey.files, np.random.default_rng(seed).permutation(files)[: max(2, len(files) // 2)])
    within = find_partners(torch.from_numpy(survey.projected[half]), survey.files[half], 1).cosine
    return Links(linked_share(cosine, threshold), linked_share(within, threshold))


def _detail(survey: Survey, picture: Picture, finer: Finer) -> tuple[list[int], Detail | None]:
    looked, coarse, fine = [], [], []
    for image in evenly(range(len(survey.maps)), _LOOKED_CLOSER):
        try:
            fine.append(finer(picture(image)))
        except StegoError:  # the file was there for its features and is gone: one picture fewer to look at
            continue
        looked.append(image)
        coarse.append(survey.maps[image])
    return looked, confirm_detail(coarse, fine) if looked else None


def _confined(survey: Survey, brightness: Sequence[npt.NDArray[np.float64]]) -> list[styles.Confined]:
    histogram, by_name = survey.histogram, styles.sequences(survey.paths)
    outside = styles.class_brightness(survey.maps, brightness, survey.classes)
    by_light = styles.lighting(histogram, outside)
    means = [styles.centred_means(survey.projected, survey.labels, style.members[survey.owners], survey.classes) for style in [*by_name, *by_light.values()]]
    return styles.find_confined(histogram, by_name, by_light, means)


def _brightness(survey: Survey, picture: Picture, progress: Progress) -> list[npt.NDArray[np.float64]]:
    """Mean brightness (h, w), 0 to 1, of each patch; NaN for an image that cannot be read any more."""

    def one(image: int) -> npt.NDArray[np.float64]:
        grid = survey.maps[image].shape
        try:
            grey = cv2.cvtColor(picture(image), cv2.COLOR_RGB2GRAY)
        except StegoError:
            return np.full(grid, np.nan)
        return np.asarray(cv2.resize(grey, grid[::-1], interpolation=cv2.INTER_AREA), dtype=np.float64) / 255

    found = []
    for done, values in enumerate(read_ahead(range(len(survey.maps)), one, ahead=_AHEAD), start=1):
        found.append(values)
        progress("light", done, len(survey.maps))
    return found
