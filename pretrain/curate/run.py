"""``stego curate`` from top to bottom: descriptors, near-duplicates, retrieval or balance, the list and its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.backbone_sources import load_backbone
from models.errors import StegoError
from pretrain.curate.copies import KINDS
from pretrain.curate.duplicates import NEIGHBOURS, Removal, against_set, components, pairs_above, representatives, within_pool
from pretrain.curate.embedding import Embedder, file_loader, refused
from pretrain.curate.hierarchy import balanced_sample, build_hierarchy, default_levels
from pretrain.curate.lists import fits_a_line, gather
from pretrain.curate.outcome import ImageSet, Outcome, check_out, write_outcome
from pretrain.curate.retrieval import Retrieved, nearest_to_each, sample_of_clusters
from pretrain.curate.settings import CurateSettings
from pretrain.curate.thresholds import Thresholds, learn_thresholds
from pretrain.curate.whitening import SAMPLE, Whitening, fit_whitening
from stego_app.features.similar import most_similar
from stego_app.progress import Progress, silent

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Say = Callable[[str], None]

FEWEST = 10
"""Images that a pool must have for copies to be told from different images."""
COPY_COMPONENTS, CONCEPT_COMPONENTS = 128, 256
_UNLISTED = "a line break in its name, which a list of paths cannot hold; rename the file"


@dataclass(frozen=True)
class _Space:
    """Descriptors of the three sets in one space: (N, D), (q, D) and (e, D) unit rows."""

    whitening: Whitening
    pool: Floats
    like: Floats
    not_like: Floats


def curate(settings: CurateSettings, progress: Progress = silent, say: Say = print) -> Outcome:
    """Choose images of a pool and write them as a list, with a report beside it.

    Descriptors are cached by content: after Ctrl-C or kill -9 the same command goes on, and gives what it would have given.

    Raises:
        StegoError: a source without images, a pool that is too small or cannot be read, an unusable backbone, or a full disk.
    """
    check_out(settings.out)
    pool_paths, like_paths, not_like_paths = (gather(sources) if sources else [] for sources in (settings.pool, settings.like, settings.not_like))
    method = settings.chosen_method(len(like_paths))
    backbone = load_backbone(settings.backbone)
    embedder = Embedder(backbone, resolution=settings.resolution, device=settings.device, batch_size=settings.batch_size, cache=settings.cache)
    say(f"{len(pool_paths)} images in the pool, {len(like_paths)} curated, {len(not_like_paths)} of evaluation sets")
    pool = _embed(embedder, pool_paths, "pool", progress)
    like = _embed(embedder, like_paths, "curated set", progress, listed=settings.with_like)
    not_like = _embed(embedder, not_like_paths, "evaluation sets", progress, listed=False)
    if len(pool.paths) < FEWEST:
        raise StegoError(f"pool: {len(pool.paths)} readable images; expected at least {FEWEST}, to tell copies from different images")

    copies = _space(embedder, "layout", COPY_COMPONENTS, pool, like, not_like)
    similarities, neighbours = most_similar(copies.pool, copies.pool, NEIGHBOURS + 1)
    own = neighbours == np.arange(len(neighbours))[:, None]
    nearest = np.where(own | (neighbours < 0), -1, similarities).max(axis=1)
    probed = _copies(embedder, pool, copies, settings, progress)
    thresholds = learn_thresholds(probed, nearest, settings.similarity)
    say(_told(thresholds))
    removals, labels = _removals(copies, similarities, neighbours, pool.quality(), thresholds, settings)
    kept = np.setdiff1d(np.arange(len(pool.paths)), [removal.row for removal in removals])
    retrieved = _chosen(method, embedder, (pool, like), kept, settings, say)
    withheld = _like_evaluation(copies, thresholds) if settings.with_like else []
    outcome = Outcome(settings, method, pool, like, not_like, thresholds, probed, nearest, labels, removals, withheld, retrieved)
    write_outcome(outcome, progress)
    return outcome


def _embed(embedder: Embedder, paths: Sequence[Path], name: str, progress: Progress, *, listed: bool = True) -> ImageSet:
    """The images at ``paths``; ``listed``: whether the list may come to hold them."""
    if not paths:
        return ImageSet(name, [], [], np.zeros((0, 3), np.int64), [])
    loaders = [file_loader(path) if fits_a_line(path) or not listed else refused(str(path), _UNLISTED) for path in paths]
    embedded = embedder.embed(loaders, progress, f"descriptors of the {name}")
    if not embedded.keys:
        name, reason = embedded.failures[0]
        raise StegoError(f"{name}: {reason}; none of {len(paths)} images of this set can be read")
    return ImageSet(name, [paths[index] for index in embedded.indices], embedded.keys, embedded.read("shape"), embedded.failures)


def _space(embedder: Embedder, kind: str, components: int, pool: ImageSet, like: ImageSet, not_like: ImageSet | None = None) -> _Space:
    """All sets whitened by what at most `SAMPLE` images of the pool, evenly spaced, tell."""
    store = embedder.store
    places = np.unique(np.linspace(0, len(pool.keys) - 1, min(len(pool.keys), SAMPLE)).astype(int))
    whitening = fit_whitening(store.read([pool.keys[place] for place in places], kind), components)
    width = whitening.matrix.shape[1]
    parts = [store.read(part.keys, kind, whitening) if part is not None and part.keys else np.zeros((0, width), np.float32) for part in (pool, like, not_like)]
    return _Space(whitening, *parts)


def _copies(embedder: Embedder, pool: ImageSet, space: _Space, settings: CurateSettings, progress: Progress) -> dict[str, Floats]:
    """Similarity with their originals of copies, of each kind, of some images of the pool."""
    random = np.random.default_rng(settings.seed)
    chosen = np.sort(random.choice(len(pool.paths), min(settings.probes, len(pool.paths)), replace=False))
    found = {}
    for kind in KINDS:
        loaders = [file_loader(pool.paths[row], kind, settings.seed) for row in chosen]
        embedded = embedder.embed(loaders, progress, f"copies, {kind}")
        if not embedded.keys:
            raise StegoError(f"{embedded.failures[0][0]}: {embedded.failures[0][1]}")
        found[kind] = (embedded.read("layout", space.whitening) * space.pool[chosen[embedded.indices]]).sum(axis=1)
    return found


def _told(thresholds: Thresholds) -> str:
    shares = ", ".join(f"{kind} {share:.0%}" for kind, share in thresholds.found.items())
    told = f"near-duplicates: similarity from {thresholds.pool:.2f} ({thresholds.evaluation:.2f} against evaluation sets); of test copies that finds: {shares}"
    if thresholds.separable:
        return told
    return f"{told}. WARNING: different images here are as alike as copies, so some may be removed that are none; look at the report, or give --similarity"


def _removals(
    space: _Space, similarities: Floats, neighbours: Indices, quality: Indices, thresholds: Thresholds, settings: CurateSettings
) -> tuple[list[Removal], Indices]:
    """What is left out and why, one reason an image: evaluation sets first, then the curated set, then the pool; and the components."""
    labels = components(len(space.pool), *pairs_above(similarities, neighbours, thresholds.pool))
    reasons: list[Removal] = []
    for other, threshold, name in ((space.not_like, thresholds.evaluation, "evaluation"), (space.like, thresholds.pool, "curated")):
        if len(other):
            reasons += against_set(*most_similar(space.pool, other, 1), labels, threshold, name)
    if not settings.keep_duplicates:
        reasons += within_pool(space.pool, labels, representatives(labels, quality))
    first: dict[int, Removal] = {}
    for removal in reasons:
        first.setdefault(removal.row, removal)
    return [first[row] for row in sorted(first)], labels


def _like_evaluation(space: _Space, thresholds: Thresholds) -> list[Removal]:
    """Images of the curated set that resemble evaluation sets, each judged by itself."""
    if not len(space.not_like):
        return []
    return against_set(*most_similar(space.like, space.not_like, 1), np.arange(len(space.like)), thresholds.evaluation, "evaluation")


def _chosen(method: str, embedder: Embedder, sets: tuple[ImageSet, ImageSet], kept: Indices, settings: CurateSettings, say: Say) -> Retrieved:
    """Rows of the pool for the list."""
    if len(kept) == 0:
        raise StegoError("pool: every image is a near-duplicate of the curated or the evaluation sets; nothing is left to choose from")
    if method == "all":
        rows = kept.tolist()[: settings.images]
        return Retrieved(rows, [], [])
    concepts = _space(embedder, "cls", CONCEPT_COMPONENTS, *sets)
    rest = concepts.pool[kept]
    if method == "balanced":
        wanted = settings.images or len(kept)
        levels = default_levels(len(rest))
        say(f"hierarchical k-means: {' > '.join(map(str, levels))} clusters")
        return Retrieved(kept[balanced_sample(build_hierarchy(rest, levels, settings.seed), wanted, settings.seed)].tolist(), [], [])
    if method == "nearest":
        found = nearest_to_each(concepts.like, rest, settings.nearest, settings.images)
    else:
        clusters = min(len(rest), settings.clusters or max(1, round(len(rest) ** 0.5)))
        found = sample_of_clusters(concepts.like, rest, clusters, settings.per_cluster, settings.seed, settings.images)
    return Retrieved(kept[found.rows].tolist(), found.queries, found.similarities)
