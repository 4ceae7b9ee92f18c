"""The segmentation bench: sets and variants, cells and their names, scores, ratios, the plot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from benchmarks.bench import cells, variants
from benchmarks.bench.cells import Setting, cell_path, fill
from benchmarks.bench.methods import DEFAULT, LINEAR, LINEAR_CODES, METHODS, PEERS, Fitted, Job, method_key
from benchmarks.bench.plot import plot
from benchmarks.bench.recipe import code_only, recipe_fingerprint
from benchmarks.bench.scoring import plain, probe, score
from benchmarks.bench.table import Summary, columns_of, ratios, summaries, table
from benchmarks.bench.tasks import PUBLISHED, SHARED, Task, own_tasks, present, variant_tasks
from benchmarks.bench.variants import VARIANTS, Source, Variant, changed, offset_labels, variant_folder, write_variant
from models.backbone import Backbone
from models.errors import StegoError
from stego_app.data import VOID, open_dataset
from stego_app.progress import silent

COLOURS = np.array([[30, 60, 200], [40, 160, 40], [200, 60, 40]], np.uint8)


def labelled_folder(root: Path, count: int, classes: int = 3, size: tuple[int, int] = (64, 96)) -> Path:
    """A plain folder of images of coloured stripes in random order, with their labels."""
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for number in range(count):
        random = np.random.default_rng(number)
        label = np.repeat(random.permutation(classes)[np.arange(size[1]) * classes // size[1]][None], size[0], axis=0).astype(np.uint8)
        image = np.clip(COLOURS[label].astype(int) + random.integers(-20, 20, (*size, 3)), 0, 255).astype(np.uint8)
        label[:2] = VOID
        Image.fromarray(image).save(root / "images" / f"{number:03d}.png")
        Image.fromarray(label).save(root / "labels" / f"{number:03d}.png")
    (root / "meta.json").write_text(json.dumps({"classes": [f"c{kind}" for kind in range(classes)]}))
    return root


def setting_of(tmp_path: Path, backbone: Backbone) -> Setting:
    return Setting(tmp_path / "data", tmp_path / "results", backbone, None, 7, False, tmp_path / "cache", "cpu", silent)


STRIPES = Task("stripes", "stripes", None, None, (64, 96))


def test_cells_of_published_rows_keep_their_names(tmp_path: Path) -> None:
    setting = Setting(tmp_path, tmp_path, SimpleNamespace(fingerprint="abc"), None, 500, False, None, "cpu", silent)  # type: ignore[arg-type]
    assert cell_path(setting, SHARED[0], "kmeans", 0, False).name == "abc-camvid-train-val-336x448-kmeans-seed0.json"
    assert cell_path(setting, SHARED[2], "stego-cocostuff-s", 2, True).name == "abc-msrc_v2-all-all-224x336-stego-cocostuff-s-500-seed2-crf.json"
    assert cell_path(setting, SHARED[1], DEFAULT, 1, False).name == f"abc-camvid-train-train-336x448-default-{recipe_fingerprint()}-seed1.json"
    bright = replace(setting, brighten=True)
    assert cell_path(bright, SHARED[0], "kmeans", 0, False).name == "abc-camvid-train-val-336x448-kmeans-brightened-seed0.json"
    assert cell_path(bright, SHARED[1], DEFAULT, 1, False) == cell_path(setting, SHARED[1], DEFAULT, 1, False)  # it always sees them so


def test_method_keys_tell_settings_apart() -> None:
    keys = [method_key(method, 500) for method in METHODS.values()]
    assert len(set(keys)) == len(keys)
    assert method_key("stego-cocostuff", 400) != method_key("stego-cocostuff", 500)


def test_the_recipe_fingerprint_follows_code_and_not_comments() -> None:
    text = 'def f(x):\n    """Says."""\n    # why\n    return x + 1\n'
    assert code_only(text) == code_only("def f(x):\n    return (x\n        + 1)\n")
    assert code_only(text) != code_only(text.replace("+ 1", "+ 2"))


def test_published_sets_are_left_out_with_a_line_where_absent(tmp_path: Path) -> None:
    (tmp_path / "camvid").mkdir()
    there, lines = present([*SHARED, *PUBLISHED], tmp_path)
    assert [task.name for task in there] == ["CamVid train → val", "CamVid train → train"]
    assert any("cocostuff27" in line for line in lines)
    assert len(lines) == 4


def test_offsets_keep_void() -> None:
    assert offset_labels(np.array([[0, 3, VOID]], np.uint8), 11).tolist() == [[11, 14, VOID]]


def test_a_centre_crop_is_cut_and_a_scaled_label_never_blends() -> None:
    image = np.arange(20 * 30 * 3, dtype=np.int64).reshape(20, 30, 3).astype(np.uint8)
    label = np.where(np.arange(30)[None, :] < 15, 0, 7).repeat(20, axis=0).astype(np.uint8)
    cut, cut_label = changed(image, label, scale=1.0, crop=0.6)
    assert np.array_equal(cut, image[4:16, 6:24])
    assert np.array_equal(cut_label, label[4:16, 6:24])
    big, big_label = changed(image, label, scale=2.0, crop=1.0)
    assert big.shape == (40, 60, 3)
    assert set(np.unique(big_label)) == {0, 7}


@pytest.fixture
def two_sets(tmp_path: Path) -> Path:
    """Two tiny labelled folders below ``data``."""
    labelled_folder(tmp_path / "data" / "one", 4)
    labelled_folder(tmp_path / "data" / "two", 3, classes=2)
    return tmp_path / "data"


def test_a_mix_has_disjoint_classes_and_unchanged_files(two_sets: Path, tmp_path: Path) -> None:
    out = tmp_path / "mix"
    out.mkdir()
    write_variant(Variant("mix", (Source("one", None), Source("two", None)), 64), two_sets, out)
    mixed = open_dataset(out)
    assert mixed.class_names == ("one c0", "one c1", "one c2", "two c0", "two c1")
    assert len(mixed) == 7
    for sample in mixed.samples:
        classes = set(np.unique(mixed.read_label(sample)).tolist()) - {VOID}
        assert classes <= ({0, 1, 2} if sample.key.startswith("one") else {3, 4})
    assert (out / "images" / "one_000.png").read_bytes() == (two_sets / "one" / "images" / "000.png").read_bytes()


def test_sequences_are_chosen_by_file_name(two_sets: Path, tmp_path: Path) -> None:
    out = tmp_path / "part"
    out.mkdir()
    write_variant(Variant("part", (Source("one", None, ("002", "003")),), 64), two_sets, out)
    assert [sample.key for sample in open_dataset(out).samples] == ["one_002", "one_003"]


def test_a_variant_is_written_once_and_an_interrupted_one_leaves_nothing(two_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "half", Variant("half", (Source("one", None, scale=0.5),), (32, 48)))
    into = tmp_path / "variants"
    monkeypatch.setattr(variants, "changed", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        variant_folder("half", two_sets, into)
    assert list(into.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setitem(VARIANTS, "half", Variant("half", (Source("one", None, scale=0.5),), (32, 48)))
    folder = variant_folder("half", two_sets, into)
    assert Image.open(folder / "images" / "one_000.png").size == (48, 32)
    before = (folder / "meta.json").stat().st_mtime_ns
    assert variant_folder("half", two_sets, into) == folder
    assert (folder / "meta.json").stat().st_mtime_ns == before
    with pytest.raises(StegoError, match="expected one of"):
        variant_folder("nope", two_sets, into)


def test_every_variant_is_a_task() -> None:
    tasks = variant_tasks(list(VARIANTS))
    assert len({task.name for task in tasks}) == len(VARIANTS) >= 11
    assert all(task.variant for task in tasks)


def test_an_own_folder_is_a_task_on_all_its_images_and_an_absent_one_is_named(tmp_path: Path, tiny_backbone: Backbone) -> None:
    labelled_folder(tmp_path / "leaves", 2)
    [task] = own_tasks(["leaves"], tmp_path)
    assert task == Task("leaves", "leaves", None, None, None)
    assert replace(setting_of(tmp_path, tiny_backbone), data=tmp_path).size(task) == 224
    with pytest.raises(StegoError, match="--folders 'roots': expected a folder of images with labels"):
        own_tasks(["leaves", "roots"], tmp_path)


def test_scores_are_those_of_a_perfect_prediction(tmp_path: Path, tiny_backbone: Backbone) -> None:
    labelled_folder(tmp_path / "data" / "stripes", 4)
    setting = setting_of(tmp_path, tiny_backbone)
    labelled = setting.features(STRIPES, None, LINEAR)
    dataset = labelled[0]
    maps = iter([dataset.read_label(sample) for sample in dataset.samples])

    def truth(_tokens: npt.NDArray[np.float32], grid: tuple[int, int]) -> torch.Tensor:
        # The classes in another order: Hungarian matching must undo it.
        centres = next(maps)[8::16, 8::16][: grid[0], : grid[1]].astype(np.int64)
        return torch.nn.functional.one_hot(torch.from_numpy((centres.ravel() + 1) % 3), 3).float()

    cell = score(truth, labelled, 3, crf=False, progress=silent)
    assert cell["accuracy"] > 99
    assert np.sum(cell["histogram"]) == 4 * 62 * 96
    assert cell["classes"] == ["c0", "c1", "c2"]


def test_a_probe_is_fitted_on_even_images_and_scored_on_odd_ones(tmp_path: Path, tiny_backbone: Backbone) -> None:
    labelled_folder(tmp_path / "data" / "stripes", 5)
    labelled = setting_of(tmp_path, tiny_backbone).features(STRIPES, None, LINEAR)
    seen: list[int] = []

    def embed(tokens: npt.NDArray[np.float32], grid: tuple[int, int]) -> torch.Tensor:
        seen.append(next(index for index in range(5) if np.array_equal(labelled[1].tokens(index).astype(np.float32), tokens)))
        return plain(tokens, grid)

    cell = probe(embed, labelled, labelled, 3, seed=0, progress=silent)
    assert seen == [0, 2, 4, 1, 3]
    assert np.sum(cell["histogram"]) == 2 * 62 * 96
    assert cell["miou"] > 60


def test_cells_are_computed_once_and_a_fit_serves_all_tasks(tmp_path: Path, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled_folder(tmp_path / "data" / "stripes", 4)
    setting = setting_of(tmp_path, tiny_backbone)
    fits: list[str] = []

    def fake(method: str, job: Job) -> Fitted:
        fits.append(method)
        weight = torch.randn(job.cache.dim, job.classes, generator=torch.Generator().manual_seed(job.seed))
        return Fitted(lambda tokens, _grid: torch.from_numpy(tokens) @ weight, 1.0, {"kept": 1}, plain if method == DEFAULT else None)

    monkeypatch.setattr(cells, "fit", fake)
    for _ in range(2):
        fill(setting, [STRIPES], ["kmeans", DEFAULT, LINEAR, LINEAR_CODES], [0, 1], [False])
    assert fits == ["kmeans", DEFAULT, "kmeans", DEFAULT]
    cell_path(setting, STRIPES, "kmeans", 1, False).unlink()
    fill(setting, [STRIPES], ["kmeans"], [0, 1], [False])
    assert fits[4:] == ["kmeans"]
    cell = json.loads(cell_path(setting, STRIPES, "kmeans", 1, False).read_text())
    assert cell["kept"] == 1
    found = summaries(setting, [STRIPES], METHODS.values(), [0, 1], [False])
    codes, features = found[LINEAR_CODES, (STRIPES, False)], found[LINEAR, (STRIPES, False)]
    assert codes.miou == features.miou  # both saw the plain features
    assert found[DEFAULT, (STRIPES, False)].seeds == 2


def test_the_peers_run_in_the_bench(tmp_path: Path, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.bench import methods
    from benchmarks.peers.cause import CauseSettings
    from benchmarks.peers.primaps_em import PrimapsSettings

    quick = CauseSettings(concepts=8, patches=8, anchors=8, batch=2, book_steps=2, head_steps=2, probe_steps=2, probe_batches=2, window=3)
    monkeypatch.setitem(methods.CAUSE, "cause-mlp", quick)
    monkeypatch.setitem(methods.PRIMAPS, "primaps-em", PrimapsSettings(batch=2, init_least=2, epochs=2))
    labelled_folder(tmp_path / "data" / "stripes", 3)
    setting = setting_of(tmp_path, tiny_backbone)
    fill(setting, [STRIPES], ["kmeans", "primaps-em", "cause-mlp"], [0], [False])
    found = summaries(setting, [STRIPES], PEERS, [0], [False])
    assert {method for method, _ in found} == {"kmeans", "primaps-em", "cause-mlp"}
    assert all(0 < summary.accuracy <= 100 for summary in found.values())


def found_of(task: Task) -> dict[tuple[str, tuple[Task, bool]], Summary]:
    column = (task, False)
    return {
        ("kmeans", column): Summary(20, 1, 50, 3),
        ("cause-mlp", column): Summary(10, 0, 60, 2),
        (DEFAULT, column): Summary(30, 2, 66, 3),
        (LINEAR, column): Summary(60, 1, 90, 3),
        (LINEAR_CODES, column): Summary(57, 1, 90, 3),
    }


def test_ratios_take_the_best_peer_of_each_figure() -> None:
    shown = ratios(found_of(STRIPES), columns_of([STRIPES], [False]))
    assert shown == {
        "default ÷ best peer": ["1.50× / 1.10×"],
        "default ÷ linear probe, mIoU": ["0.50×"],
        "probe on detailed codes ÷ on features, mIoU": ["0.95×"],
    }


def test_the_table_marks_missing_seeds_and_leaves_out_rows_that_were_not_run() -> None:
    lines = table(found_of(STRIPES), columns_of([STRIPES, SHARED[0]], [False]), METHODS, 3).splitlines()
    assert lines[0] == "| | stripes | CamVid train → val |"
    assert "| k-means on features | 20.0 ± 1.0 / 50.0 | not run |" in lines
    assert any(line.endswith("10.0 ± 0.0 / 60.0 (2) | not run |") for line in lines)
    assert not any("STEGO" in line for line in lines)
    assert "| default ÷ best peer | 1.50× / 1.10× | – |" in lines


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    plot(found_of(STRIPES), columns_of([STRIPES, SHARED[0]], [False]), METHODS, "tiny", tmp_path / "bars.png")
    with Image.open(tmp_path / "bars.png") as picture:
        assert min(picture.size) > 100
