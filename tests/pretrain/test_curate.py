"""The data engine end to end on generated scenes with planted copies, a tiny random backbone, and interruptions."""

from __future__ import annotations

import csv
import json
import os
import re
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from typer.testing import CliRunner

from models.backbone import Backbone, BackboneSpec, build_vit, save_backbone
from models.errors import StegoError
from pretrain.curate import CurateSettings, Outcome, curate, make_settings
from pretrain.curate.embedding import Embedder, describe, file_loader, pixel_loader
from pretrain.curate.lists import read_image_list
from pretrain.curate.vectors import KINDS, Row, VectorStore
from stego_app.cli import app

SPEC = BackboneSpec("vit_tiny_patch16_224", depth=1, block=0, patch_size=8, dim=192, grid=6, method="random")
SIDE = 48


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Backbone(build_vit(SPEC), SPEC).eval()


@pytest.fixture(scope="module")
def backbone_file(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "b.safetensors"
    save_backbone(path, backbone, precision="fp32")
    return path


def scene(seed: int, tint: float = 0.0) -> Image.Image:
    """A smooth random picture of 64 × 56 pixels; ``tint`` draws it towards red."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3)).astype(np.float64)
    small = small * (1 - tint) + np.array([230, 40, 40]) * tint
    return Image.fromarray(small.astype(np.uint8)).resize((64, 56), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty scenes, the last ten reddish; of the first three a copy each: larger, as JPEG, the same bytes."""
    root = tmp_path_factory.mktemp("pool")
    for number in range(40):
        scene(number, 0.5 if number >= 30 else 0).save(root / f"{number:02d}.png")
    scene(0).resize((96, 84), Image.Resampling.BICUBIC).save(root / "copy0.png")
    scene(1).save(root / "copy1.jpg", quality=60)
    (root / "copy2.png").write_bytes((root / "02.png").read_bytes())
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def settings(pool: Path, backbone_file: Path, cache: Path, tmp_path: Path) -> Callable[..., CurateSettings]:
    def made(**fields: object) -> CurateSettings:
        plain = {"pool": (str(pool),), "out": tmp_path / "list.txt", "backbone": str(backbone_file), "resolution": SIDE, "device": "cpu", "cache": cache}
        return make_settings(**{**plain, "shown": 3, "probes": 20, **fields})

    return made


def run(settings: CurateSettings) -> Outcome:
    return curate(settings, say=lambda _line: None)


def names(outcome: Outcome) -> set[str]:
    return {path.name for path in outcome.paths}


def test_copies_are_left_out_and_the_larger_is_kept(settings: Callable[..., CurateSettings], tmp_path: Path) -> None:
    outcome = run(settings())
    assert outcome.method == "all"
    removed = {outcome.pool.paths[removal.row].name: outcome.other(removal).name for removal in outcome.removals}
    assert removed == {"00.png": "copy0.png", "copy1.jpg": "01.png", "copy2.png": "02.png"}
    assert names(outcome) == {path.name for path in outcome.pool.paths} - set(removed)
    assert read_image_list(tmp_path / "list.txt") == outcome.paths
    rows = list(csv.DictReader((tmp_path / "list.removed.csv").open()))
    assert {Path(row["image"]).name: Path(row["of"]).name for row in rows} == removed
    assert all(float(row["similarity"]) >= outcome.thresholds.pool - 1e-4 for row in rows)
    told = json.loads((tmp_path / "list.json").read_text())
    assert told["counts"]["near-duplicates within the pool"] == 3
    assert told["counts"]["in the list"] == 40
    assert len(run(settings(keep_duplicates=True)).paths) == 43


def test_the_report_stands_alone(settings: Callable[..., CurateSettings], tmp_path: Path) -> None:
    run(settings())
    page = (tmp_path / "list.report.html").read_text()
    assert "kept: " in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert page.count("data:image/jpeg") >= 6 + 6  # three groups of two, and a sample of the list


def test_nothing_that_resembles_an_evaluation_set_is_taken(settings: Callable[..., CurateSettings], tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.mkdir()
    scene(7).resize((50, 44), Image.Resampling.BICUBIC).save(held / "a.jpg", quality=80)
    scene(0).save(held / "b.png")
    scene(900).save(held / "c.png")
    outcome = run(settings(not_like=(str(held),)))
    removed = {outcome.pool.paths[removal.row].name: outcome.other(removal).name for removal in outcome.removals if removal.of == "evaluation"}
    assert removed == {"07.png": "a.jpg", "00.png": "b.png", "copy0.png": "b.png"}
    assert "evaluation image: " in (tmp_path / "list.report.html").read_text()


def test_curated_images_that_resemble_an_evaluation_set_are_not_listed_either(settings: Callable[..., CurateSettings], pool: Path, tmp_path: Path) -> None:
    like = (str(pool / "08.png"), str(pool / "35.png"), str(pool / "36.png"))
    outcome = run(settings(like=like, not_like=(str(pool / "35.png"),), method="nearest", with_like=True))
    assert [path.name for path in outcome.paths[:2]] == ["08.png", "36.png"]
    assert "35.png" not in names(outcome)
    assert outcome.counts()["curated images like evaluation sets"] == 1
    rows = [row for row in csv.DictReader((tmp_path / "list.removed.csv").open()) if row["image"] == str(pool / "35.png")]
    assert [(row["because"], row["of"]) for row in rows] == [("like the evaluation", str(pool / "35.png"))] * 2  # once of the pool, once of the curated set
    assert str(outcome).endswith("1 curated images like evaluation sets left out)")


def test_the_same_picture_is_found_at_any_similarity(settings: Callable[..., CurateSettings], pool: Path, tmp_path: Path) -> None:
    twice = tmp_path / "twice"
    twice.mkdir()
    for path in pool.glob("[0-3]*.png"):
        (twice / f"again {path.name}").write_bytes(path.read_bytes())
    outcome = run(settings(pool=(str(pool), str(twice)), similarity=1.0))
    assert len(outcome.removals) == 41  # forty copied files, and one that the pool had already


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"with_like": True}, "--with-like: needs a curated set"),
        ({"nearest": 4}, "--nearest: means nothing to --method all; it belongs to nearest"),
        ({"per_cluster": 4, "images": 12}, "--per-cluster: means nothing to --method balanced; it belongs to clusters"),
        ({"method": "all", "images": 12}, "--images: means nothing to --method all; it belongs to nearest, clusters or balanced"),
        ({"method": "clusters", "nearest": 4, "like": True}, "--nearest: means nothing to --method clusters"),
    ],
)
def test_options_that_mean_nothing_to_the_method_are_refused(
    given: dict[str, object], said: str, settings: Callable[..., CurateSettings], curated: Path
) -> None:
    if "like" in given:
        given = {**given, "like": (str(curated),)}
    with pytest.raises(StegoError, match=said):
        run(settings(**given))


def test_options_have_the_values_that_help_names() -> None:
    text = CliRunner().invoke(app, ["curate", "--help"], env={"COLUMNS": "200"}).output
    defaults = CurateSettings(pool=("a",), out=Path("b"))
    assert f"{defaults.nearest} if not given" in text
    assert f"{defaults.per_cluster} if not given" in text


def test_names_need_not_be_text_and_one_that_no_list_can_hold_costs_that_image_alone(
    settings: Callable[..., CurateSettings], pool: Path, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"pool \xff, \xc3\xa4")
    odd.mkdir()
    for path in list(pool.glob("1*.png")):
        (odd / f"a \u2028 {path.name}").write_bytes(path.read_bytes())
    (odd / "two\nlines.png").write_bytes((pool / "20.png").read_bytes())
    out = tmp_path / os.fsdecode(b"list \xff.txt")
    outcome = run(settings(pool=(str(odd),), out=out))
    assert read_image_list(out) == outcome.paths
    assert len(outcome.paths) == 10
    assert [reason for _, reason in outcome.failures] == ["a line break in its name, which a list of paths cannot hold; rename the file"]
    assert run(settings(pool=(f"@{out}",), out=tmp_path / "again.txt")).paths == outcome.paths


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    root = tmp_path / "curated"
    root.mkdir()
    for number in range(3):
        scene(500 + number, 0.5).save(root / f"{number}.png")
    return root


@pytest.mark.parametrize("method", ["nearest", "clusters"])
def test_images_like_a_curated_set_are_found(settings: Callable[..., CurateSettings], curated: Path, tmp_path: Path, method: str) -> None:
    sizes = {"nearest": {"nearest": 3}, "clusters": {"per_cluster": 5, "clusters": 4}}[method]
    outcome = run(settings(like=(str(curated),), method=method, **sizes))
    reddish = {f"{number}.png" for number in range(30, 40)}
    assert len(names(outcome) & reddish) / len(outcome.paths) > 0.7  # a quarter of the pool
    assert len(outcome.chosen.queries) == len(outcome.paths) <= 15
    page = (tmp_path / "list.report.html").read_text()
    assert "curated: " in page
    both = run(settings(like=(str(curated),), method=method, **sizes, with_like=True))
    assert [path.parent.name for path in both.paths[:3]] == ["curated"] * 3
    assert both.paths[3:] == outcome.paths


def test_an_image_of_the_curated_set_is_not_retrieved_for_itself(settings: Callable[..., CurateSettings], pool: Path) -> None:
    outcome = run(settings(like=(str(pool / "35.png"), str(pool / "36.png")), method="nearest", nearest=2))
    assert not names(outcome) & {"35.png", "36.png"}
    assert outcome.counts()["near-duplicates of the curated set"] == 2


def test_the_method_follows_from_what_is_given(settings: Callable[..., CurateSettings]) -> None:
    assert settings().chosen_method(0) == "all"
    assert settings(images=5).chosen_method(0) == "balanced"
    assert settings().chosen_method(99) == "clusters"
    assert settings(images=5).chosen_method(100) == "nearest"


def test_a_balanced_list_has_as_many_images_as_asked_for(settings: Callable[..., CurateSettings]) -> None:
    outcome = run(settings(images=12))
    assert (outcome.method, len(outcome.paths), len(names(outcome))) == ("balanced", 12, 12)
    assert run(settings(images=12)).paths == outcome.paths
    assert run(settings(images=12, seed=1)).paths != outcome.paths


class Killed(BaseException):
    """Stands in for kill -9."""


@pytest.mark.parametrize("stop", [Killed, KeyboardInterrupt])
def test_an_interrupted_run_goes_on_and_ends_the_same(
    settings: Callable[..., CurateSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    whole = run(settings(images=12))
    monkeypatch.setattr("pretrain.curate.embedding._SHARD_ROWS", 8)

    def die(_stage: str, done: int, _total: int) -> None:
        if done == 21:
            raise stop

    broken = settings(images=12, cache=tmp_path / "cache", batch_size=4, out=tmp_path / "broken.txt")
    with pytest.raises(stop):
        curate(broken, die, lambda _line: None)
    assert not broken.out.exists()
    kept = sum(len(json.loads(line)) for line in _shard_keys(tmp_path / "cache"))
    assert kept == (16 if stop is Killed else 20)
    outcome = run(broken)
    assert [path.name for path in outcome.paths] == [path.name for path in whole.paths]
    assert sorted(path.name for path in tmp_path.glob("broken*")) == ["broken.json", "broken.removed.csv", "broken.report.html", "broken.txt"]


def _shard_keys(cache: Path) -> list[str]:
    from safetensors import safe_open

    texts = []
    for path in cache.rglob("*.safetensors"):
        with safe_open(str(path), framework="numpy") as file:
            texts.append(file.metadata()["keys"])
    return texts


def test_unreadable_files_are_listed_and_the_exit_code_is_one(pool: Path, backbone_file: Path, cache: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.txt"
    (tmp_path / "broken.png").write_bytes(b"no image")
    mixed.write_text("".join(f"{path}\n" for path in [*sorted(pool.iterdir())[:12], tmp_path / "broken.png", tmp_path / "gone.png"]))
    arguments = ["curate", f"@{mixed}", "--out", str(tmp_path / "l.txt"), "--backbone", str(backbone_file), "--resolution", str(SIDE), "--device", "cpu"]
    result = CliRunner().invoke(app, [*arguments, "--cache", str(cache)])
    assert result.exit_code == 1, result.output
    assert "2 unreadable" in result.output
    assert len(read_image_list(tmp_path / "l.txt")) == 12
    table = (tmp_path / "l.removed.csv").read_text()
    assert "broken.png" in table
    assert "gone.png" in table


def test_bad_input_is_named(settings: Callable[..., CurateSettings], pool: Path, tmp_path: Path) -> None:
    def refused(message: str, **fields: object) -> None:
        with pytest.raises(StegoError, match=message) as error:
            run(settings(**fields))
        assert "\n" not in str(error.value)

    (tmp_path / "empty").mkdir()
    (tmp_path / "few").mkdir()
    scene(0).save(tmp_path / "few" / "a.png")
    refused("nowhere: no such folder", pool=("nowhere",))
    refused("empty: no images found", like=(str(tmp_path / "empty"),))
    refused("pool: 1 readable images; expected at least 10", pool=(str(tmp_path / "few"),))
    refused("--method nearest: needs a curated set", method="nearest")
    refused("--method balanced: needs the number of images", method="balanced")
    refused("curation setting 'method'", method="best")
    refused("curation setting 'nearest'", nearest=0)
    refused("curation setting 'similarity'", similarity=2)
    refused("resolution 14: expected at least one patch of 16 pixels", resolution=14, backbone="random:vit_tiny_patch16_224")
    refused("nothing is left to choose from", not_like=(str(pool),))
    refused("no such backbone file", backbone="missing.pth")
    assert not (tmp_path / "list.txt").exists()


def test_descriptors_are_means_of_unit_tokens(backbone: Backbone) -> None:
    images = torch.rand((2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    cls, pooled, layout = describe(backbone, images)
    with torch.no_grad():
        tokens = backbone(images).patches.numpy()  # (2, 192, 6, 6): cells of 2 × 2 patches
    tokens = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    cells = np.stack([np.stack([tokens[:, :, y : y + 2, x : x + 2].mean((2, 3)) for x in (0, 2, 4)], -1) for y in (0, 2, 4)], -2)
    mirrored = (cells + cells[..., ::-1]) / 2
    assert np.abs(layout - mirrored[..., :2].reshape(2, -1)).max() < 2e-3
    assert np.abs(pooled - tokens.mean((2, 3))).max() < 2e-3
    assert np.linalg.norm(cls.astype(np.float32), axis=1) == pytest.approx([1, 1], abs=2e-3)


def test_descriptors_are_computed_once_for_equal_content(backbone: Backbone, pool: Path, tmp_path: Path) -> None:
    embedder = Embedder(backbone, resolution=SIDE, device="cpu", batch_size=4, cache=tmp_path)
    paths = [pool / name for name in ("02.png", "copy2.png", "05.png", "none.png")]
    first = embedder.embed([file_loader(path) for path in paths])
    assert (first.computed, first.indices, first.failures) == (2, [0, 1, 2], [(str(pool / "none.png"), "No such file or directory")])
    assert np.array_equal(first.read("cls")[0], first.read("cls")[1])
    assert first.read("shape").tolist() == [[56, 64, (pool / name).stat().st_size] for name in ("02.png", "copy2.png", "05.png")]
    again = Embedder(backbone, resolution=SIDE, device="cpu", batch_size=4, cache=tmp_path).embed([file_loader(path) for path in paths[:3]])
    assert again.computed == 0
    assert np.array_equal(again.read("layout"), first.read("layout"))
    pixels = np.asarray(Image.open(pool / "05.png"))
    loaded = embedder.embed([pixel_loader("in memory", lambda: pixels)])
    assert np.array_equal(loaded.read("cls")[0], first.read("cls")[2])


def test_no_more_pictures_are_in_memory_than_are_being_read(backbone: Backbone, tmp_path: Path) -> None:
    seen: list[weakref.ref[np.ndarray]] = []
    most = 0

    def read(number: int) -> np.ndarray:
        nonlocal most
        pixels = np.asarray(scene(number)).copy()
        seen.append(weakref.ref(pixels))
        most = max(most, sum(known() is not None for known in seen))
        return pixels

    embedder = Embedder(backbone, resolution=SIDE, device="cpu", batch_size=16, cache=tmp_path)
    found = embedder.embed([pixel_loader(str(number), lambda number=number: read(number)) for number in range(40)])  # type: ignore[misc]
    assert found.computed == 40
    assert found.read("shape")[0].tolist() == [56, 64, 56 * 64 * 3]
    assert most <= 4  # two are read at a time


def test_a_damaged_shard_is_computed_again(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    for number in range(3):
        store.add(Row(f"k{number}", *(np.full(2, number, np.float16) for _ in KINDS), shape=(1, 2, number)))
    store.flush()
    assert store.read(["k2", "k0"], "cls").tolist() == [[2, 2], [0, 0]]
    assert store.read(["k1"], "pooled", lambda rows: rows.astype(np.float32) * 3).tolist() == [[3, 3]]
    [shard] = tmp_path.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-4])
    assert "k1" not in VectorStore(tmp_path)
    with pytest.raises(StegoError, match="removed or damaged while in use"):
        store.read(["k1"], "cls")


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_more: object) -> None:
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr("models.tensor_file.save_file", full)
    store = VectorStore(tmp_path)
    store.add(Row("k", *(np.zeros(2, np.float16) for _ in KINDS), shape=(1, 2, 3)))
    with pytest.raises(StegoError, match="cannot write the cache of descriptors"):
        store.flush()
    assert list(tmp_path.iterdir()) == []


def test_a_picture_wider_than_jpeg_allows_is_a_picture_all_the_same(backbone: Backbone, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 66_000, 3), dtype=np.uint8)).save(tmp_path / "wide.png")
    embedder = Embedder(backbone, resolution=48, device="cpu", cache=tmp_path / "cache")
    found = embedder.embed([file_loader(tmp_path / "wide.png", kind) for kind in ("resized", "re-encoded", "cropped", "flipped")])
    assert (len(found.keys), found.failures) == (4, [])


@pytest.mark.parametrize(("name", "said"), [("list.json", "so the numbers beside the list are called"), (".", "is a folder")])
def test_a_list_does_not_take_the_place_of_what_lies_beside_it(name: str, said: str, settings: Callable[..., CurateSettings], tmp_path: Path) -> None:
    with pytest.raises(StegoError, match=said):
        run(settings(out=tmp_path / name))
