"""``stego probe`` on clips: what it asks, that it never scores what it learnt from, and bad input by name."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from drawn_clip import moving_square, write_clip
from typer.testing import CliRunner

from models.backbone import BackboneSpec, build_vit
from pretrain.augment import Crop
from pretrain.video import probe
from pretrain.video.attentive_probe import fit_probe
from pretrain.video.encoder import VideoEncoder, VideoSpec
from pretrain.video.file import save_video_encoder
from pretrain.video.views import coloured_view
from pretrain.video.windows import ClipShape, open_clips
from stego_app.cli import app

SHAPE = ClipShape(frames=4, fps=5, tubelet=2)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(8):
        write_clip(folder / f"kind{number % 2}" / f"{number}.avi", moving_square(48, 40, 48, seed=number, speed=1 + number % 3), 10.0)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "encoder.video.safetensors"
    spec = BackboneSpec(architecture="vit_tiny_patch16_224", depth=1, block=0, patch_size=8, grid=2, dim=192)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = VideoEncoder(build_vit(spec), VideoSpec(spec, SHAPE, "sincos"), inflate=False)
    save_video_encoder(path, network, "vjepa", "drawn", precision="fp32", card={})
    return path


@pytest.fixture(autouse=True)
def short_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "fit_probe", partial(fit_probe, steps=100))


def test_the_command_asks_all_that_the_clips_allow(clips: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "FOLDS", 2)
    done = CliRunner().invoke(app, ["probe", str(encoder), str(clips), "--out", str(tmp_path / "out"), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "probe.json").read_text())
    answers = {answer["question"]: answer for answer in found["answers"]}
    assert list(answers) == ["frames in order or shuffled", "folder", "which video"]
    # 24 samples of each video are three windows of 8, each with three clips.
    assert [answers[name]["scored"] for name in answers] == [2 * 8 * 9, 8 * 9, 8 * 9]
    assert [answers[name]["chance"] for name in answers] == [0.5, 0.5, 1 / 8]
    assert "which video" in (tmp_path / "out" / "probe.md").read_text()


def test_random_weights_are_others_and_the_same_for_a_seed(encoder: Path) -> None:
    def weights(name: str, seed: int) -> torch.Tensor:
        network = probe.load_encoder(name, seed).network
        return network.blocks[0].mlp.fc1.weight  # type: ignore[no-any-return, union-attr, index]

    trained, start, again, other = (
        weights(name, seed) for name, seed in ((str(encoder), 0), (f"random:{encoder}", 5), (f"random:{encoder}", 5), (f"random:{encoder}", 6))
    )
    assert torch.equal(start, again)
    assert not torch.equal(start, other)
    assert not torch.equal(start, trained)


def test_each_fold_is_scored_by_a_probe_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = np.repeat([0, 1, 2], [4, 2, 3])
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0])
    seen: list[tuple[int, ...]] = []

    def fake(tokens: torch.Tensor, wanted: torch.Tensor, classes: int, **_: int) -> torch.Tensor:
        assert classes == 2
        seen.append(tuple(tokens[:, 0, 0].long().tolist()))
        return wanted

    monkeypatch.setattr(probe, "fit_probe", fake)
    monkeypatch.setattr(probe, "accuracy", lambda _probe, tokens, _labels: 1.0 if len(tokens) == 4 else 0.5)
    tokens = torch.arange(9)[:, None, None].half()
    assert probe.across_folds(tokens, labels, fold, 0) == (pytest.approx((4 + 1 + 1.5) / 9), 9)
    assert seen == [(4, 5, 6, 7, 8), (0, 1, 2, 3, 6, 7, 8), (0, 1, 2, 3, 4, 5)]


def test_shuffled_frames_are_the_same_frames_in_another_order() -> None:
    pixels = torch.arange(5 * 4, dtype=torch.uint8).view(5, 4, 1, 1, 1).expand(5, 4, 3, 2, 2)
    mixed = probe.shuffle(pixels, np.random.default_rng(0))
    assert torch.equal(mixed.sort(dim=1).values, pixels)
    assert all(not torch.equal(before, after) for before, after in zip(pixels, mixed, strict=True))


def test_which_video_is_learnt_from_first_halves_and_asked_of_second_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[float], list[int], list[float], list[int], int]] = []

    def scored(tokens: torch.Tensor, labels: probe.Numbers, learnt: probe.Numbers, held: probe.Numbers, classes: int, _seed: int) -> tuple[float, int]:
        values = tokens[:, 0, 0]
        asked.append((values[learnt].tolist(), labels[learnt].tolist(), values[held].tolist(), labels[held].tolist(), classes))
        return 1.0, int(held.sum())

    monkeypatch.setattr(probe, "score", scored)
    early, late = torch.arange(6.0).view(6, 1, 1), torch.arange(10.0, 16.0).view(6, 1, 1)
    paths = [Path(name) for name in "abcde"]
    seen = probe.Seen(torch.zeros(9, 1, 1), None, np.zeros(9, dtype=np.int64), paths, early, late, np.array([1, 1, 3, 3, 3, 3]))
    (answer,) = probe.ask(seen, 0)
    assert asked == [([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0, 0, 1, 1, 1, 1], [10.0, 11.0, 12.0, 13.0, 14.0, 15.0], [0, 0, 1, 1, 1, 1], 2)]
    assert (answer.question, answer.scored, answer.chance) == ("which video", 6, pytest.approx(4 / 6))


@pytest.mark.parametrize("viewed", [[], [2, 2]])
def test_which_video_takes_two_videos(viewed: list[int]) -> None:
    views, which = torch.zeros(len(viewed), 1, 1), np.array(viewed, dtype=np.int64)
    assert not list(probe.ask(probe.Seen(torch.zeros(3, 1, 1), None, np.zeros(3, dtype=np.int64), [Path("a")], views, views, which), 0))


def test_halves_of_a_window_share_no_frame(clips: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[npt.NDArray[np.uint8]] = []

    def watched(part: npt.NDArray[np.uint8], frames: int, crop: Crop, rng: np.random.Generator) -> torch.Tensor:
        assert len(part) >= frames
        parts.append(part)
        return coloured_view(part, frames, crop, rng)

    monkeypatch.setattr(probe, "coloured_view", watched)
    windows = list(open_clips([clips / "kind0" / "0.avi"], SHAPE).windows)
    seen = probe.see(probe.load_encoder(str(encoder), 0), windows, 16, 0, [])
    assert seen.early.shape == seen.late.shape == (len(windows) * probe.VIEWS, 2 * 4, 192)
    assert seen.viewed.tolist() == [0] * len(seen.early)
    whole = [probe.read_window(window, SHAPE, 18) for window in windows]
    for window, halves in zip(whole, np.array_split(np.arange(len(parts)), len(windows)), strict=True):
        first, last = parts[halves[0]], parts[halves[-1]]
        np.testing.assert_array_equal(np.concatenate([first, last]), window)


def test_bad_input_is_told_in_one_line(clips: Path, encoder: Path, tmp_path: Path) -> None:
    def said(*arguments: object) -> str:
        done = CliRunner().invoke(app, ["probe", *map(str, arguments), "--out", str(tmp_path / "out"), "--device", "cpu"])
        assert done.exit_code != 0
        return f"{done.output} {done.exception}"

    assert "--resolution 30: expected a multiple of the patch of 8 pixels" in said(encoder, clips, "--resolution", 30)
    assert "absent" in said(encoder, tmp_path / "absent")
    (tmp_path / "few").mkdir()
    for name in ("one", "two"):
        write_clip(tmp_path / "few" / f"{name}.avi", moving_square(10, 48, 64), 10.0)
    assert "expected at least 4 videos" in said(encoder, tmp_path / "few", "--limit", 2)
    (tmp_path / "few" / "broken.mp4").write_bytes(b"no video")
    for name in ("three", "four"):
        write_clip(tmp_path / "few" / f"{name}.avi", moving_square(10, 48, 64), 10.0)
    assert "broken.mp4" in said(encoder, tmp_path / "few")
    assert json.loads((tmp_path / "out" / "probe.json").read_text())["failures"][0]["file"].endswith("broken.mp4")
