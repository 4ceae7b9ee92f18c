"""The explanation of a training run: measured on its own features and images, with a refit of its own kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote

import numpy as np
import numpy.typing as npt
import torch

from models.errors import StegoError
from stego_app.clusters import ClusterModel, cut, sum_parts
from stego_app.discovery import CropPairs, DiscoverySettings, discover
from stego_app.discovery.codebook import nearest_codes, spherical_kmeans
from stego_app.discovery.division import Way
from stego_app.discovery.source import image_numbers
from stego_app.features import FeatureCache
from stego_app.features.reading import five_crops
from stego_app.insights.advice import FINER
from stego_app.insights.explain import explain
from stego_app.insights.measure import measure
from stego_app.insights.stability import Cuts, Refit
from stego_app.insights.survey import Survey, take_survey
from stego_app.progress import Progress
from stego_app.report.explanation import Explanation
from stego_app.segmenter import Segmenter

_REFIT_TOKENS = 20_000


def explain_training(
    segmenter: Segmenter,
    cache: FeatureCache,
    refit: Refit,
    read: Callable[[Path], npt.NDArray[np.uint8]],
    out: Path,
    *,
    threshold: float | None,
    objective: str,
    seed: int,
    progress: Progress,
) -> Explanation:
    """Measure and explain.

    Args:
        segmenter: freshly trained, without edits.
        cache: the features it was trained on.
        refit: see `rediscovery` and `recluster`.
        read: an image by its path.
        out: the segmenter's file, named in commands.
        threshold: cosine of two views of one point, where it is known.
        objective: "auto" or "stego".
        seed: of what is drawn.
        progress: called as ``progress(stage, done, total)``.
    """
    table, clusters = segmenter.table(), segmenter.model.clusters
    resolution = segmenter.model.settings.resolution
    survey = take_survey(clusters, table.leaf_to_label, len(table.classes), cache, seed, progress)
    picture = _pictures(survey, cache, read)
    found = measure(
        survey,
        table,
        clusters.merges,
        image_numbers(cache),
        refit=refit,
        picture=picture,
        finer=lambda image: segmenter.class_probabilities([image], resolution=round(resolution * FINER))[0].argmax(0),
        threshold=threshold,
        seed=seed,
        progress=progress,
    )
    sections = explain(survey, table.names, found, quote(str(out)), resolution, segmenter.model.settings.brighten, objective)
    return Explanation(sections, picture, [(labels.shape[0], labels.shape[1]) for labels in survey.maps], [path.name for path in survey.paths])


def rediscovery(cache: FeatureCache, pairs: CropPairs, classes: int, way: Way, settings: DiscoverySettings) -> Refit:
    """Classes discovered again in closed form, in the same ``way``, among some of the entries, with every coarser cut of their tree."""
    closed = settings.model_copy(update={"head": "lookup", "draws": 1})

    def refit(entries: Sequence[int], seed: int) -> Callable[[npt.NDArray[np.float32]], Cuts] | None:
        try:
            model = discover(cache.subset(entries), pairs, classes=classes, way=way, seed=seed, settings=closed).model
        except StegoError:  # these entries alone cannot be told apart into so many classes
            return None

        def label(tokens: npt.NDArray[np.float32]) -> Cuts:
            fine = model.fine_probabilities(model.fine_logits(torch.from_numpy(tokens)))
            return {count: sum_parts(fine, cut(model.merges, count), count).argmax(1).numpy() for count in range(classes, 1, -1)}

        return label

    return refit


def recluster(cache: FeatureCache, clusters: ClusterModel, classes: int) -> Refit:
    """Classes found again by k-means of the trained codes of some of the entries: training itself would take minutes."""

    def refit(entries: Sequence[int], seed: int) -> Callable[[npt.NDArray[np.float32]], Cuts]:
        tokens, _ = cache.subset(entries).sample(_REFIT_TOKENS, seed)
        centroids = spherical_kmeans(clusters.codes(torch.from_numpy(tokens)), classes, np.random.default_rng(seed))
        return lambda given: {classes: nearest_codes(clusters.codes(torch.from_numpy(given)), centroids).numpy()}

    return refit


def _pictures(survey: Survey, cache: FeatureCache, read: Callable[[Path], npt.NDArray[np.uint8]]) -> Callable[[int], npt.NDArray[np.uint8]]:
    def picture(image: int) -> npt.NDArray[np.uint8]:
        _, _, crop = cache.keys[int(survey.entries[image])].partition("#crop")
        whole = read(survey.paths[image])
        return np.ascontiguousarray(five_crops(whole)[int(crop)]) if crop else whole

    return picture
