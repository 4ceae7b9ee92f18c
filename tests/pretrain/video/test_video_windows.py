"""Windows of clips and how they are sampled; clips that cannot be learnt from, by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_clip import counted, jpeg_stream, moving_square, write_clip

from models.errors import StegoError
from pretrain.augment import Crop
from pretrain.video.views import centre_clip, clip_view, coloured_view
from pretrain.video.windows import ClipShape, open_clips, read_window
from stego_app.video.reading import VideoError, open_video, probe_video

SHAPE = ClipShape(frames=4, fps=5)


def grey_numbers(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean()) / 6) for frame in frames]


@pytest.mark.parametrize(("fps", "wanted"), [(10.0, [0, 2, 4, 6, 8]), (25.0, [0, 5, 10, 15, 20]), (5.0, [0, 1, 2, 3, 4])])
def test_frames_are_sampled_by_their_time_whatever_the_rate(fps: float, wanted: list[int], tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.avi", counted(round(fps)), fps)
    [window] = open_clips([path], SHAPE).windows
    assert window.name == str(path)
    assert grey_numbers(read_window(window, SHAPE, 16)) == wanted


def test_a_long_clip_is_cut_into_windows_that_follow_one_another(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.avi", counted(42), 10.0)  # 21 samples at 5 a second: two windows of at least 8
    windows = open_clips([tmp_path], SHAPE).windows
    assert [window.name for window in windows] == [f"{path}#0", f"{path}#1"]
    found = [grey_numbers(read_window(window, SHAPE, 16)) for window in windows]
    assert found[0] + found[1] == list(range(0, 42, 2))


def test_windows_are_shrunk_and_views_cut_alike_from_all_frames(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.avi", [np.repeat(np.arange(96, dtype=np.uint8)[None, :, None] * 2, 48, 0).repeat(3, 2)] * 12, 5.0)
    [window] = open_clips([path], SHAPE).windows
    frames = read_window(window, SHAPE, 24)
    assert frames.shape == (12, 24, 48, 3)
    view, box, flipped = clip_view(frames, 4, Crop(16, (0.3, 1.0)), np.random.default_rng(3))
    assert view.shape == (4, 3, 16, 16)
    assert view.dtype == torch.uint8
    assert all(torch.equal(frame, view[0]) for frame in view)
    ramp = view[0, 0].float().mean(0)
    ramp = ramp.flip(0) if flipped else ramp
    assert 0 <= box[0] < box[2] <= 1
    assert float(ramp[0]) == pytest.approx(box[0] * 192, abs=10)
    assert float(ramp[-1]) == pytest.approx(box[2] * 192, abs=10)
    assert centre_clip(frames, 4, 16).shape == (4, 3, 16, 16)


def test_all_frames_of_a_coloured_view_change_their_colours_by_one_affine_map() -> None:
    frames = np.random.default_rng(0).integers(90, 166, (6, 30, 40, 3), dtype=np.uint8)  # far from black and white, where colours would be cut
    plain, changed = (Crop(16, (0.3, 1.0), jitter=jitter, brightness=0.2, contrast=0.2) for jitter in (0.0, 1.0))
    view, _, _ = clip_view(frames, 4, plain, np.random.default_rng(3))
    assert torch.equal(coloured_view(frames, 4, plain, np.random.default_rng(3)), view)
    coloured = coloured_view(frames, 4, changed, np.random.default_rng(3))
    assert coloured.shape == view.shape == (4, 3, 16, 16)
    before, after = (one.permute(0, 2, 3, 1).reshape(-1, 3).double().numpy() for one in (view, coloured))
    first = len(before) // 4
    fitted, *_ = np.linalg.lstsq(np.c_[before[:first], np.ones(first)], after[:first], rcond=None)
    assert np.abs(np.c_[before, np.ones(len(before))] @ fitted - after).max() < 1.0  # rounding
    assert np.abs(after - before).mean() > 2


def test_clips_that_cannot_be_learnt_from_are_listed_by_name(tmp_path: Path) -> None:
    write_clip(tmp_path / "good.avi", moving_square(20), 10.0)
    write_clip(tmp_path / "short.avi", moving_square(3), 10.0)
    write_clip(tmp_path / "slow.avi", moving_square(20), 3.0)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video")
    source = open_clips([tmp_path], SHAPE)
    assert [Path(window.name).name for window in source.windows] == ["good.avi#0", "good.avi#1"][: len(source.windows)] or len(source.windows) == 1
    reasons = {path.name: reason for path, reason in source.skipped.items()}
    assert set(reasons) == {"short.avi", "slow.avi", "empty.mp4", "text.mp4"}
    assert "short.avi: too short: 3 frames, 0.30 s; 4 frames at 5 a second take 0.60 s" in reasons["short.avi"]
    assert "slow.avi: 3 frames a second; expected at least the 5 that are sampled" in reasons["slow.avi"]
    assert "empty.mp4: the file is empty (0 bytes)" in reasons["empty.mp4"]
    assert "text.mp4: not a video, damaged, or of a kind this FFmpeg has no decoder for" in reasons["text.mp4"]


def test_frames_of_changing_size_are_brought_to_that_of_the_first(tmp_path: Path) -> None:
    path = jpeg_stream(tmp_path / "v.mjpeg", [*moving_square(8), *moving_square(8, 96, 128)])
    with open_video(path) as video:
        frames = [frame.image for frame in video.frames()]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 16
    assert np.abs(frames[8].astype(int) - frames[0]).mean() < 40  # the whole picture, not a part of it


def test_clips_that_end_early_are_named(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "w.avi", moving_square(40))
    (tmp_path / "cut.avi").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"cut\.avi: (ends after \d+ of the 40 frames|not a video|no frame)"), open_video(tmp_path / "cut.avi") as video:
        list(video.frames())


def test_nothing_to_learn_from_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StegoError, match="no such folder"):
        open_clips([tmp_path / "none"], SHAPE)
    with pytest.raises(StegoError, match="no clips found"):
        open_clips([tmp_path], SHAPE)
    write_clip(tmp_path / "short.avi", moving_square(3), 10.0)
    with pytest.raises(StegoError, match=r"none of 1 clips can be learnt from; the first: .*short\.avi: too short"):
        open_clips([tmp_path], SHAPE)
    with pytest.raises(VideoError, match="is a folder"):
        probe_video(tmp_path)


def test_a_clip_that_does_not_declare_its_frames_is_counted_and_its_windows_follow_one_another(tmp_path: Path) -> None:
    path = jpeg_stream(tmp_path / "c.mjpeg", counted(42))
    assert probe_video(path).frames == 0
    shape = ClipShape(frames=4, fps=probe_video(path).fps / 2)
    windows = open_clips([path], shape).windows
    assert [window.name for window in windows] == [f"{path}#0", f"{path}#1"]
    found = [grey_numbers(read_window(window, shape, 16)) for window in windows]
    assert found[0] + found[1] == list(range(0, 42, 2))
