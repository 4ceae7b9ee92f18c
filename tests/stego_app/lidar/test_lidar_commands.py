"""Probe, train and label on drawn scans through the command line; range images and pictures."""

from __future__ import annotations

import csv
import json
from importlib import import_module
from pathlib import Path, PurePath

import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import StegoError
from models.lidar.backbone import LidarBackbone, LidarSpec, random_lidar_backbone, save_lidar_backbone
from stego_app.cli import main
from stego_app.discovery.settings import DiscoverySettings
from stego_app.lidar import range_image
from stego_app.lidar.birdseye import birdseye
from stego_app.lidar.label import label_names, label_scans
from stego_app.lidar.range_image import COLUMNS, ROWS, ScanTokens, on_cells, range_cells
from stego_app.lidar.readers import read_scan
from stego_app.lidar.scan import Scan
from stego_app.lidar.segmenter import read_lidar_segmenter
from stego_app.lidar.store import ScanStore
from stego_app.lidar.train import train_lidar_segmenter
from stego_app.lidar.views import scan_pairs
from tests.drawn_scan import drawn_scan, write_drawn_scan

QUICK = DiscoverySettings(codes=24, bank=1500, draws=2, steps=60, batch=256, head_tokens=3000, fine=8)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for seed in range(4):
        write_drawn_scan(folder / "drive" / f"{seed:06}.bin", seed, labelled=True)
    return folder


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "lidar.safetensors"
    save_lidar_backbone(path, random_lidar_backbone(LidarSpec(0.5, (12, 16), 16), 0))
    return path


@pytest.fixture(scope="module")
def segmenter(scans: Path, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("segmenter") / "street.safetensors"
    found = train_lidar_segmenter(scans, str(backbone), path, classes=3, settings=QUICK, device="cpu", cache=path.parent)
    assert (found.classes, found.failures) == (3, [])
    assert not any("image" in note or "patch" in note for note in found.notes)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path | int) -> int:
    monkeypatch.setattr("sys.argv", ["stego", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_labels_are_one_number_a_point_by_the_same_classes_in_every_scan(
    scans: Path, segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "lidar", "label", scans, tmp_path / "out", "--model", segmenter, "--pictures", 2, "--device", "cpu") == 0
    assert "labelled 4 scans" in capsys.readouterr().out
    labels = sorted((tmp_path / "out" / "labels").rglob("*.label"))
    assert [path.relative_to(tmp_path / "out" / "labels").as_posix() for path in labels] == [f"drive/{seed:06}.label" for seed in range(4)]
    model, seen = read_lidar_segmenter(segmenter), np.zeros((4, 3))
    for seed, path in enumerate(labels):
        numbers, scan = np.fromfile(path, "<u4"), read_scan(scans / "drive" / f"{seed:06}.bin")
        assert np.array_equal(numbers, model(scan) + 1)
        seen[seed] = np.bincount(numbers - 1, minlength=3)
    assert (seen > 0).all()  # every class is found in every scan of such a street
    with (tmp_path / "out" / "classes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=1e-3)
    pictures = sorted((tmp_path / "out" / "pictures").rglob("*.png"))
    assert len(pictures) == 2
    assert len(np.unique(np.asarray(Image.open(pictures[0])).reshape(-1, 3), axis=0)) > 20


def test_labelling_goes_on_and_leaves_other_models_labels_alone(scans: Path, segmenter: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label_scans(scans, out, segmenter, pictures=0, device="cpu")
    first = (out / "classes.csv").read_text()
    (out / "labels" / "drive" / "000002.label").unlink()
    again = label_scans(scans, out, segmenter, pictures=0, device="cpu")
    assert (again.done, again.kept) == (1, 3)
    assert (out / "classes.csv").read_text() == first
    with pytest.raises(StegoError, match="holds labels of another model or number of classes"):
        label_scans(scans, out, segmenter, classes=2, device="cpu")


def test_a_scan_that_has_changed_is_labelled_again(segmenter: Path, tmp_path: Path) -> None:
    drive, out = tmp_path / "drive", tmp_path / "out"
    drive.mkdir()
    points, intensity, _ = drawn_scan(0)
    # An organised cloud has as many points whatever it shows: the missing ones are not a number.
    for name, missing in (("a", slice(0, 100)), ("b", slice(100, 200))):
        rows = np.column_stack([points, intensity]).astype("<f4")
        rows[missing] = np.nan
        header = f"VERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nWIDTH {len(rows)}\nHEIGHT 1\nPOINTS {len(rows)}\nDATA binary\n"
        (drive / f"{name}.pcd").write_bytes(header.encode() + rows.tobytes())
    assert label_scans(drive, out, segmenter, device="cpu").done == 2
    (drive / "a.pcd").write_bytes((drive / "b.pcd").read_bytes())
    again = label_scans(drive, out, segmenter, device="cpu")
    assert (again.done, again.kept, again.failures) == (1, 1, [])
    assert (out / "labels" / "a.label").read_bytes() == (out / "labels" / "b.label").read_bytes()
    assert (out / "pictures" / "a.png").read_bytes() == (out / "pictures" / "b.png").read_bytes()
    (out / "scans.jsonl").write_bytes((out / "scans.jsonl").read_bytes()[:-5])  # a run that was killed
    assert label_scans(drive, out, segmenter, device="cpu").kept == 1
    assert label_scans(drive, out, segmenter, device="cpu").kept == 2


def test_a_scan_that_changes_while_it_is_labelled_is_labelled_again(segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drive, out = tmp_path / "drive", tmp_path / "out"
    drive.mkdir()
    first, second = (np.column_stack(drawn_scan(seed)[:2]).astype("<f4")[:1300].tobytes() for seed in (0, 1))
    (drive / "a.bin").write_bytes(first)

    def swapped(path: Path, *raw: bytes) -> Scan:
        scan = read_scan(path, *raw)
        path.write_bytes(second)
        return scan

    with monkeypatch.context() as patch:
        patch.setattr("stego_app.lidar.label.read_scan", swapped)
        label_scans(drive, out, segmenter, device="cpu")
    assert label_scans(drive, out, segmenter, device="cpu").done == 1
    assert label_scans(drive, out, segmenter, device="cpu").kept == 1


def test_a_scan_that_became_damaged_leaves_no_labels_of_what_it_was(segmenter: Path, tmp_path: Path) -> None:
    drive, out = tmp_path / "drive", tmp_path / "out"
    drive.mkdir()
    for name in "ab":
        (drive / f"{name}.bin").write_bytes(np.column_stack(drawn_scan(0)[:2]).astype("<f4").tobytes())
    assert label_scans(drive, out, segmenter, device="cpu").done == 2
    (drive / "a.bin").write_bytes(b"damaged")
    again = label_scans(drive, out, segmenter, device="cpu")
    assert (again.kept, len(again.failures)) == (1, 1)
    assert [path.stem for kind in ("labels", "pictures") for path in (out / kind).iterdir()] == ["b", "b"]


@pytest.mark.parametrize("option", ["--limit", "--block", "--resolution", "--pictures"])
def test_options_of_images_are_refused_for_scans(
    option: str, scans: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "probe", backbone, scans, "--out", tmp_path / "probe", option, 3) == 2
    assert f"{option}: means nothing to a lidar backbone, which is probed on scans; leave it out" in capsys.readouterr().err


def test_a_request_that_is_refused_leaves_nothing_in_the_way_of_the_next(
    scans: Path, segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, options = tmp_path / "out", ("-m", segmenter, "--pictures", 0, "--device", "cpu")
    for data, classes, said in ((scans, 900, "classes 900: the tree has"), (tmp_path / "gone", 3, "gone: no such folder or scan")):
        assert run(monkeypatch, "lidar", "label", data, out, *options, "-k", classes) == 2
        error = capsys.readouterr().err.strip()
        assert said in error
        assert len(error.splitlines()) == 1
        assert not out.exists()
    assert run(monkeypatch, "lidar", "label", scans / "drive" / "000000.bin", out, *options, "-k", 2) == 0


def test_names_of_labels_are_found_without_comparing_every_scan_with_every_other(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [Path(f"in/{number:04}.bin") for number in range(500)] + [Path("in/0000.pcd"), Path("in/deep/0000.bin")]
    compared, equal = [], PurePath.__eq__
    monkeypatch.setattr(PurePath, "__eq__", lambda one, other: (compared.append(1), equal(one, other))[1])
    names = label_names(paths, Path("in"))
    assert len(compared) < 10 * len(paths)
    assert [str(names[place]) for place in (0, 1, 499, 500, 501)] == ["0000_bin", "0001", "0499", "0000_pcd", "deep/0000"]


def test_no_two_scans_share_a_name_of_labels() -> None:
    files = ["a.bin", "a.pcd", "a_bin.bin", "a_bin_bin.npz", "B.bin", "b.pcd.bin", "c.1.bin", "c.2.bin", "d/a.bin"]
    names = [str(name) for name in label_names([Path("in", file) for file in files], Path("in"))]
    assert len({name.casefold() for name in names}) == len(files)
    assert names == ["a.bin", "a_pcd", "a_bin.bin", "a_bin_bin_npz", "B_bin", "b_pcd_bin", "c_1_bin", "c_2_bin", "d/a"]


def test_scans_whose_names_are_almost_alike_each_get_their_labels(segmenter: Path, tmp_path: Path) -> None:
    write_drawn_scan(tmp_path / "in" / "a.bin", 0)
    write_drawn_scan(tmp_path / "in" / "a_bin.bin", 1)
    np.savez(tmp_path / "in" / "a.npz", xyz_5mm=np.full((40, 3), 900, np.int16), intensity=np.zeros(40, np.uint8))
    assert label_scans(tmp_path / "in", tmp_path / "out", segmenter, pictures=3, device="cpu").done == 3
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out" / "labels").iterdir()}
    first, other = ((tmp_path / "in" / name).stat().st_size // 4 for name in ("a.bin", "a_bin.bin"))
    assert sizes == {"a.bin.label": first, "a_npz.label": 160, "a_bin_bin.label": other}
    assert {path.stem for path in (tmp_path / "out" / "pictures").iterdir()} == {"a.bin", "a_npz", "a_bin_bin"}


def test_a_bad_scan_whose_name_is_no_text_is_listed_too(segmenter: Path, tmp_path: Path) -> None:
    write_drawn_scan(tmp_path / "in" / "a.bin", 0)
    (tmp_path / "in" / "b\udcff.bin").write_bytes(b"")
    assert len(label_scans(tmp_path / "in", tmp_path / "out", segmenter, pictures=0, device="cpu").failures) == 1
    assert b"b\xff.bin" in (tmp_path / "out" / "failures.csv").read_bytes()


def test_one_bad_scan_is_listed_and_the_rest_labelled(
    segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed"
    write_drawn_scan(folder / "a.bin", 0)
    (folder / "b.bin").write_bytes(b"")
    rows = np.column_stack(drawn_scan(1)[:2]).astype("<f4")
    rows[3, 1] = np.nan
    rows.tofile(folder / "c.bin")
    assert run(monkeypatch, "lidar", "label", folder, tmp_path / "out", "-m", segmenter, "--pictures", 0, "--device", "cpu") == 1
    assert "b.bin: an empty scan; expected points (and 1 more)" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out" / "labels").iterdir()] == ["a.label"]
    with (tmp_path / "out" / "failures.csv").open() as file:
        reasons = {Path(row["scan"]).name: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == {"b.bin", "c.bin"}
    assert "1 of" in reasons["c.bin"]
    (folder / "b.bin").unlink()
    (folder / "c.bin").unlink()
    assert run(monkeypatch, "lidar", "label", folder, tmp_path / "out", "-m", segmenter, "--pictures", 0, "--device", "cpu") == 0
    assert not (tmp_path / "out" / "failures.csv").exists()


def test_points_without_a_return_get_zero(segmenter: Path, tmp_path: Path) -> None:
    points, intensity, _ = drawn_scan(0)
    table = np.column_stack([points, intensity]).astype("<f4")
    table[::7, :3] = np.nan
    text = f"FIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH {len(table)}\nHEIGHT 1\nPOINTS {len(table)}\nDATA binary\n"
    (tmp_path / "a.pcd").write_bytes(text.encode() + table.tobytes())
    label_scans(tmp_path / "a.pcd", tmp_path / "out", segmenter, device="cpu")
    numbers = np.fromfile(tmp_path / "out" / "labels" / "a.label", "<u4")
    assert np.array_equal(numbers == 0, np.isnan(table[:, 0]))


def test_the_tree_can_be_cut_elsewhere(segmenter: Path) -> None:
    model = read_lidar_segmenter(segmenter)
    points, intensity, _ = drawn_scan(0)
    scan = Scan(points, intensity, np.arange(len(points)), len(points))
    assert set(model(scan, 2).tolist()) <= {0, 1}
    with pytest.raises(StegoError, match="classes 900: the tree has"):
        model(scan, 900)


def test_the_command_trains(scans: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(import_module("stego_app.discovery.discover"), "DiscoverySettings", lambda: QUICK)  # the package names a function so too
    out = tmp_path / "s.safetensors"
    assert run(monkeypatch, "lidar", "train", scans, "-b", backbone, "-o", out, "-k", 2, "--device", "cpu", "--cache", tmp_path / "cache") == 0
    assert "2 classes" in capsys.readouterr().out
    assert read_lidar_segmenter(out).clusters.classes == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lidar", "train", "nowhere", "-b", "{backbone}", "-o", "s.safetensors"), "nowhere: no such folder or scan"),
        (("lidar", "train", "{scans}", "-b", "nowhere.safetensors", "-o", "s.safetensors"), "nowhere.safetensors: no such model file"),
        (("lidar", "train", "{scans}", "-b", "{backbone}", "-o", "s.bin"), "--out s.bin: expected a name that ends in .safetensors"),
        (("lidar", "label", "{scans}", "out", "-m", "{backbone}"), "this is a lidar backbone file; expected a lidar segmenter file"),
        (("probe", "{backbone}", "nowhere"), "nowhere: no such folder or scan"),
    ],
)
def test_bad_input_by_name(
    arguments: tuple[str, ...], message: str, scans: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *(argument.format(scans=scans, backbone=backbone) for argument in arguments)) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("count", [1, 4])
def test_the_probe_reads_classes_off_points(
    count: int, scans: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = scans if count == 4 else scans / "drive" / "000000.bin"
    assert run(monkeypatch, "probe", f"random:{backbone}", data, "--out", tmp_path / "probe", "--device", "cpu") == 0
    report = json.loads((tmp_path / "probe" / "probe.json").read_text())
    assert len(report["folds"]) == 4
    assert report["linear"]["accuracy"] > 60  # the ground alone has 56 %; a random network lets some of the intensity through
    assert {entry["name"] for entry in report["linear"]["per_class"] if entry["iou"] is not None} == {"road", "building", "car"}
    assert ("sectors of azimuth" if count == 1 else "4 scans in 4 folds") in capsys.readouterr().out


def test_a_probe_without_labels_says_what_it_expects(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_drawn_scan(tmp_path / "a.bin", 0)
    assert run(monkeypatch, "probe", backbone, tmp_path / "a.bin") == 2
    assert "no scan has labels; expected SemanticKITTI's .label files" in capsys.readouterr().err


def test_range_cells_hold_the_nearest_point() -> None:
    points = np.array([[10, 0, 0], [5, 0, 0], [0, 3, 1], [0, 0, 0], [-4, -0.1, -2]], np.float32)
    cells = range_cells(points)
    assert cells.shape == (ROWS, COLUMNS)
    assert sorted(cells[cells >= 0].tolist()) == [1, 2, 4]
    row_of = {int(cells[row, column]): (row, column) for row, column in zip(*np.nonzero(cells >= 0), strict=True)}
    assert row_of[2][0] == 0  # the highest elevation
    assert row_of[4][0] == ROWS - 1
    assert row_of[1][1] == COLUMNS // 2  # straight ahead


def test_tokens_of_cells_that_nothing_was_seen_in_are_never_sampled() -> None:
    source = ScanTokens()
    cells = np.full((ROWS, COLUMNS), -1)
    cells[3, 5], cells[20, 400] = 0, 1
    source.add(Path("a.bin"), *on_cells(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), cells))
    assert len(np.unique(source.tokens(0), axis=0)) == 2
    assert source.tokens(0).reshape(ROWS, COLUMNS, 2)[4, 6].tolist() == [1, 2]
    tokens, entries = source.sample(100, 0)
    assert (sorted(tokens.tolist()), entries.tolist()) == ([[1, 2], [3, 4]], [0, 0])


def test_features_are_kept_and_a_run_that_was_cut_off_goes_on(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_lidar_backbone(LidarSpec(0.5, (6, 8), 12), 0)
    paths = sorted(scans.rglob("*.bin"))
    asked: list[int] = []

    def counted(_backbone: LidarBackbone, scan: Scan, _device: str) -> torch.Tensor:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(scan))
        return torch.from_numpy(scan.points[:, :1] * np.arange(1, 13, dtype=np.float32))

    monkeypatch.setattr(range_image, "point_features", counted)
    with pytest.raises(KeyboardInterrupt):
        ScanTokens.build(paths, network, cache=tmp_path)
    asked.clear()
    whole = ScanTokens.build(paths, network, cache=tmp_path)
    assert len(asked) == len(paths) - 2
    entries = sorted(tmp_path.rglob("*.safetensors"))
    entries[0].write_bytes(entries[0].read_bytes()[:100])  # a damaged entry is made again
    asked.clear()
    again = ScanTokens.build(paths, network, cache=tmp_path)
    assert len(asked) == 1
    asked.clear()
    fresh = ScanTokens.build(paths[:2], network, cache=tmp_path / "other")
    for one, other in ((whole, again), (fresh, again)):
        np.testing.assert_array_equal(one.tokens(1), other.tokens(1))
    asked.clear()
    ScanTokens.build(paths[:2], random_lidar_backbone(LidarSpec(0.5, (6, 8), 12), 1), cache=tmp_path)  # another backbone's are others
    assert len(asked) == 2


def test_entries_tell_scans_of_the_same_bytes_apart_by_how_they_are_read(tmp_path: Path) -> None:
    store = ScanStore(tmp_path, random_lidar_backbone(LidarSpec(0.5, (6, 8), 12), 0), (ROWS, COLUMNS))
    for name in ("a.bin", "a.pcd.bin", "b.BIN"):
        (tmp_path / name).write_bytes(bytes(80))  # five points of KITTI's, four of nuScenes'
    assert store.path(tmp_path / "a.bin") != store.path(tmp_path / "a.pcd.bin")
    assert store.path(tmp_path / "a.bin") == store.path(tmp_path / "b.BIN")


def test_pairs_are_the_same_points_in_another_view(scans: Path) -> None:
    network = random_lidar_backbone(LidarSpec(0.5, (6, 8), 12), 0)
    paths = sorted(scans.rglob("*.bin"))
    pairs = scan_pairs(paths, network, 0)
    assert pairs.first.shape == pairs.second.shape
    assert torch.allclose(pairs.first.norm(dim=1), torch.ones(len(pairs.first)), atol=1e-5)
    same, other = (pairs.first * pairs.second).sum(1).mean(), (pairs.first * pairs.second.roll(1, 0)).sum(1).mean()
    assert same > other + 0.01
    assert torch.equal(scan_pairs(paths, network, 0).second, pairs.second)


def test_a_picture_from_above_shows_ahead_upwards_and_left_to_the_left() -> None:
    points = np.array([[30, 0, 0], [0, 30, 0]], np.float32)
    scan = Scan(points, np.ones(2, np.float32), np.arange(2), 2)
    picture = birdseye(scan, np.array([[255, 0, 0], [0, 255, 0]], np.uint8), reach=40, side=400)
    red, green = (np.argwhere((picture[..., channel] > 200) & (picture[..., 1 - channel] < 50)).mean(axis=0) for channel in (0, 1))
    assert red == pytest.approx([50, 200], abs=2)
    assert green == pytest.approx([200, 50], abs=2)
