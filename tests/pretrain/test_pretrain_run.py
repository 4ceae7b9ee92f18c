"""Pretraining end to end on a few generated images and a tiny ViT: results, resume, logs, and bad input by name."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from models.artifact import read_artifact, read_header, tensors_digest
from models.backbone import read_backbone, save_backbone
from models.errors import StegoError
from pretrain.health import rankme
from pretrain.methods import METHODS, load_method
from pretrain.records import read_metrics
from pretrain.run import prepare, pretrain
from pretrain.settings import PretrainConfig, make_pretrain_config, parse_options
from pretrain.state import part_path
from pretrain.trainer import Pretraining
from stego_app.cli import app, main

SMALL: dict[str, Any] = {"hidden": 16, "projection": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for index in range(12):
        rng = np.random.default_rng(index)
        (folder / f"kind{index % 2}").mkdir(exist_ok=True)
        low = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        low.resize((40, 32), Image.Resampling.BICUBIC).save(folder / f"kind{index % 2}" / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def random_start(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    run = config(folder, path, image_size=32)
    save_backbone(path, prepare(run).module.kept.backbone("random", "test"), precision="fp32")
    return path


def config(folder: Path, out: Path, method: str = "simclr", **changes: Any) -> PretrainConfig:
    fields: dict[str, Any] = {
        "method": method, "data": (folder,), "out": out, "architecture": "vit_tiny_patch16_224", "image_size": 16, "patch_size": 8, "depth": 1, "steps": 6,
        "batch": 4, "checkpoint_every": 2, "health_every": 3, "log_every": 1, "accelerator": "cpu", "workers": 0, "file_precision": "fp32", "options": SMALL,
    }  # fmt: skip
    return make_pretrain_config(**{**fields, **changes})


def digest(path: Path) -> str:
    return tensors_digest(read_artifact(path, "backbone")[0])


def test_a_run_leaves_a_backbone_logs_and_a_report(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    seen: list[tuple[str, int, int]] = []
    out = pretrain(config(folder, tmp_path / "deep" / "b.safetensors"), lambda *state: seen.append(state), lines.append)
    backbone = read_backbone(out)
    assert (backbone.spec.method, backbone.spec.depth, backbone.patch_size, backbone.spec.grid) == ("simclr", 1, 8, 2)
    assert backbone(torch.rand(1, 3, 24, 16)).patches.shape == (1, 192, 3, 2)
    card = read_header(out)["card"]
    assert (card["method"], card["images"], card["steps"], card["settings"]["batch"]) == ("simclr", 12, 6, 4)
    assert card["health"]["knn"] is not None
    logs = out.with_name("b.safetensors.logs")
    losses = [(step, value) for step, name, value in read_metrics(logs / "metrics.csv") if name == "loss"]
    assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6]
    assert {name for _, name, _ in read_metrics(logs / "metrics.csv")} >= {"learning_rate", "health/std", "health/rank", "health/knn"}
    assert any(path.name.startswith("events.") for path in logs.iterdir())
    page = (logs / "report.html").read_text()
    assert "No collapse was seen" in page
    assert "data:image/png;base64," in page
    assert Image.open(logs / "curves.png").size[0] > 500
    assert seen[-1] == ("pretraining (simclr)", 6, 6)
    assert sum("k-NN" in line and "rank" in line for line in lines) == 2 + 1
    assert not part_path(out).exists()


class _Cut(BaseException):
    """Stands for kill -9: nothing catches it."""


@pytest.mark.parametrize(
    ("method", "options", "more"),
    [
        ("dinov2", {"hidden": 16, "bottleneck": 4, "prototypes": 8, "local_crops": 2, "local_size": 8}, {"drop_path": 0.2}),
        ("swav", {**SMALL, "prototypes": 5, "local_crops": 1, "local_size": 8, "queue": 4, "queue_from": 0.0}, {"accumulate": 1, "ema": 0.5}),
        ("byol", SMALL, {"accumulate": 2}),
    ],
)
def test_a_run_that_was_cut_off_gives_the_same_weights(
    method: str, options: dict[str, Any], more: dict[str, Any], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pretrain(config(folder, tmp_path / "whole.safetensors", method, options=options, **more), say=lambda _: None)
    out = tmp_path / "cut.safetensors"
    step, calls = Pretraining.training_step, []

    def cut(self: Pretraining, batch: Any, index: int) -> torch.Tensor:
        calls.append(index)
        if len(calls) == 5 * more.get("accumulate", 1):
            raise _Cut
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "training_step", cut)
        with pytest.raises(_Cut):
            pretrain(config(folder, out, method, options=options, **more), say=lambda _: None)
    assert part_path(out).exists()
    lines: list[str] = []
    pretrain(config(folder, out, method, options=options, **more), say=lines.append)
    assert any("continuing from step 4" in line for line in lines)
    assert digest(out) == digest(whole)
    steps = [row[0] for row in read_metrics(out.with_name("cut.safetensors.logs") / "metrics.csv") if row[1] == "loss"]
    assert steps == [1, 2, 3, 4, 5, 6]


def _interrupted(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Pretraining, batch: Any, index: int) -> torch.Tensor:
        if index == 3:
            raise _Cut
        return step(self, batch, index)

    step = Pretraining.training_step
    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "training_step", stop)
        with pytest.raises(_Cut):
            pretrain(config(folder, out), say=lambda _: None)


def test_a_checkpoint_is_only_continued_by_its_own_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "b.safetensors"
    _interrupted(folder, out, monkeypatch)
    with pytest.raises(StegoError, match="a checkpoint of method 'simclr', not 'simsiam'"):
        pretrain(config(folder, out, "simsiam", options={}))
    with pytest.raises(StegoError, match="other settings \\(batch was 4\\)"):
        pretrain(config(folder, out, batch=6))
    extra = folder / "kind0" / "new.png"
    Image.new("RGB", (40, 32)).save(extra)
    try:
        with pytest.raises(StegoError, match="the images have changed since this checkpoint was written \\(12 then\\)"):
            pretrain(config(folder, out))
    finally:
        extra.unlink()


def test_a_diverging_run_stops_and_keeps_the_last_good_checkpoint(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "b.safetensors"
    method, calls = load_method("simclr"), []
    forward = method.forward

    def poisoned(self: Any, batch: Any) -> Any:
        step = forward(self, batch)
        calls.append(1)
        return step._replace(loss=step.loss * float("nan")) if len(calls) == 4 else step

    monkeypatch.setattr(method, "forward", poisoned)
    with pytest.raises(
        StegoError, match=r"stopped at step 3: the loss of 'simclr' is no longer a finite number; the last good checkpoint is .*b.safetensors.part at step 2"
    ):
        pretrain(config(folder, out), say=lambda _: None)
    tensors, header = read_artifact(part_path(out), "pretraining checkpoint")
    assert header["step"] == 2
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values() if tensor.is_floating_point())


def test_weights_that_are_not_finite_are_never_saved(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "b.safetensors"
    method = load_method("simclr")

    def poison(self: Any) -> None:
        if self.clock.step == 1:
            with torch.no_grad():
                self.encoder.network.pos_embed[0, 0, 0] = float("inf")

    monkeypatch.setattr(method, "after_step", poison)
    with pytest.raises(StegoError, match=r"weights .*pos_embed are no longer finite numbers; no checkpoint had been written yet"):
        pretrain(config(folder, out), say=lambda _: None)
    assert not part_path(out).exists()


def test_collapse_is_said_and_stops_the_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pretraining, "represent", lambda _self, images: torch.ones(len(images), 8) + 1e-4 * torch.randn(len(images), 8))
    lines: list[str] = []
    with pytest.raises(StegoError, match="collapse: all images get nearly the same features"):
        pretrain(config(folder, tmp_path / "b.safetensors", steps=8, health_every=2), say=lines.append)
    assert any(line.startswith("warning: step 2: collapse") for line in lines)
    assert "Collapse: all images" in (tmp_path / "b.safetensors.logs" / "report.html").read_text()


def test_checks_are_as_far_apart_as_their_images_take_to_train(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    pretrain(config(folder, tmp_path / "b.safetensors", steps=8, health_every=None), say=lines.append)
    assert [line.split()[1] for line in lines if line.startswith("step ")] == ["3/8", "6/8", "8/8"]  # 12 images, 4 a step


def test_init_goes_on_from_a_backbone_at_another_image_size(folder: Path, tmp_path: Path) -> None:
    first = pretrain(config(folder, tmp_path / "a.safetensors", steps=1), say=lambda _: None)
    tiny = {"init": str(first), "patch_size": None, "depth": None, "steps": 2, "image_size": 24}
    second = pretrain(config(folder, tmp_path / "b.safetensors", "mae", options={"width": 8, "heads": 2, "decoder_depth": 1}, **tiny), say=lambda _: None)
    before, after = read_backbone(first), read_backbone(second)
    assert after.spec.source == f"mae on {folder.name}, from {first.name}"
    assert (after.spec.grid, after.spec.method) == (before.spec.grid, "mae")
    assert digest(first) != digest(second)
    with pytest.raises(StegoError, match="--patch-size and --depth are for a random start"):
        prepare(config(folder, tmp_path / "c.safetensors", init=str(first)))


def test_layer_decay_and_the_ema_of_weights(folder: Path, tmp_path: Path) -> None:
    module = prepare(config(folder, tmp_path / "a.safetensors", layer_decay=0.5, ema=0.9, depth=2)).module
    optimiser: Any = module.configure_optimizers()
    scales = {id(parameter): group["scale"] for group in optimiser.param_groups for parameter in group["params"]}
    found = {name: scales[id(parameter)] for name, parameter in module.method.named_parameters() if id(parameter) in scales}
    assert found["encoder.vit.vit.blocks.1.mlp.fc1.weight"] == 0.5
    assert found["encoder.vit.vit.blocks.0.mlp.fc1.weight"] == 0.25
    assert found["encoder.vit.vit.pos_embed"] == found["encoder.vit.vit.patch_embed.proj.weight"] == 0.125
    assert found["head.layers.0.weight"] == 1
    undecayed = [group for group in optimiser.param_groups if not group["decays"]]
    assert all(parameter.ndim < 2 or parameter.shape[0] == 1 for group in undecayed for parameter in group["params"])
    assert module.kept is not module.method.encoder


def test_the_command_line_refuses_an_architecture_beside_a_trained_backbone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--init", "default", "--architecture", "vit_tiny_patch16_224", "--out", "b.safetensors"]
    monkeypatch.setattr("sys.argv", ["stego", "pretrain", "simclr", str(folder), *given])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "--architecture is for a random start" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "simclear"}, "unknown pretraining method 'simclear'; did you mean 'simclr'"),
        ({"options": {"temprature": 1}}, "unknown option of 'simclr' 'temprature'; did you mean 'temperature'"),
        ({"options": {"temperature": -1}}, "option of 'simclr' 'temperature': Input should be greater than 0"),
        ({"batch": 1}, "'simclr' needs micro-batches of one size and at least 2 images"),
        ({"batch": 5, "accumulate": 2}, "--batch 5 in 2 parts"),
        ({"batch": 16}, "12 images are fewer than a micro-batch of 16"),
        ({"image_size": 40}, "40 × 32 pixels, smaller than the crop of 40"),
        ({"image_size": 20}, "--image-size 20: not a multiple of the backbone's patch of 8"),
        ({"architecture": "resnet18"}, "architecture 'resnet18': not a ViT"),
        ({"architecture": "vit_tony"}, "architecture 'vit_tony': timm has no model"),
        ({"method": "neco", "options": {}}, "'neco' goes on from a trained backbone; name it with --init"),
        ({"method": "simmim", "options": {}}, "option of 'simmim' 'mask_unit': 32 pixels"),
        ({"data": (Path("nowhere"),)}, "nowhere: no such folder"),
        ({"pair": Path("depth")}, "--pair depth: 'simclr' learns from one modality"),
        ({"method": "dino", "options": {"local_size": 10}}, "option of 'dino' 'local_size': 10 pixels; expected a multiple of the patch of 8"),
        ({"method": "dinov2", "options": {"high_resolution": 48, "high_resolution_share": 0.2}}, "smaller than the crop of 48"),
        ({"method": "dino", "options": {"local_scale": [-1, 0.4]}}, "option of 'dino' 'local_scale"),
        ({"method": "dino", "options": {"local_scale": [0.4, 0.1]}}, "expected the smaller number first"),
        ({"method": "mae", "options": {"heads": 7}}, "option of 'mae' 'heads': 7; expected a number that divides the decoder's width of 256"),
        ({"method": "mae", "options": {"ratio": 0.01}}, "option of 'mae' 'ratio': 0.01 of 4 patches"),
        ({"method": "mae", "options": {"ratio": 0.99}}, "option of 'mae' 'ratio': 0.99 of 4 patches"),
        ({"method": "ijepa", "options": {"predictor_width": 100}}, "option of 'ijepa' 'predictor_width': Input should be a multiple of 32"),
        ({"method": "ijepa", "options": {"target_aspect": [0, 1]}}, "option of 'ijepa' 'target_aspect"),
        ({"method": "ijepa", "options": {"target_scale": [-1, 0.2]}}, "option of 'ijepa' 'target_scale"),
        ({"method": "dino", "options": {}, "ema": 0.9}, "--ema 0.9: 'dino' keeps its teacher, which is an average already"),
        ({"method": "dino", "options": {"prototypes": 1}}, "option 'prototypes': 1 tells nothing apart"),
        ({"precision": "bf16-true"}, "--precision bf16-true: weights are trained in float32"),
        ({"out": Path()}, "--out .: is a folder; expected a file to write"),
    ],
)
def test_bad_input_by_name(changes: dict[str, Any], message: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError) as caught:
        prepare(config(folder, changes.pop("out", tmp_path / "b.safetensors"), **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(StegoError, match="unknown pretraining setting 'stepz'; did you mean 'steps'"):
        make_pretrain_config(method="mae", stepz=3)
    assert parse_options(["a=1", "b=0.5", "c=text", "d=true", "e=[1, 2]"]) == {"a": 1, "b": 0.5, "c": "text", "d": True, "e": [1, 2]}
    with pytest.raises(StegoError, match="--set a: expected NAME=VALUE"):
        parse_options(["a"])


def test_lightnings_flags_reach_it(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match="--accelerator, --devices, --strategy or --precision: "):
        pretrain(config(folder, tmp_path / "b.safetensors", strategy="nonsense"), say=lambda _: None)


EACH: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("simclr", "byol"), SMALL),
    "simclrv2": {**SMALL, "label_fraction": 0.5},
    "simsiam": {"projection": 8, "bottleneck": 4},
    **{key: {"projection": 8} for key in ("barlow-twins", "vicreg")},
    "swav": {**SMALL, "prototypes": 5, "local_crops": 1},
    "mae": {"width": 8, "heads": 2, "decoder_depth": 1},
    "simmim": {"mask_unit": 8},
    "ijepa": {"predictor_depth": 1},
    **{key: {"hidden": 16, "bottleneck": 4, "prototypes": 8, "local_crops": 1} for key in ("dino", "ibot", "dinov2")},
    "lejepa": {**SMALL, "local_crops": 1, "slices": 8},
    "neco": {"grid": 2},
}


@pytest.mark.parametrize("method", EACH)
def test_every_method_of_images_trains_and_writes_a_backbone(method: str, folder: Path, tmp_path: Path, random_start: Path) -> None:
    start = {"init": str(random_start), "patch_size": None, "depth": None} if method == "neco" else {}
    more = {"options": EACH[method], "image_size": 32, "batch": 8, "steps": 5, "health_every": 5, "learning_rate": 0.03, **start}
    run = config(folder, tmp_path / "b.safetensors", method, **more)
    before = tensors_digest(prepare(run).module.kept.network.state_dict())
    backbone = read_backbone(pretrain(run, say=lambda _: None))
    assert backbone.spec.method == method
    assert tensors_digest(backbone.network.state_dict()) != before
    assert bool(torch.isfinite(backbone(torch.rand(1, 3, 32, 32)).patches).all())


def test_every_method_is_named_as_it_is_registered() -> None:
    for name in METHODS:
        method = load_method(name)
        assert method.name == name
        assert "arXiv:" in method.paper
    assert set(EACH) == {name for name in METHODS if load_method(name).items == "images"}  # scans and clips have tests of their own


def test_the_command_line_names_the_nearest_method(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["stego", "pretrain", "barlow-twin", str(folder), "--out", str(tmp_path / "b.safetensors")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("stego: unknown pretraining method 'barlow-twin'; did you mean 'barlow-twins'?")


def test_the_command_line_passes_its_flags_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[PretrainConfig] = []
    monkeypatch.setattr("pretrain.run.pretrain", lambda config, **_: seen.append(config))
    flags = ["--steps", "3", "--batch", "8", "--set", "temperature=0.3", "--devices", "2", "--strategy", "ddp", "--layer-decay", "0.7"]
    monkeypatch.setattr("sys.argv", ["stego", "pretrain", "simclr", str(folder), str(folder), "--out", str(tmp_path / "b.safetensors"), *flags])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    found = seen[0]
    assert (found.method, found.data, found.steps, found.batch, found.devices, found.strategy) == ("simclr", (folder, folder), 3, 8, "2", "ddp")
    assert (found.options, found.layer_decay, found.seed) == ({"temperature": 0.3}, 0.7, 0)


def test_weights_that_are_not_finite_are_no_collapse_and_no_traceback(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match=r"are no longer finite numbers|loss of 'simclr' is no longer a finite number"):
        pretrain(config(folder, tmp_path / "b.safetensors", learning_rate=1e30, health_every=1, steps=4), say=lambda _: None)
    assert math.isnan(rankme(torch.full((4, 3), math.nan)))


def test_a_number_of_devices_that_lightning_refuses_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match="--accelerator, --devices"):
        pretrain(config(folder, tmp_path / "b.safetensors", accelerator="cpu", devices="0"), say=lambda _: None)


def test_a_changed_second_modality_is_other_data(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    settings = config(folder, tmp_path / "b.safetensors", "vicreg", pair=other, options={})
    before = prepare(settings).material.fingerprint
    first = next(path for path in sorted(other.rglob("*")) if path.is_file())
    first.write_bytes(first.read_bytes() + b"more")
    assert prepare(settings).material.fingerprint != before


def test_names_that_are_no_text_are_learnt_from_and_probed(folder: Path, tmp_path: Path) -> None:
    images = tmp_path / "d\udcff"
    shutil.copytree(folder, images)
    for number, path in enumerate(sorted(images.rglob("*.png"))):
        path.rename(path.with_name(f"a\udcfe${number}$.png"))
    (images / "kind0" / "broken\udcff.png").write_bytes(b"no image")
    out = tmp_path / "$b$.safetensors"
    pretrain(config(images, out))
    assert (tmp_path / "$b$.safetensors.logs" / "report.html").read_text()
    probed = CliRunner().invoke(app, ["probe", str(out), str(images), "--out", str(tmp_path / "probe"), "--device", "cpu"])
    assert (probed.exit_code, str(probed.exception)) == (1, "1")  # one image cannot be read
    assert (tmp_path / "probe" / "probe.md").read_text()


def test_a_place_that_tensorboard_cannot_write_to_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match=r"--out .*: expected a path in UTF-8"):
        prepare(config(folder, tmp_path / "b\udcff.safetensors"))
