"""Distillation end to end on a few generated images and a tiny random teacher."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.artifact import read_artifact, read_header, tensors_digest
from models.backbone import Backbone, BackboneSpec, build_vit, read_backbone, save_backbone
from models.errors import StegoError
from pretrain import distill as stage
from pretrain.config import DistillConfig, make_config
from pretrain.distill import distill
from pretrain.module import Distillation, learning_rate, teacher_features

Lines = list[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for index in range(8):
        rng = np.random.default_rng(index)
        small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        small.resize((80, 64), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    spec = BackboneSpec("vit_tiny_patch16_224", depth=2, block=1, patch_size=8, dim=192, grid=4, source="a random network")
    torch.manual_seed(0)
    network = build_vit(spec)
    with torch.no_grad():  # random blocks hardly change their input: make the second one worth learning
        for name, parameter in network.named_parameters():
            if name.startswith("blocks.1.") and parameter.ndim == 2:
                parameter.mul_(8)
    save_backbone(path, Backbone(network, spec), precision="fp32")
    return path


def config(folder: Path, teacher: Path, out: Path, **changes: Any) -> DistillConfig:
    fields: dict[str, Any] = {
        "data": (folder,), "teacher": str(teacher), "out": out, "depth": 1, "steps": 12, "tokens": 32, "grids": ((4, 4), (4, 5)), "learning_rate": 1e-3,
        "warmup": 2, "checkpoint_every": 5, "holdout_every": 8, "precision": "fp32", "device": "cpu",
    }  # fmt: skip
    return make_config(**{**fields, **changes})


def digest(path: Path) -> str:
    return tensors_digest(read_artifact(path, "backbone")[0])


def test_the_student_comes_closer_to_the_teacher(folder: Path, teacher: Path, tmp_path: Path) -> None:
    lines: Lines = []
    seen: list[tuple[str, int, int]] = []
    out = distill(config(folder, teacher, tmp_path / "deep" / "s.safetensors", steps=60), lambda *state: seen.append(state), lines.append)
    records = [json.loads(line) for line in (tmp_path / "deep" / "s.safetensors.log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [20, 40, 60]
    assert records[-1]["loss"] < 0.8 * records[0]["loss"]
    assert records[-1]["cosine"] > records[0]["cosine"]
    assert seen[-1] == ("distilling", 60, 60)
    assert any("s left" in line for line in lines)
    student = read_backbone(out)
    assert (student.spec.depth, student.spec.method, student.patch_size) == (1, "distill", 8)
    card = read_header(out)["card"]
    assert (card["images"], card["teacher"], card["teacher_block"], card["skipped"]) == (7, "a random network", 1, [])
    assert card["settings"]["steps"] == 60
    assert -1 <= card["held_out_cosine"] <= 1
    assert sorted(path.name for path in out.parent.iterdir()) == ["s.safetensors", "s.safetensors.log.jsonl"]


def test_every_weight_is_trained(folder: Path, teacher: Path, tmp_path: Path) -> None:
    out = distill(config(folder, teacher, tmp_path / "s.safetensors"), say=lambda _line: None)
    student, start = read_backbone(out).network.state_dict(), read_backbone(teacher).network.state_dict()
    assert [name for name, tensor in student.items() if torch.equal(tensor, start[name])] == []


def test_the_same_seed_gives_the_same_file_and_another_does_not(folder: Path, teacher: Path, tmp_path: Path) -> None:
    digests = [digest(distill(config(folder, teacher, tmp_path / f"{run}", steps=4, seed=seed), say=lambda _line: None)) for run, seed in enumerate((0, 0, 1))]
    assert digests[0] == digests[1] != digests[2]


class Killed(BaseException):
    """Stands in for kill -9: nothing of the program's own gets to run its course."""


def test_an_interrupted_run_ends_as_an_unbroken_one(folder: Path, teacher: Path, tmp_path: Path) -> None:
    whole = distill(config(folder, teacher, tmp_path / "whole"), say=lambda _line: None)

    def die(_stage: str, done: int, _total: int) -> None:
        if done == 8:
            raise Killed

    lines: Lines = []
    broken = config(folder, teacher, tmp_path / "broken")
    with pytest.raises(Killed):
        distill(broken, die, lines.append)
    assert not broken.out.exists()
    assert (tmp_path / "broken.part").exists()
    distill(broken, say=lines.append)
    assert any("continuing from step 5" in line for line in lines)
    assert digest(broken.out) == digest(whole)
    assert not (tmp_path / "broken.part").exists()


def test_the_log_holds_each_step_once_after_an_interruption(folder: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "LOG_EVERY", 2)

    def die(_stage: str, done: int, _total: int) -> None:
        if done == 9:
            raise Killed

    def run(progress: Any = lambda *_: None) -> list[int]:
        distill(config(folder, teacher, tmp_path / "s"), progress, lambda _line: None)
        return [json.loads(line)["step"] for line in log.read_text().splitlines()]

    log = tmp_path / "s.log.jsonl"
    with pytest.raises(Killed):
        run(die)
    assert log.read_text().count("\n") == 4
    log.write_text(log.read_text() + '{"step": 8, "los')  # a line cut short
    assert run() == [2, 4, 6, 8, 10, 12]
    assert run() == [2, 4, 6, 8, 10, 12]  # another run, not a continuation


def test_a_student_from_random_weights_begins_as_no_blocks_of_the_teacher(folder: Path, teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match="--start: says which of the teacher's blocks"):
        distill(config(folder, teacher, tmp_path / "s", student="vit_small_patch16_224", start="first"), say=lambda _line: None)


def test_names_of_images_and_folders_need_not_be_text(folder: Path, teacher: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd \xff")
    odd.mkdir()
    for path in folder.iterdir():
        (odd / os.fsdecode(b"\xfe, " + os.fsencode(path.name))).write_bytes(path.read_bytes())
    (odd / os.fsdecode(b"\xfd.png")).write_bytes(b"no image")
    out = distill(config(odd, teacher, tmp_path / "s", steps=8), say=lambda _line: None)
    assert read_header(out)["card"]["images"] == 7


def test_ctrl_c_reaches_the_caller_and_keeps_the_checkpoint(folder: Path, teacher: Path, tmp_path: Path) -> None:
    def press(_stage: str, done: int, _total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        distill(config(folder, teacher, tmp_path / "s"), press, lambda _line: None)
    assert signal.getsignal(signal.SIGINT) is handler
    lines: Lines = []
    distill(config(folder, teacher, tmp_path / "s"), say=lines.append)
    assert any("continuing from step 5" in line for line in lines)


def test_a_checkpoint_of_other_settings_is_not_continued(folder: Path, teacher: Path, tmp_path: Path) -> None:
    def die(_stage: str, done: int, _total: int) -> None:
        if done == 6:
            raise Killed

    with pytest.raises(Killed):
        distill(config(folder, teacher, tmp_path / "s"), die, lambda _line: None)
    with pytest.raises(StegoError, match=r"s\.part: a checkpoint of a run with other settings"):
        distill(config(folder, teacher, tmp_path / "s", seed=3), say=lambda _line: None)
    part = tmp_path / "s.part"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(StegoError, match=r"s\.part") as error:
        distill(config(folder, teacher, tmp_path / "s"), say=lambda _line: None)
    assert "\n" not in str(error.value)


def test_an_unreadable_image_is_skipped_and_listed(folder: Path, teacher: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for path in folder.iterdir():
        (mixed / path.name).write_bytes(path.read_bytes())
    (mixed / "2.png").write_bytes((mixed / "2.png").read_bytes()[:60])
    lines: Lines = []
    out = distill(config(mixed, teacher, tmp_path / "s", steps=8), say=lines.append)
    assert [line for line in lines if line.startswith("skipped:") and "2.png" in line]
    card = read_header(out)["card"]
    assert card["images"] == 6
    assert [Path(name).name for name in card["skipped"]] == ["2.png"]


def test_a_teacher_of_another_width_and_patch(folder: Path, teacher: Path, tmp_path: Path) -> None:
    out = distill(config(folder, teacher, tmp_path / "s", student="vit_small_patch16_224", steps=3), say=lambda _line: None)
    student = read_backbone(out)
    assert (student.dim, student.patch_size, student.spec.depth) == (384, 16, 1)


def test_a_diverging_run_stops_with_one_line(folder: Path, teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match="the loss is no longer a finite number") as error:
        distill(config(folder, teacher, tmp_path / "s", learning_rate=1e30, warmup=0), say=lambda _line: None)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "s").exists()


def test_collapse_is_told_from_learning(folder: Path, teacher: Path, tmp_path: Path) -> None:
    settings = config(folder, teacher, tmp_path / "s")
    statistics = stage.FeatureStatistics(torch.zeros(192), torch.ones(192))
    module = Distillation(read_backbone(teacher), read_backbone(teacher), statistics, statistics, settings)
    module.latest = {"loss": 1.0, "cosine": 0.0, "spread": 0.6}
    for step in range(200):
        module._check(step)
    module.latest["spread"] = 0.01
    for step in range(100, 149):
        module._check(step)
    with pytest.raises(StegoError, match="collapse"):
        module._check(149)


def test_learning_rate_warms_up_and_ends_at_zero(folder: Path, teacher: Path, tmp_path: Path) -> None:
    settings = config(folder, teacher, tmp_path / "s", steps=100, warmup=10)
    rates = [learning_rate(step, settings) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(1e-3)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))
    assert rates[100] == pytest.approx(0)


@pytest.mark.parametrize(("field", "value"), [("depth", 0), ("steps", 0), ("precision", "int3"), ("data", ()), ("seed", -1), ("grids", ()), ("nonsense", 1)])
def test_wrong_settings_name_the_field(folder: Path, teacher: Path, tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(StegoError, match=f"distillation setting '{field}'") as error:
        config(folder, teacher, tmp_path / "s", **{field: value})
    assert "\n" not in str(error.value)


def test_too_deep_a_student_and_an_empty_folder(folder: Path, teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match="depth 3: the teacher has 2 blocks"):
        distill(config(folder, teacher, tmp_path / "s", depth=3), say=lambda _line: None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StegoError, match="empty"):
        distill(config(tmp_path / "empty", teacher, tmp_path / "s"), say=lambda _line: None)


def test_target_views_are_averaged_on_the_students_grid(teacher: Path) -> None:
    network = read_backbone(teacher)
    views = torch.rand((2, 3, 32, 48), generator=torch.Generator().manual_seed(0))
    plain, mirror, enlarged, all_three = (
        teacher_features(network, views, 8, targets) for targets in (("plain",), ("mirror",), ("enlarged",), ("plain", "mirror", "enlarged"))
    )
    with torch.no_grad():
        assert torch.allclose(plain.patches, network(views).patches)
        turned = network(torch.from_numpy(np.ascontiguousarray(views.numpy()[..., ::-1]))).patches
        larger = network(torch.nn.functional.interpolate(views, size=(48, 72), mode="bicubic", antialias=True).clamp(0, 1)).patches
    assert torch.allclose(mirror.patches, turned.flip(3))
    assert enlarged.patches.shape == plain.patches.shape == (2, 192, 4, 6)
    assert torch.allclose(enlarged.patches.mean((2, 3)), larger.mean((2, 3)), atol=0.1)  # antialiasing at borders moves the mean a little
    for part in ("patches", "cls"):
        naive = sum(getattr(found, part) for found in (plain, mirror, enlarged)) / 3
        torch.testing.assert_close(getattr(all_three, part), naive)


def test_unknown_target_view_is_named(folder: Path, teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match=r"targets\.0.*'upside-down'"):
        config(folder, teacher, tmp_path / "out.safetensors", targets=("upside-down",))


def test_too_few_images_to_hold_one_out_are_said(folder: Path, teacher: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    distill(config(folder, teacher, tmp_path / "s.safetensors", holdout_every=50, steps=1), say=lines.append)
    assert lines[-1].endswith("too few images for any to be held out and measured on")
    with pytest.raises(StegoError, match="is a folder; expected a file to write"):
        distill(config(folder, teacher, tmp_path))
