"""V-JEPA's loss against a naive loop, its two schedules, and runs from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_clip import moving_square, write_clip
from typer.testing import CliRunner

from models.artifact import read_artifact, read_header, tensors_digest
from models.backbone_sources import load_backbone
from models.errors import StegoError
from pretrain.batches import Batch
from pretrain.methods.vjepa import VJepa, VJepa2
from pretrain.run import prepare, pretrain
from pretrain.schedules import Clock
from pretrain.settings import PretrainConfig, make_pretrain_config
from pretrain.trainer import Pretraining
from pretrain.video.attentive_probe import accuracy, fit_probe
from pretrain.video.encoder import VideoEncoder
from pretrain.video.file import read_video_encoder, video_path
from pretrain.video.masks import tube_masks
from pretrain.video.schedules import warmup_constant_cooldown
from stego_app.cli import app

OPTIONS: dict[str, Any] = {"frames": 4, "fps": 5, "predictor_width": 64, "predictor_depth": 1}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(6):
        write_clip(folder / f"kind{number % 2}" / f"{number}.avi", moving_square(24, 64, 80, seed=number, speed=1 + number % 3), 10.0)
    (folder / "broken.mp4").write_bytes(b"not a video at all")
    return folder


def config(folder: Path, out: Path, method: str = "vjepa", **changes: Any) -> PretrainConfig:
    fields: dict[str, Any] = {
        "method": method, "data": (folder,), "out": out, "architecture": "vit_tiny_patch16_224", "image_size": 32, "patch_size": 8, "depth": 1, "steps": 6,
        "batch": 4, "checkpoint_every": 2, "health_every": 3, "log_every": 1, "accelerator": "cpu", "workers": 0, "file_precision": "fp32",
        "precision": "32-true", "options": OPTIONS,
    }  # fmt: skip
    return make_pretrain_config(**{**fields, **changes})


def built(clips: Path, method: str = "vjepa", **changes: Any) -> VJepa:
    found: Any = prepare(config(clips, Path("unwritten.safetensors"), method, **changes)).module.method
    with torch.no_grad():
        for parameter in found.target.parameters():  # as after many steps: not the online encoder's
            parameter.add_(0.05 * torch.randn_like(parameter))
    return found


def batch_of(count: int = 3) -> Batch:
    views = torch.randint(0, 256, (1, count, 4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    empty = torch.zeros(0)
    return Batch(views, empty, empty, empty, empty, empty)


@pytest.mark.parametrize("name", ["vjepa", "vjepa2"])
def test_the_loss_is_that_of_a_naive_loop(name: str, clips: Path) -> None:
    method, batch = built(clips, name).eval(), batch_of()
    torch.manual_seed(5)
    with torch.no_grad():
        found = method(batch)
        torch.manual_seed(5)
        views, total = batch.views[0], []
        for number, kind in enumerate(method.settings.masks):
            keep, masked = tube_masks(3, method.encoder.grid(views), kind)
            distances = []
            for clip in range(3):
                whole = method.target.module(views[clip : clip + 1])[0].double().numpy()
                seen = method.encoder(views[clip : clip + 1], keep=keep[clip : clip + 1])
                predicted = method.predictor(seen, keep[clip : clip + 1], masked[clip : clip + 1], number, method.encoder.grid(views))[0].double().numpy()
                for place, index in enumerate(masked[clip].tolist()):
                    token = whole[index]
                    normed = (token - token.mean()) / np.sqrt(token.var() + 1e-5)
                    distances += np.abs(predicted[place] - normed).tolist()
            total.append(np.mean(distances))
    assert float(found.loss) == pytest.approx(np.mean(total), abs=1e-5)
    assert found.logs["short_range"] == pytest.approx(total[0], abs=1e-5)
    assert found.logs["copy_mean"] > 0


def test_the_loss_does_not_train_the_target_and_the_target_follows(clips: Path) -> None:
    method = built(clips)
    method(batch_of()).loss.backward()
    assert all(parameter.grad is None for parameter in method.target.parameters())
    names = [name for name, parameter in method.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert not names
    before = {name: parameter.clone() for name, parameter in method.target.module.named_parameters()}
    method.clock = Clock(30, 100)
    method.after_step()
    momentum = method.momentum + 0.3 * (1 - method.momentum)
    for name, parameter in method.target.module.named_parameters():
        online = dict(method.encoder.named_parameters())[name]
        torch.testing.assert_close(parameter, momentum * before[name] + (1 - momentum) * online, atol=1e-6, rtol=1e-5)


def test_the_two_schedules_are_those_of_the_papers(clips: Path) -> None:
    first, second = built(clips), built(clips, "vjepa2")
    assert isinstance(second, VJepa2)
    assert [second.momentum_at(Clock(step, 6)) for step in (0, 3, 5)] == [second.momentum] * 3
    assert first.momentum_at(Clock(0, 6)) < first.momentum_at(Clock(3, 6)) < first.momentum_at(Clock(5, 6)) < 1
    assert (first.momentum, second.momentum) == (0.998, 0.99925)
    rates = [warmup_constant_cooldown(Clock(step, 100), 2.0, 0.1, 0.2) for step in range(100)]
    assert rates[:3] == pytest.approx([0.2, 0.4, 0.6])
    assert rates[9:80] == [2.0] * 71
    assert rates[80:] == pytest.approx([2.0 * left / 21 for left in range(20, 0, -1)])
    assert second.learning_rate(Clock(50, 100), 2.0, 0.1) == 2.0
    assert first.learning_rate(Clock(50, 100), 2.0, 0.1) < 2.0


class _Cut(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize("method", ["vjepa", "vjepa2"])
def test_a_run_that_was_cut_off_gives_the_same_weights(method: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pretrain(config(clips, tmp_path / "whole.safetensors", method), say=lambda _: None)
    out = tmp_path / "cut.safetensors"
    step, calls = Pretraining.training_step, []

    def cut(self: Pretraining, batch: Any, index: int) -> torch.Tensor:
        calls.append(index)
        if len(calls) == 5:
            raise _Cut
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "training_step", cut)
        with pytest.raises(_Cut):
            pretrain(config(clips, out, method), say=lambda _: None)
    lines: list[str] = []
    pretrain(config(clips, out, method), say=lines.append)
    assert any("continuing from step 4" in line for line in lines)
    files = [(video_path(path) if method == "vjepa" else path) for path in (whole, out)]
    digests = {tensors_digest(read_artifact(path, "video encoder")[0]) for path in files}
    assert len(digests) == 1


def test_the_command_leaves_an_image_backbone_and_the_encoder_of_clips(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.safetensors"
    options = ["--set", "frames=4", "--set", "fps=5", "--set", "predictor_depth=1", "--accelerator", "cpu", "--precision", "32-true"]
    shape = ["--architecture", "vit_tiny_patch16_224", "--image-size", "32", "--patch-size", "8", "--depth", "1", "--steps", "2", "--batch", "2"]
    result = CliRunner().invoke(app, ["pretrain", "vjepa", str(clips), "--out", str(out), *shape, *options])
    assert result.exit_code == 0, result.output
    assert "clips of 4 frames at 5 a second in tubelets of 2, sincos positions; left out 1 clips, the first:" in result.output
    assert "broken.mp4: not a video" in result.output
    backbone = load_backbone(str(out))
    assert (backbone.spec.method, backbone.spec.patch_size) == ("vjepa", 8)
    encoder = read_video_encoder(video_path(out))
    assert encoder.video.clip.frames == 4
    assert encoder(torch.zeros(1, 4, 3, 32, 32, dtype=torch.uint8)).shape == (1, 32, 192)
    card = read_header(out)["card"]
    assert card["paper"].endswith("arXiv:2404.08471")
    assert any(path.endswith("broken.mp4") for path in card["skipped"])


def test_a_run_goes_on_from_an_image_backbone(clips: Path, tmp_path: Path) -> None:
    prepared = prepare(config(clips, tmp_path / "b.safetensors", image_size=56, patch_size=None, depth=None, init="default"))
    encoder: Any = prepared.module.method.encoder
    assert isinstance(encoder, VideoEncoder)
    assert encoder.video.positions == "inherited"
    image = torch.randint(0, 256, (1, 3, 56, 56), dtype=torch.uint8)
    with torch.no_grad():
        found = encoder.eval()(image[:, None].expand(-1, 4, -1, -1, -1))[:, :16]
        backbone = load_backbone("default", block=encoder.spec.depth - 1)
        torch.testing.assert_close(found, backbone(image.float() / 255).patches.flatten(2).transpose(1, 2), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {**OPTIONS, "frames": 5}}, "option of 'vjepa' 'frames': 5; expected a multiple of the tubelet of 2"),
        ({"options": {**OPTIONS, "positions": "inherited"}}, "inherited ones come with --init; expected sincos or rotary"),
        ({"options": {**OPTIONS, "positions": "rotary"}, "init": "default"}, "a backbone given with --init brings its own"),
        ({"options": {**OPTIONS, "frame": 4}}, "unknown option of 'vjepa' 'frame'; did you mean 'frames'"),
        ({"image_size": 24}, "--image-size 24: 'vjepa' needs at least 4 × 4 patches of 8 pixels"),
        ({"image_size": 96}, "80 × 64 pixels, smaller than the crop of 96"),
        ({"pair": Path("depth")}, "only vicreg learns from two"),
    ],
)
def test_bad_requests_are_named(changes: dict[str, Any], message: str, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match=message):
        prepare(config(clips, tmp_path / "b.safetensors", **changes))


def test_an_attentive_probe_finds_what_one_token_says() -> None:
    torch.manual_seed(0)
    labels = torch.arange(300) % 3
    tokens = torch.randn(300, 6, 64)
    tokens[torch.arange(300), torch.randint(6, (300,)), labels] += 8  # somewhere in the clip
    probe = fit_probe(tokens[:240], labels[:240], 3, steps=120)
    assert accuracy(probe, tokens[240:], labels[240:]) > 0.8
