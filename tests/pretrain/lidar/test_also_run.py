"""ALSO end to end on drawn scans: learning, resume, broken scans, and bad input by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from models.artifact import read_artifact, read_header, tensors_digest
from models.errors import StegoError
from models.lidar.backbone import read_lidar_backbone
from pretrain.batches import Share
from pretrain.lidar.material import LidarMaterial
from pretrain.records import read_metrics
from pretrain.run import prepare, pretrain
from pretrain.settings import PretrainConfig, make_pretrain_config
from pretrain.state import part_path
from pretrain.trainer import Pretraining
from stego_app.cli import main
from tests.drawn_scan import write_drawn_scan

SMALL: dict[str, Any] = {"voxel": 0.5, "widths": [6, 8], "latent": 8, "hidden": 8, "rays": 64, "offset": 0.5}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for seed in range(6):
        write_drawn_scan(folder / f"{seed:06}.bin", seed)
    return folder


def config(folder: Path, out: Path, **changes: Any) -> PretrainConfig:
    fields: dict[str, Any] = {
        "method": "also", "data": (folder,), "out": out, "steps": 6, "batch": 2, "checkpoint_every": 2, "health_every": 3, "log_every": 1,
        "accelerator": "cpu", "workers": 0, "file_precision": "fp32", "precision": "32-true", "options": SMALL,
    }  # fmt: skip
    return make_pretrain_config(**{**fields, **changes})


def test_a_run_lowers_its_loss_and_leaves_a_lidar_backbone(scans: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    out = pretrain(config(scans, tmp_path / "lidar.safetensors", steps=30, health_every=30, learning_rate=2e-2), say=lines.append)
    rows = read_metrics(out.with_name("lidar.safetensors.logs") / "metrics.csv")
    values = {name: [value for _, key, value in rows if key == name] for name in ("loss", "intensity_error", "scans_per_second")}
    assert sum(values["loss"][-5:]) < 0.95 * sum(values["loss"][:5])
    assert sum(values["intensity_error"][-5:]) < 0.8 * sum(values["intensity_error"][:5])
    assert values["scans_per_second"]
    assert any(re.search(r"rank .*\d\.\d\d scans/s  0 s left$", line) for line in lines)
    backbone = read_lidar_backbone(out)
    assert (backbone.spec.method, backbone.spec.source, backbone.spec.widths) == ("also", f"also on {scans.name}", (6, 8))
    card = read_header(out)["card"]
    assert (card["scans"], card["steps"], card["settings"]["batch"]) == (6, 30, 2)


class _Cut(BaseException):
    """Stands for kill -9."""


def test_a_run_that_was_cut_off_gives_the_same_weights(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more: dict[str, Any] = {"accumulate": 2}
    whole = pretrain(config(scans, tmp_path / "whole.safetensors", **more), say=lambda _: None)
    out = tmp_path / "cut.safetensors"
    step, calls = Pretraining.training_step, []

    def cut(self: Pretraining, batch: Any, index: int) -> torch.Tensor:
        calls.append(index)
        if len(calls) == 10:
            raise _Cut
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "training_step", cut)
        with pytest.raises(_Cut):
            pretrain(config(scans, out, **more), say=lambda _: None)
    assert part_path(out).exists()
    lines: list[str] = []
    pretrain(config(scans, out, **more), say=lines.append)
    assert any("continuing from step 4" in line for line in lines)
    digests = [tensors_digest(read_artifact(path, "lidar backbone")[0]) for path in (whole, out)]
    assert digests[0] == digests[1]


def test_one_bad_scan_never_stops_a_run(scans: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number, path in enumerate(sorted(scans.iterdir())[:3]):
        (folder / path.name).write_bytes(path.read_bytes()[: -5 if number == 1 else None])
    out = pretrain(config(folder, tmp_path / "b.safetensors", steps=3, batch=1), say=lambda _: None)
    assert read_header(out)["card"]["skipped"] == [str(folder / "000001.bin")]
    for path in folder.iterdir():
        path.write_bytes(b"123")
    with pytest.raises(StegoError, match=r"no scan can be used, the last of them: .*000002\.bin: 3 bytes are not rows of 4 float32"):
        pretrain(config(folder, tmp_path / "c.safetensors", batch=1), say=lambda _: None)


def test_batches_depend_on_seed_and_step_alone(scans: Path, tmp_path: Path) -> None:
    prepared = prepare(config(scans, tmp_path / "b.safetensors", batch=4))
    assert isinstance(prepared.material, LidarMaterial)
    batches = prepared.module.make_batches(0, Share())
    assert batches[2].size == 4
    assert all(torch.equal(one, other) for one, other in zip(batches[2], prepared.module.make_batches(2, Share())[0], strict=True))
    halves = [prepared.module.make_batches(2, Share(rank, 2))[0] for rank in (0, 1)]
    assert torch.equal(torch.cat([half.points for half in halves]), batches[2].points)
    assert [half.size for half in halves] == [2, 2]


def test_going_on_from_a_backbone(scans: Path, tmp_path: Path) -> None:
    first = pretrain(config(scans, tmp_path / "a.safetensors", steps=1), say=lambda _: None)
    options = {"rays": 32, "hidden": 8}
    second = pretrain(config(scans, tmp_path / "b.safetensors", steps=1, init=str(first), options=options), say=lambda _: None)
    assert read_lidar_backbone(second).spec.source == f"also on {scans.name}, from {first.name}"
    with pytest.raises(StegoError, match="--set voxel: for a random start"):
        prepare(config(scans, tmp_path / "c.safetensors", init=str(first), options={"voxel": 0.3}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": (Path("nowhere"),)}, "nowhere: no such folder or scan"),
        ({"options": {"radios": 1}}, "unknown option of 'also' 'radios'; did you mean 'radius'"),
        ({"options": {"voxel": 0}}, "option of 'also' 'voxel': Input should be greater than or equal to 0.04"),
        ({"options": {"radius": 0.0001}}, "option of 'also' 'radius': Input should be greater than or equal to 0.04"),
        ({"options": {"widths": [0, 8]}}, "option of 'also' 'widths"),
        ({"batch": 300}, "--batch 300: expected at most 256 scans at once"),
        ({"image_size": 32}, "--image-size: means nothing to 'also', which learns from scans"),
        ({"ema": 0.9}, "--ema: means nothing to 'also'"),
        ({"pair": Path("depth")}, "--pair depth: 'also' learns from one modality"),
        ({"batch": 7}, "6 scans are fewer than a micro-batch of 7"),
        ({"init": "nowhere.safetensors", "options": {"rays": 8}}, "nowhere.safetensors: no such model file"),
    ],
)
def test_bad_input_by_name(changes: dict[str, Any], message: str, scans: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError) as caught:
        prepare(config(scans, tmp_path / "b.safetensors", **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_within_reach_is_said(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match=r"no point within 0\.1 m of the sensor"):
        prepare(config(scans, tmp_path / "b.safetensors", options={**SMALL, "reach": 0.1})).material.watched()


def test_the_command_line_takes_the_methods_own_batch(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[PretrainConfig] = []
    monkeypatch.setattr("pretrain.run.pretrain", lambda config, **_: seen.append(config))
    monkeypatch.setattr("sys.argv", ["stego", "pretrain", "also", str(scans), "--out", str(tmp_path / "b.safetensors"), "--set", "widths=[4, 8]"])
    with pytest.raises(SystemExit):
        main()
    assert (seen[0].batch, seen[0].options) == (4, {"widths": [4, 8]})
