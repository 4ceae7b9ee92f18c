"""``stego label`` on video clips: labels by frame, formats, overlays that play, resume, and clips that cannot be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from drawn_clip import counted, jpeg_stream, moving_square, write_clip
from PIL import Image
from test_label_folder import BLUE, RED, ColourSegmenter, halves
from typer.testing import CliRunner, Result

from stego_app.cli import app
from stego_app.formats.image_file import ImageFile
from stego_app.labelling import clip as clip_module
from stego_app.labelling.clip_state import FOLDER, ClipState
from stego_app.labelling.names import plan_clip
from stego_app.labelling.stills import STILLS, pictures
from stego_app.video.reading import open_video

FRAMES = 10


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("stego_app.commands.label._load", lambda *_: ColourSegmenter())
    monkeypatch.chdir(tmp_path)
    halves(tmp_path / "in" / "a.png", RED, BLUE)
    write_clip(tmp_path / "in" / "deep" / "a.avi", moving_square(FRAMES), 10.0)
    return tmp_path / "in"


def label(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["label", "--no-crf", "--jobs", "1", *arguments])


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_clip_among_images_gets_a_label_map_for_each_frame(folder: Path) -> None:
    result = label(str(folder), "out")
    assert result.exit_code == 0, result.output
    out = folder.parent / "out"
    assert (out / "labels" / "a.png").is_file()
    assert files(out / "labels" / "deep" / "a.avi") == [f"{number:06}.png" for number in range(FRAMES)]
    for number in (0, 7):
        found = np.asarray(Image.open(out / "labels" / "deep" / "a.avi" / f"{number:06}.png"))
        assert found.shape == (48, 64)
        assert found[24, 4 + number + 8] == 0  # the square is red
        assert found[40, 60] == 2
    about = json.loads((out / "clips" / "deep" / "a.avi.json").read_text())
    assert (about["clip"], about["frames"], about["fps"], about["problem"]) == ("deep/a.avi", FRAMES, 10.0, "")
    assert 0 <= about["flicker"] <= about["flicker_frame_by_frame"] + 1e-9
    assert "labelled 2 of 2 images and clips" in result.output
    assert "deep/a.avi: 10 frames, flicker" in result.output
    table = json.loads((out / "classes.json").read_text())
    assert (
        sum(entry["pixels"] for entry in table["classes"]) + table["ignored"]["pixels"] == FRAMES * 48 * 64 + np.asarray(Image.open(folder / "a.png")).size // 3
    )
    again = label(str(folder), "out")
    assert "labelled 0 of 2 images" in again.output
    assert "2 were done before" in again.output


def test_formats_and_overlays_cover_every_frame(folder: Path) -> None:
    result = label(str(folder / "deep" / "a.avi"), "out", "--overlays", "--format", "coco", "--format", "voc")
    assert result.exit_code == 0, result.output
    out = folder.parent / "out"
    coco = out / "coco.json"
    names = [image["file_name"] for image in json.loads(coco.read_text())["images"]]
    assert names == [f"a.avi/{number:06}.jpg" for number in range(FRAMES)]
    assert np.asarray(Image.open(out / "frames" / names[3])).shape == (48, 64, 3)
    with open_video(out / "overlays" / "a.avi.mp4") as video:
        shown = [frame.image for frame in video.frames()]
    assert len(shown) == FRAMES
    assert shown[0].shape == (48, 64, 3)
    assert shown[5][24, 4 + 5 + 8, 0] > 150


@pytest.mark.parametrize("how", ["empty", "half", "zeros", "other arrays"])
def test_a_clip_whose_state_is_damaged_begins_again(how: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipState, "EVERY", 1)
    clip, out = str(folder / "deep" / "a.avi"), folder.parent / "out"
    with monkeypatch.context() as patch:
        patch.setattr(ClipState, "forget", lambda _state: (_ for _ in ()).throw(KeyboardInterrupt))
        assert label(clip, "out", "--batch-size", "2").exit_code != 0
    (state,) = (out / FOLDER).iterdir()
    data = state.read_bytes()
    if how == "other arrays":
        np.savez(state, stamp=np.load(state)["stamp"])
    else:
        state.write_bytes({"empty": b"", "half": data[: len(data) // 2], "zeros": data[:60] + bytes(40) + data[100:]}[how])
    result = label(clip, "out", "--batch-size", "2")
    assert result.exit_code == 0, result.output
    assert "labelled 1 of 1" in result.output
    assert len(files(out / "labels" / "a.avi")) == FRAMES
    assert not (out / FOLDER).exists()


def test_an_interrupted_clip_goes_on_and_gives_the_same_labels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipState, "EVERY", 1)
    clip, out = str(folder / "deep" / "a.avi"), folder.parent / "out"
    assert label(clip, "whole", "--batch-size", "2").exit_code == 0
    finish, calls = clip_module.finish_task, []

    def cut(task: Any) -> Any:
        calls.append(task)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return finish(task)

    with monkeypatch.context() as patch:
        patch.setattr(clip_module, "finish_task", cut)
        assert label(clip, "out", "--batch-size", "2").exit_code != 0
    assert files(out / FOLDER)
    assert len(files(out / "labels" / "a.avi")) == 5
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(clip_module, "finish_task", lambda task: (calls.append(task), finish(task))[1])
        assert label(clip, "out", "--batch-size", "2").exit_code == 0
    assert len(calls) == FRAMES - 4  # on from the state after four frames
    assert not (out / FOLDER).exists()
    for name in files(out / "labels" / "a.avi"):
        assert (out / "labels" / "a.avi" / name).read_bytes() == (folder.parent / "whole" / "labels" / "a.avi" / name).read_bytes()
    about = [json.loads((folder.parent / name / "clips" / "a.avi.json").read_text()) for name in ("out", "whole")]
    assert about[0] == about[1]


def test_a_clip_goes_on_from_no_frame_that_other_settings_have_written_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipState, "EVERY", 1)
    clip, out = str(folder / "deep" / "a.avi"), folder.parent / "out"
    finish = clip_module.finish_task

    def interrupted(after: int, *options: str) -> None:
        calls: list[Any] = []

        def cut(task: Any) -> Any:
            calls.append(task)
            if len(calls) > after:
                raise KeyboardInterrupt
            return finish(task)

        with monkeypatch.context() as patch:
            patch.setattr(clip_module, "finish_task", cut)
            assert label(clip, "out", "--batch-size", "2", *options).exit_code != 0

    interrupted(5)
    interrupted(1, "--abstain", "0.8")  # which leaves no blue
    assert label(clip, "out", "--batch-size", "2").exit_code == 0
    assert label(clip, "whole", "--batch-size", "2").exit_code == 0
    for name in files(out / "labels" / "a.avi"):
        assert (out / "labels" / "a.avi" / name).read_bytes() == (folder.parent / "whole" / "labels" / "a.avi" / name).read_bytes()
    assert (out / "classes.csv").read_bytes() == (folder.parent / "whole" / "classes.csv").read_bytes()


def test_other_settings_label_a_clip_anew(folder: Path) -> None:
    clip = str(folder / "deep" / "a.avi")
    assert "labelled 1 of 1" in label(clip, "out").output
    assert "labelled 1 of 1" in label(clip, "out", "--steady", "0").output
    assert json.loads((folder.parent / "out" / "clips" / "a.avi.json").read_text())["steady_seconds"] == 0
    write_clip(Path(clip), moving_square(FRAMES + 1), 10.0)
    assert "labelled 1 of 1" in label(clip, "out", "--steady", "0").output


def test_clips_that_cannot_be_read_are_failures_of_their_own(folder: Path) -> None:
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mkv").write_text("no video")
    whole = write_clip(folder / "whole.avi", counted(40, 64), 10.0)
    data = whole.read_bytes()
    (folder / "cut.avi").write_bytes(data[: len(data) * 3 // 4])
    result = label(str(folder), "out")
    assert result.exit_code == 1
    with (folder.parent / "out" / "failures.csv").open(newline="") as file:
        reasons = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == {"empty.mp4", "text.mkv", "cut.avi"}
    assert "the file is empty (0 bytes)" in reasons["empty.mp4"]
    assert "not a video, damaged, or of a kind this FFmpeg has no decoder for" in reasons["text.mkv"]
    assert "cut.avi" in reasons["cut.avi"]
    assert len(files(folder.parent / "out" / "labels" / "whole.avi")) == 40
    assert (folder.parent / "out" / "labels" / "a.png").is_file()


def test_a_dry_run_names_the_clip(folder: Path) -> None:
    result = label(str(folder), "out", "--dry-run")
    assert "would label 2 of 2 images" in result.output
    assert "deep/a.avi" in result.output
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize(("frames", "declared"), [(10, True), (32, True), (60, True), (95, True), (60, False), (200, False)])
def test_classes_are_looked_for_in_all_of_a_clip(frames: int, declared: bool, tmp_path: Path) -> None:
    drawn = moving_square(frames)
    clip = write_clip(tmp_path / "a.avi", drawn, 10.0) if declared else jpeg_stream(tmp_path / "a.mjpeg", drawn)
    (tmp_path / "stills").mkdir()
    found = pictures([plan_clip(ImageFile(clip), clip.name)], tmp_path / "stills")
    assert sorted(tmp_path.rglob("*.png")) == found
    assert min(frames, STILLS // 2) <= len(found) <= STILLS
    numbers = [int(path.stem) for path in found]
    assert numbers == list(range(0, frames, max(1, numbers[1])))  # evenly, to the end


def test_classes_are_found_in_images_and_in_frames_of_clips(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stego_app.segmenter import Segmenter

    asked: list[list[tuple[int, ...]]] = []

    def fit(images: list[Path], **_options: Any) -> Any:
        asked.append([Image.open(path).size for path in images])
        fitted: Any = ColourSegmenter()
        fitted.model = SimpleNamespace(provenance={"notes": ["what was noticed"]})
        return fitted

    monkeypatch.setattr(Segmenter, "fit", fit)
    (folder / "text.mkv").write_text("no video")
    result = label(str(folder), "out", "--fit")
    assert result.exit_code == 1  # the clip that cannot be read
    assert sorted(asked[0]) == sorted([Image.open(folder / "a.png").size, *[(64, 48)] * FRAMES])
    assert "what was noticed\n" in result.output
    assert "labelled 2 of 3" in result.output
