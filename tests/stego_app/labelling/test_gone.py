"""Results of images that are gone, or have become others: said, removed where asked for, and never taken for those of what is there now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drawn_clip import moving_square, write_clip
from test_label_folder import BLUE, GREEN, PLAIN, RED, ColourSegmenter, halves
from typer.testing import CliRunner, Result

from models.errors import StegoError
from stego_app.cli import app
from stego_app.labelling import LabelSettings, LabelSummary, label_folder, label_images
from stego_app.labelling.convert import convert
from stego_app.labelling.manifest import Manifest, read_entries
from stego_app.labelling.names import plan_inputs

ALL = LabelSettings(crf=False, jobs=1, overlays=True, confidence=True, formats=("yolo", "labelme", "coco"))


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few images need none, and to start them takes longer than all the rest."""
    monkeypatch.setattr("stego_app.labelling.export._FEW", 100)
    monkeypatch.setattr("stego_app.labelling.clip.FEW", 100)
    monkeypatch.setattr("stego_app.labelling.labeller.FEW", 100)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    halves(root / "a.png", RED, BLUE)
    halves(root / "deep" / "er" / "b.png", GREEN, BLUE)
    halves(root / "c.bmp", BLUE, RED)
    return root


def label(photos: Path, out: Path, settings: LabelSettings = PLAIN, *, prune: bool = False) -> LabelSummary:
    return label_images(plan_inputs([photos], out), out, ColourSegmenter(), settings, prune=prune)


def files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))


def test_what_there_is_of_other_images_is_said_and_stays(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert label(photos, out).gone == 0
    (photos / "deep" / "er" / "b.png").unlink()
    summary = label(photos, out)
    assert summary.gone == 1
    assert "; results of 1 other image from earlier runs are there too (--prune removes them)" in str(summary)
    assert (out / "labels" / "deep" / "er" / "b.png").is_file()
    assert convert(out, tmp_path / "there", None, ["coco"])[0] == 3
    halves(photos / "deep" / "er" / "b.png", GREEN, BLUE)
    assert (label(photos, out).skipped, label(photos, out).gone) == (3, 0)


def test_pruning_leaves_what_a_run_without_these_images_leaves(photos: Path, tmp_path: Path) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    write_clip(photos / "deep" / "clip.avi", moving_square(5), 10.0)
    halves(photos / "deep" / "d.png", RED, RED)
    label(photos, out, ALL)
    (out / "labels" / "mine.txt").write_text("mine")
    for state in (".tiles/0123456789abcdef/row-00000.npz", ".clips/0123456789abcdef.npz"):  # as of a raster and a clip that were interrupted, and removed since
        (out / state).parent.mkdir(parents=True)
        (out / state).touch()
    for name in ("a.png", "deep/er/b.png", "deep/clip.avi"):
        (photos / name).unlink()
    summary = label(photos, out, ALL, prune=True)
    assert "; removed the results of 3 other images" in str(summary)
    label(photos, fresh, ALL)
    assert files(out) == sorted([*files(fresh), "labels/mine.txt"])
    assert read_entries(out) == read_entries(fresh)
    assert label(photos, out, ALL, prune=True).gone == 0
    assert convert(out, tmp_path / "there", None, ["coco"])[0] == 2


def test_an_image_renamed_to_one_whose_label_map_has_its_name_is_not_told_twice(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    halves(photos / "a.png", RED, BLUE)
    label(photos, out, ALL)
    halves(photos / "a.bmp", BLUE, GREEN)
    (photos / "a.png").unlink()
    assert label(photos, out, ALL, prune=True).gone == 0
    assert list(read_entries(out)) == ["a.bmp"]
    assert (out / "labels" / "a.png").is_file()
    label(photos, tmp_path / "fresh", ALL)
    assert files(out) == files(tmp_path / "fresh")


def test_one_image_of_many_leaves_the_others(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label(photos, out)
    assert label(photos / "a.png", out).gone == 2
    assert label(photos, out).skipped == 3


def test_an_image_that_became_unreadable_leaves_no_label_map_of_what_it_was(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label(photos, out, ALL)
    (photos / "a.png").write_bytes(b"no image")
    assert label(photos, out, ALL).failed == 1
    assert not [name for name in files(out) if Path(name).stem == "a"]


def test_an_image_that_fails_though_it_is_the_same_keeps_what_it_had_but_not_in_formats(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label(photos, out, ALL)
    for _ in range(2):
        label_folder(photos, out, ColourSegmenter("model-two", refuse=[(48, 64)]), ALL)
        assert [name for name in files(out) if Path(name).stem == "a"] == ["confidence/a.png", "labels/a.png", "overlays/a.jpg"]


def test_an_image_that_cannot_be_read_for_a_while_is_not_labelled_again(photos: Path, tmp_path: Path) -> None:
    out, listed = tmp_path / "out", tmp_path / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in sorted(photos.rglob("*.[pb]*"))))

    def run() -> LabelSummary:
        return label_images(plan_inputs([f"@{listed}"], out), out, ColourSegmenter(), PLAIN)

    assert run().labelled == 3
    photos.rename(tmp_path / "away")
    for _ in range(2):
        assert (run().failed, run().gone) == (3, 0)
    (tmp_path / "away").rename(photos)
    summary = run()
    assert (summary.labelled, summary.skipped) == (0, 3)


@pytest.mark.parametrize("now", ["shorter", "broken"])
def test_a_clip_that_became_another_leaves_no_frames_of_what_it_was(now: str, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    halves(photos / "a.png", RED, BLUE)
    write_clip(photos / "clip.avi", moving_square(9), 10.0)
    label(photos, out, ALL)
    if now == "shorter":
        write_clip(photos / "clip.avi", moving_square(4), 10.0)
    else:
        (photos / "clip.avi").write_bytes(b"no clip")
    assert label(photos, out, ALL).failed == (now == "broken")
    frames = 4 if now == "shorter" else 0
    for folder in ("labels", "confidence", "frames", "labelme", "yolo/labels"):
        assert len(list((out / folder / "clip.avi").glob("*"))) == frames
    assert convert(out, tmp_path / "there", None, ["coco"])[0] == 1 + frames
    images = [image["file_name"] for image in json.loads((tmp_path / "there" / "coco.json").read_text())["images"]]
    assert images == [image["file_name"] for image in json.loads((out / "coco.json").read_text())["images"]]


def test_a_run_that_is_killed_at_the_end_of_a_clip_leaves_no_frames_of_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    write_clip(photos / "clip.avi", moving_square(6), 10.0)
    label(photos, out)
    write_clip(photos / "clip.avi", moving_square(3), 10.0)
    append = Manifest._append

    def killed(manifest: Manifest, line: str) -> None:
        append(manifest, line)
        if '"status": "clip"' in line:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "_append", killed)
        with pytest.raises(KeyboardInterrupt):
            label(photos, out)
    label(photos, out)
    assert len(list((out / "labels" / "clip.avi").iterdir())) == 3


def test_a_manifest_from_elsewhere_removes_nothing_outside_the_folders_of_results(photos: Path, tmp_path: Path) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine.png"
    label(photos, out)
    mine.write_bytes(b"mine")
    (out / "notes.png").write_bytes(b"mine")
    with Manifest(out) as manifest:
        line = next(iter(manifest.entries.values()))
    lines = [{"image": f"gone{number}.png", "label": label} for number, label in enumerate(["../mine.png", str(mine), "labels/../../mine.png", "notes.png"])]
    with (out / "manifest.jsonl").open("a") as file:
        for values in lines:
            file.write(json.dumps({"sha256": line.sha256, "model": line.model, "settings": line.settings, "status": "done", **values}) + "\n")
    label(photos, out, prune=True)
    assert mine.is_file()
    assert (out / "notes.png").is_file()


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["label", "--no-crf", "--jobs", "1", *arguments])


def test_the_command_prunes_and_says_first_what_it_would(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stego_app.commands.label._load", lambda *_: ColourSegmenter())
    out = tmp_path / "out"
    command(str(photos), str(out))
    (photos / "a.png").unlink()
    told = command(str(photos), str(out), "--prune", "--dry-run").output
    assert "a.png: its results would be removed" in told
    assert (out / "labels" / "a.png").is_file()
    assert "removed the results of 1 other image" in command(str(photos), str(out), "--prune").output
    assert not (out / "labels" / "a.png").exists()
    for other in (["--watch"], ["--shard", "1/2"]):
        result = command(str(photos), str(out), "--prune", *other)
        assert isinstance(result.exception, StegoError)
        assert "--prune belongs to a run of the whole" in str(result.exception)
