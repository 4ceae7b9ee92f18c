"""The runner from the data to the table, on tiny trees of the published layouts, and all that can be wrong on the way."""

from __future__ import annotations

import errno
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from published_trees import cityscapes_tree, coco_archives, coco_tree, potsdam_tree
from test_published_protocol import InProcess

from benchmarks.published import benchmark as module
from benchmarks.published import linear, run
from benchmarks.published.benchmark import cache_bytes
from benchmarks.published.recipes import FOLDER
from models.backbone import Backbone, save_backbone
from models.backbone_sources import load_backbone
from models.errors import StegoError
from models.head import SegmentationHead
from stego_app import Segmenter
from stego_app.data import open_dataset
from stego_app.discovery import DiscoverySettings, discover
from stego_app.discovery.distil_head import distil_head
from stego_app.evaluation import evaluate, linear_probe
from stego_app.evaluation.linear_probe import ProbePoints
from stego_app.features import FeatureCache
from stego_app.settings import load_settings
from stego_app.training_run import TrainConfig

SIDE = 96
COUNTS = {"118287": "6", "5000": "4", "49629": "5", "2175": "3", "2975": "6", "500": "4", "8550": "12", "5400": "10", "4545": "6", "855": "4"}
STAGES = [
    f"{stage}-{objective}{more}" for objective in ("auto", "stego") for stage, more in (("train", ""), ("eval", ""), ("eval", "-flip-crf"), ("linear", ""))
]


@pytest.fixture
def backbone_file(tiny_backbone: Backbone, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_backbone(path, tiny_backbone, precision="fp32")
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CRF in this process, since starting others takes longer than the work here, and probes on few pixels, not to their optimum; a head of few steps."""

    def short_head(
        tokens: torch.Tensor, codes: torch.Tensor, vectors: torch.Tensor, settings: DiscoverySettings, *more: Any
    ) -> tuple[SegmentationHead, list[float]]:
        return distil_head(tokens, codes, vectors, settings.model_copy(update={"steps": 20, "batch": 128}), *more)

    monkeypatch.setattr(sys.modules[discover.__module__], "distil_head", short_head)
    monkeypatch.setattr(linear, "ProbePoints", partial(ProbePoints, points=1000))
    monkeypatch.setattr(linear_probe, "fit_linear_probe", partial(linear_probe.fit_linear_probe, iterations=5))
    for place in (evaluate, linear):
        monkeypatch.setattr(place, "CrfPool", InProcess)


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def archives(tmp_path: Path) -> Iterator[str]:
    """The address at which COCO's archives are served."""
    folder = coco_archives(coco_tree(tmp_path / "published"), tmp_path / "archives")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def tiny_recipe(name: str, folder: Path, url: str = "http://127.0.0.1:9") -> Path:
    """The recipe's own file with the tiny trees' numbers of files, small images and few steps."""
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    text = re.sub(r"(count|lines) = (\d+)", lambda found: f"{found[1]} = {COUNTS[found[2]]}", text)
    text = re.sub(r"(?m)^(size|md5) = .*\n", "", text)
    text = re.sub(r'url = ".*/', f'url = "{url}/', text)
    for field, value in (("side", SIDE), ("resolution", SIDE), ("steps", 10), ("batch", 4), ("probe_images", 4)):
        text = re.sub(rf"(?m)^{field} = \d+", f"{field} = {value}", text)
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def arguments(recipe: Path | str, data: Path, out: Path, backbone: Path, *more: object) -> list[str]:
    return [str(each) for each in (recipe, "--data", data, "--backbone", backbone, "--out", out, "--device", "cpu", *more)]


def test_cocostuff_from_the_download_to_the_table(
    archives: str, backbone_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    asked = arguments(tiny_recipe("cocostuff27", tmp_path, archives), data, out, backbone_file)
    run.main(asked)
    said = capsys.readouterr()
    assert f"{archives}/train2017.zip" in said.err
    assert "data: 5 images to train on, 3 to score" in said.err
    assert said.out == (out / "results.md").read_text(encoding="utf-8") + "\n"
    for row in ("| CAUSE-TR | DINOv2 ViT-B/14 | 78.0 | 45.3 |", "| **default, label-free**, flip + CRF |", "published shifts (cocostuff)**"):
        assert row in said.out
    scores = json.loads((out / "eval-auto-flip-crf/scores.json").read_text())
    assert scores["settings"] | {"flip": True, "crf": "both", "resolution": SIDE, "classes": 27, "limit": None} == scores["settings"]
    assert sum(map(sum, scores["scores"]["hungarian"]["confusion"])) > 0.9 * 3 * SIDE**2
    assert Segmenter.load(out / "train-stego/segmenter.safetensors").info()["provenance"]["config"]["stego"]["shifts"] == "cocostuff"

    monkeypatch.setattr("urllib.request.urlopen", None)
    run.main(asked)
    again = capsys.readouterr()
    assert [line for line in again.err.splitlines() if "done before" in line] == [f"{stage}: done before" for stage in STAGES]
    assert again.out == said.out

    (out / "eval-stego/record.json").unlink()
    run.main(asked)
    third = capsys.readouterr()
    assert [line.split(":")[0] for line in third.err.splitlines() if line.endswith(": …")] == ["eval-stego"]
    assert third.out == said.out


@pytest.mark.parametrize(("name", "tree", "classes"), [("cityscapes27", cityscapes_tree, 27), ("potsdam3", potsdam_tree, 3)])
def test_data_that_need_an_account(
    name: str, tree: Callable[[Path], Path], classes: int, backbone_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tree(tmp_path / "data")
    run.main(arguments(tiny_recipe(name, tmp_path), root, tmp_path / "out", backbone_file))
    said = capsys.readouterr()
    assert "data: 6 images to train on, 4 to score" in said.err
    assert f"**STEGO's objective here, published shifts ({'cityscapes' if classes == 27 else 'potsdam'})**" in said.out
    report = json.loads((tmp_path / "out/eval-auto/scores.json").read_text())
    assert len(report["clusters"]) == classes
    assert report["settings"]["flip"] is False
    assert set(report["scores"]) == {"hungarian", "majority"}


def test_smoke_uses_few_images_of_an_incomplete_copy(
    backbone_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SMOKE_IMAGES", 5)
    root = cityscapes_tree(tmp_path / "data", train=7, val=6)
    recipe = tiny_recipe("cityscapes27", tmp_path)
    run.main(arguments(recipe, root, tmp_path / "out", backbone_file, "--smoke"))
    said = capsys.readouterr()
    assert "data: 5 images to train on, 5 to score" in said.err
    assert "smoke: every stage works; these numbers mean nothing" in said.err
    assert (tmp_path / "out/smoke/results.md").is_file()
    with pytest.raises(StegoError, match="7 files"):
        run.main(arguments(recipe, root, tmp_path / "out", backbone_file))


def test_smoke_without_data_downloads_nothing(backbone_file: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match=r"no such folder; --smoke downloads nothing"):
        run.main(arguments("cocostuff27", tmp_path / "absent", tmp_path / "out", backbone_file, "--smoke"))


def test_a_wrong_backbone_is_known_before_the_download(tmp_path: Path) -> None:
    with pytest.raises(StegoError, match="backbone 'no_such_vit'"):
        run.main(["cocostuff27", "--data", str(tmp_path / "data"), "--backbone", "no_such_vit"])
    assert not (tmp_path / "data").exists()


def test_a_changed_label_file_is_named(backbone_file: Path, tmp_path: Path) -> None:
    root = coco_tree(tmp_path / "data")
    path = root / "annotations/val2017/000000000137.png"
    path.write_bytes(b"no picture")
    with pytest.raises(StegoError, match=re.escape(str(path))):
        run.main(arguments(tiny_recipe("cocostuff27", tmp_path), root, tmp_path / "out", backbone_file))


def test_a_disk_that_is_too_small_is_known_before_the_features(backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = cityscapes_tree(tmp_path / "data")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _path: SimpleNamespace(free=20_000))
    with pytest.raises(StegoError) as error:
        run.main(arguments(tiny_recipe("cityscapes27", tmp_path), root, tmp_path / "out", backbone_file))
    said = r"the disk has 0 GB free; the features of 6 images need 0 GB more; name another disk with --cache, or train on fewer with --images \d"
    assert re.fullmatch(r"\S+/cache/auto: " + said, str(error.value))


@pytest.mark.parametrize("crops", ["none", "five"])
def test_the_estimate_of_the_cache_is_its_size(crops: str, backbone_file: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(backbone_file))
    dataset = open_dataset(cityscapes_tree(tmp_path / "data"), split="train")
    settings = load_settings(TrainConfig, file=None, overrides=[], fields={"data": str(tmp_path), "crops": crops, "resolution": 64})
    paths = [sample.image for sample in dataset.samples]
    cache = FeatureCache.build(paths, backbone, resolution=64, crops=settings.crops, device="cpu", folder=tmp_path / "cache")
    assert cache_bytes(settings, dataset, backbone) == sum(cache.tokens(index).nbytes for index in range(len(cache)))


def test_on_the_command_line_a_problem_is_one_line(
    backbone_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments("potsdam3", tmp_path / "absent", tmp_path / "out", backbone_file)])
    assert run.command() == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"run.py: {tmp_path / 'absent/imgs'}: 0 files *.mat; expected 8550 (and 3 more); see the steps above"
    assert any("2_Ortho_RGB.zip" in line for line in lines)


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "run.py: interrupted; run the same command again to go on from here"),
        (OSError(errno.ENOSPC, "full", "x.part"), 2, "run.py: x.part: no space left on the disk; free some and run the same command again to go on from here"),
    ],
)
def test_an_interruption_and_a_full_disk(
    raised: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise raised

    monkeypatch.setattr(run, "main", broken)
    assert run.command() == code
    assert capsys.readouterr().err.splitlines() == [said]
