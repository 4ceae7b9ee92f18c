"""Peak memory and time of features and nearest images at several numbers of images: markdown tables.

usage: python benchmarks/neighbours.py [--images FOLDER] [--counts 250,1000] [--vectors 5000,20000,80000] [--curve 1000,10000,100000,1000000]

Each row is a process of its own, so that its peak is its own. The first table computes features of real files (repeated with
a changed byte where the folder holds fewer) with a one-block ViT, since what grows with N is the cache and not the network;
the second searches nearest images among random unit vectors of the default backbone's width. The curve is that of
`index_of` among patch tokens of the images, by the default backbone at 224 px (kept in the default cache): what building
the index and asking it cost, by comparing all, by lists in memory and by lists on disk, and which share of the truly nearest
the lists find. Times are of the process's threads, for questions of `ASKED` rows drawn at random.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.peak import peak_megabytes

WIDTH = 384
NEIGHBOURS = 7
ASKED = 2000


def measure_vectors(count: int) -> dict[str, float]:
    """Nearest images among ``count`` random unit vectors."""
    from stego_app.features.neighbours import nearest_images

    before = peak_megabytes()
    vectors = np.random.default_rng(0).standard_normal((count, WIDTH), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    begun = time.perf_counter()
    found = nearest_images(vectors, NEIGHBOURS)
    return {"seconds": time.perf_counter() - begun, "before": before, "peak": peak_megabytes(), "result": found.nbytes / 1e6}


def measure_features(folder: Path, count: int) -> dict[str, float]:
    """Cache and neighbours of ``count`` files made from those in ``folder``."""
    import torch

    from benchmarks.speed.photos import copies
    from models.backbone import Backbone, BackboneSpec, build_vit
    from stego_app.features.cache import FeatureCache
    from stego_app.features.neighbours import nearest_images

    torch.manual_seed(0)
    spec = BackboneSpec("vit_small_patch16_224", 1, 0, 16, WIDTH, 14, method="random")
    backbone = Backbone(build_vit(spec), spec).eval()
    with tempfile.TemporaryDirectory() as temporary:
        paths = copies(folder, count, Path(temporary) / "photos")
        before, begun = peak_megabytes(), time.perf_counter()
        cache = FeatureCache.build(paths, backbone, resolution=224, device="cpu", folder=Path(temporary) / "cache")
        nearest_images(cache.pooled, NEIGHBOURS)
        stored = sum(path.stat().st_size for path in (Path(temporary) / "cache").rglob("*.safetensors"))
        return {"seconds": time.perf_counter() - begun, "before": before, "peak": peak_megabytes(), "result": stored / 1e6}


def patch_tokens(folder: Path, count: int) -> np.ndarray:
    """(count, C) unit patch tokens of the images of ``folder``, drawn at random, in random order."""
    from models.backbone_sources import load_backbone
    from stego_app.features.cache import FeatureCache
    from stego_app.images import find_images

    tokens, _ = FeatureCache.build(find_images(folder), load_backbone("default"), resolution=224).sample(count, seed=0)
    if len(tokens) < count:
        raise SystemExit(f"{folder}: {len(tokens):,} patch tokens, {count:,} were asked for")
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    return tokens


def curve(folder: Path, counts: list[int]) -> None:
    """The table of `index_of` at several numbers of vectors, a row as soon as it is measured."""
    from stego_app.features.similar import index_of

    every = patch_tokens(folder, max(counts))
    print("| vectors | way | index, CPU s | a question, CPU ms | of all vectors, CPU s | found of the nearest |\n|---|---|---|---|---|---|", flush=True)
    for count in counts:
        rows = every[:count]
        asked = rows[np.random.default_rng(1).permutation(count)[:ASKED]]
        true: np.ndarray | None = None
        for way, how in {"all": (count, 0), "lists": (0, rows.nbytes), "lists on disk": (0, rows.nbytes // 16)}.items():
            begun = time.process_time()
            with index_of(rows, *how) as index:
                built = time.process_time() - begun
                found = index.search(asked, NEIGHBOURS)[1]
                question = (time.process_time() - begun - built) / len(asked)
            true = found if true is None else true
            recall = np.mean([len(set(one) & set(other)) / NEIGHBOURS for one, other in zip(found.tolist(), true.tolist(), strict=True)])
            print(f"| {count:,} | {way} | {built:.2f} | {1000 * question:.3f} | {built + question * count:.1f} | {100 * recall:.1f} % |", flush=True)


def in_process(arguments: list[str]) -> dict[str, float]:
    """The measurement of one row, made by this script in a fresh process."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main() -> None:
    """Print the tables, or measure one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of images; without it only the search is measured")
    parser.add_argument("--counts", default="250,500,1000,2000")
    parser.add_argument("--vectors", default="5000,20000,80000")
    parser.add_argument("--curve", help="numbers of patch tokens of --images to search among")
    parser.add_argument("--row", nargs=2, metavar=("KIND", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        kind, count = options.row[0], int(options.row[1])
        print(json.dumps(measure_vectors(count) if kind == "vectors" else measure_features(options.images, count)))
        return
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}\n")
    if options.curve:
        curve(options.images, [int(count) for count in options.curve.split(",")])
        return
    if options.images:
        print("| images | seconds | peak memory above start, MB | features on disk, MB |\n|---|---|---|---|")
        for count in options.counts.split(","):
            row = in_process(["--images", str(options.images), "--row", "features", count])
            print(f"| {count} | {row['seconds']:.1f} | {row['peak'] - row['before']:.0f} | {row['result']:.0f} |", flush=True)
        print()
    print("| vectors | seconds | peak memory above start, MB | vectors and result, MB | N² floats would be, MB |\n|---|---|---|---|---|")
    for count in options.vectors.split(","):
        row, n = in_process(["--row", "vectors", count]), int(count)
        linear, square = row["result"] + n * WIDTH * 4 / 1e6, n * n * 4 / 1e6
        print(f"| {n} | {row['seconds']:.1f} | {row['peak'] - row['before']:.0f} | {linear:.0f} | {square:.0f} |", flush=True)


if __name__ == "__main__":
    main()
