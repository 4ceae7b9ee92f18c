"""The data engine on a pool with planted near-duplicates: what is removed, and what is retrieved.

usage: python benchmarks/curation.py --data FOLDER [--images 1500] [--planted 100] [--backbone default] [--seed 0] [--work FOLDER]

FOLDER holds ``imagenet_samples/`` and ``caltech101/``, images in class folders. Half of the pool comes from each. Of
every kind (resized, re-encoded, cropped, flipped) ``--planted`` copies are added, each of another image, with parameters
drawn by a seed that the product does not use; as many test images, also copied, play an evaluation set. Folders of
Caltech that hold each other's crops (Faces, Faces_easy) or anything (BACKGROUND_Google) are left out.

Recall of a kind: planted copies that land in the component of their original. Precision of a kind: of the pairs joined
that involve such a copy, those of one source image. Pairs of two untouched images are counted apart, as found in the
data; they count as wrong in "all", although many are true near-duplicates of the published sets.
Retrieval: of the images retrieved for curated images of Caltech classes, the share of the same class, beside what random
choice from the same pool gives, with whitened CLS tokens (what the product does) and plain ones.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.errors import StegoError
from pretrain.curate import Outcome, curate, make_settings
from pretrain.curate.copies import KINDS, make_copy
from stego_app.images import find_images, read_image
from stego_app.progress import terminal_progress

SETS = ("imagenet_samples", "caltech101")
LEFT_OUT = {"Faces", "Faces_easy", "BACKGROUND_Google"}
NEAREST = 4
CURATED = 2  # images a class that play the curated set
COPY_SEED = 987_654_321


@dataclass(frozen=True)
class Planted:
    """A copy in the pool: its ``kind`` and the image it was made of."""

    path: Path
    kind: str
    source: Path


def choose(data: Path, count: int, random: np.random.Generator) -> list[Path]:
    """``count`` images, half of each set."""
    chosen: list[Path] = []
    for number, name in enumerate(SETS):
        found = [path for path in find_images(data / name) if path.parent.name not in LEFT_OUT]
        wanted = (count + number) // len(SETS)
        if wanted > len(found):
            raise StegoError(f"{data / name}: {len(found)} images; expected at least {wanted}, half of --images")
        chosen += [found[index] for index in np.sort(random.choice(len(found), wanted, replace=False))]
    return chosen


def plant(sources: list[Path], folder: Path, count: int, random: np.random.Generator) -> list[Planted]:
    """``count`` copies of each kind, of different images, written to ``folder``."""
    order = random.permutation(len(sources))[: count * len(KINDS)]
    planted = []
    for place, index in enumerate(order.tolist()):
        kind, source = KINDS[place % len(KINDS)], sources[index]
        path = folder / f"{kind}-{index:05d}.jpg"
        planted.append(Planted(path, kind, source))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(make_copy(read_image(source), kind, COPY_SEED + index)).save(path, quality=92)
    return planted


def removal_table(outcome: Outcome, planted: list[Planted]) -> str:
    """Recall and precision of each kind, over pairs of images in one component."""
    source = {path: path for path in outcome.pool.paths} | {copy.path: copy.source for copy in planted}
    kind = {copy.path: copy.kind for copy in planted}
    label = dict(zip(outcome.pool.paths, outcome.components.tolist(), strict=True))
    members: dict[int, list[Path]] = {}
    for path, number in label.items():
        members.setdefault(number, []).append(path)
    right, joined, untouched = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0), 0
    for paths in members.values():
        for place, first in enumerate(paths):
            for second in paths[place + 1 :]:
                same = source[first] == source[second]
                kinds = {kind[path] for path in (first, second) if path in kind}
                untouched += not kinds
                for name in kinds:
                    joined[name] += 1
                    right[name] += same
    rows = ["| copies | planted | recall | precision |", "|---|---|---|---|"]
    for name in KINDS:
        of_kind = [copy for copy in planted if copy.kind == name and copy.path in label]
        found = sum(label[copy.path] == label[copy.source] for copy in of_kind)
        rows.append(f"| {name} | {len(of_kind)} | {found / max(1, len(of_kind)):.3f} | {right[name] / max(1, joined[name]):.3f} |")
    correct, all_pairs = sum(right.values()), sum(joined.values())
    found = sum(label[copy.path] == label[copy.source] for copy in planted)
    what = f"all, pairs of two untouched images counted as wrong ({untouched})"
    rows.append(f"| {what} | {len(planted)} | {found / len(planted):.3f} | {correct / (all_pairs + untouched):.3f} |")
    return "\n".join(rows)


def leak_table(outcome: Outcome, leaked: list[Planted], clean: list[Path]) -> str:
    """How many planted copies of evaluation images are removed, by kind, and how many clean images with them."""
    removed = {outcome.pool.paths[removal.row] for removal in outcome.removals if removal.of == "evaluation"}
    rows = ["| copies of evaluation images | planted | removed |", "|---|---|---|"]
    for name in KINDS:
        of_kind = [copy for copy in leaked if copy.kind == name]
        rows.append(f"| {name} | {len(of_kind)} | {sum(copy.path in removed for copy in of_kind) / max(1, len(of_kind)):.3f} |")
    rows.append(f"| other images, removed with them | {len(clean)} | {sum(path in removed for path in clean) / len(clean):.4f} |")
    return "\n".join(rows)


def same_class(outcome: Outcome) -> tuple[float, int]:
    """Share of the retrieved images whose class is that of the curated image that found them, and how many there are."""
    chosen = outcome.chosen
    hits = [outcome.pool.paths[row].parent.name == outcome.like.paths[query].parent.name for row, query in zip(chosen.rows, chosen.queries, strict=True)]
    return float(np.mean(hits)), len(hits)


def retrieval_table(data: Path, options: argparse.Namespace, work: Path, pool: list[Path]) -> str:
    """Precision by class of retrieval from ``pool``, for curated images of Caltech's classes that are not in it."""
    taken = set(pool)
    by_class: dict[str, list[Path]] = {}
    for path in find_images(data / "caltech101"):
        if path.parent.name not in LEFT_OUT and path not in taken:
            by_class.setdefault(path.parent.name, []).append(path)
    curated = [path for paths in by_class.values() for path in paths[:CURATED]]
    write_list(work / "retrieval-pool.txt", pool)
    write_list(work / "retrieval-like.txt", curated)
    outcome = run(options, work, "retrieval", pool="retrieval-pool.txt", like="retrieval-like.txt", method="nearest", nearest=NEAREST)
    precision, count = same_class(outcome)
    present = [path.parent.name for path in pool]
    chance = float(np.mean([present.count(path.parent.name) for path in curated])) / len(pool)
    rows = [
        f"| {len(curated)} curated images of {len(by_class)} classes, pool of {len(pool)} | same class |",
        "|---|---|",
        f"| random choice | {chance:.4f} |",
        f"| nearest {NEAREST}, plain CLS tokens | {plain_precision(outcome):.3f} |",
        f"| nearest {NEAREST}, whitened on the pool ({count} images) | {precision:.3f} |",
    ]
    return "\n".join(rows)


def plain_precision(outcome: Outcome) -> float:
    """As `same_class`, by cosine of CLS tokens as they are."""
    from models.backbone_sources import load_backbone
    from pretrain.curate.embedding import Embedder
    from pretrain.curate.retrieval import nearest_to_each
    from pretrain.curate.whitening import unit

    settings = outcome.settings
    store = Embedder(load_backbone(settings.backbone), resolution=settings.resolution, device=settings.device, cache=settings.cache).store
    kept = np.setdiff1d(np.arange(len(outcome.pool.paths)), [removal.row for removal in outcome.removals])
    pool: npt.NDArray[np.float32] = unit(store.read([outcome.pool.keys[row] for row in kept], "cls"))
    found = nearest_to_each(unit(store.read(outcome.like.keys, "cls")), pool, NEAREST)
    paths, queries = outcome.pool.paths, outcome.like.paths
    return float(np.mean([paths[kept[row]].parent.name == queries[query].parent.name for row, query in zip(found.rows, found.queries, strict=True)]))


def write_list(path: Path, paths: list[Path]) -> None:
    """A list of paths, one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{entry.absolute()}\n" for entry in paths))


def run(options: argparse.Namespace, work: Path, name: str, *, pool: str, like: str | None = None, not_like: str | None = None, **fields: object) -> Outcome:
    """One curation of lists in ``work``."""
    settings = make_settings(
        pool=(f"@{work / pool}",),
        like=(f"@{work / like}",) if like else (),
        not_like=(f"@{work / not_like}",) if not_like else (),
        out=work / f"{name}.txt",
        backbone=options.backbone,
        device=options.device,
        cache=work / "cache",
        seed=options.seed,
        **fields,
    )
    with terminal_progress() as progress:
        return curate(settings, progress, lambda line: print(line, file=sys.stderr))


def main() -> None:
    """Build the pool, run the engine, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("STEGO_DATA"), help="the folder of the two sets; $STEGO_DATA if not given")
    parser.add_argument("--images", type=int, default=1500, help="untouched images of the pool")
    parser.add_argument("--planted", type=int, default=100, help="copies of each kind")
    parser.add_argument("--backbone", default="default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/curation"), help="folder for copies, descriptors and reports")
    options = parser.parse_args()
    if options.data is None:
        raise StegoError("--data: expected the folder that holds imagenet_samples and caltech101 (or set STEGO_DATA)")
    begun, work = time.monotonic(), options.work / f"{options.images}-{options.planted}-{options.seed}"
    random = np.random.default_rng(options.seed)
    held = options.planted * len(KINDS) // 4  # evaluation images, apart from the pool
    both = choose(Path(options.data), options.images + held, random)
    tested = set(random.permutation(len(both))[:held].tolist())
    clean, evaluation = ([path for index, path in enumerate(both) if (index in tested) == wanted] for wanted in (False, True))
    planted = plant(clean, work / "planted", options.planted, random)
    leaked = plant(evaluation, work / "leaked", held // len(KINDS), random)
    write_list(work / "pool.txt", [*clean, *(copy.path for copy in (*planted, *leaked))])
    write_list(work / "evaluation.txt", evaluation)
    outcome = run(options, work, "removal", pool="pool.txt", not_like="evaluation.txt")
    thresholds = outcome.thresholds
    print(f"backbone {options.backbone}; {len(clean)} images and {len(planted) + len(leaked)} copies; seed {options.seed}")
    print(f"similarity: copies from {thresholds.copies:.3f}, different images to {thresholds.strangers:.3f}, ", end="")
    print(f"so {thresholds.pool:.3f} in the pool and {thresholds.evaluation:.3f} against evaluation images\n")
    print(removal_table(outcome, planted), leak_table(outcome, leaked, clean), sep="\n\n")
    print(f"\n{retrieval_table(Path(options.data), options, work, clean)}\n\n{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    try:
        main()
    except StegoError as error:
        sys.exit(str(error))
