"""``stego train`` and what follows it, through the command line, on a tiny backbone and generated images."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.artifact import ArtifactError, read_artifact, read_header, write_artifact
from models.backbone import Backbone, save_backbone
from models.errors import StegoError
from stego_app.cli import main
from stego_app.images import find_images
from stego_app.segmenter import Segmenter

FAST = ["--set", "discovery.codes=32", "--set", "discovery.steps=20", "--set", "discovery.batch=128", "--set", "discovery.fine=12"]
FAST_STEGO = ["--set", "stego.steps=12", "--set", "stego.batch=4"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEGO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def backbone_file(tiny_backbone: Backbone, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_backbone(path, tiny_backbone, precision="fp32")
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of ``stego ARGUMENTS``; 0 where it simply returns."""
    monkeypatch.setattr(sys, "argv", ["stego", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def train(monkeypatch: pytest.MonkeyPatch, images: Path, out: Path, backbone: Path, *more: object) -> int:
    return run(monkeypatch, "train", images, "--out", out, "--backbone", backbone, "--resolution", 96, *(FAST_STEGO if "stego" in more else FAST), *more)


@pytest.mark.parametrize("objective", ["auto", "stego"])
def test_training_gives_a_segmenter_and_a_report_that_opens_offline(
    objective: str, image_folder: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "t.safetensors"
    assert train(monkeypatch, image_folder, out, backbone_file, "--classes", 3, "--objective", objective) == 0
    segmenter = Segmenter.load(out)
    assert segmenter.default_classes == 3
    result = segmenter(np.asarray(Image.open(image_folder / "photo0.png")))
    assert result.labels.shape == (64, 96)
    assert set(np.unique(result.labels)) <= {0, 1, 2}
    page = (tmp_path / "t.report" / "report.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("data:image/") >= 6
    assert "classes come back with another seed" in page  # six images are too few for halves
    assert "come back in half" not in page
    summary = json.loads((tmp_path / "t.report" / "report.json").read_text())
    assert set(summary["shifts"]) == {"self", "neighbour", "random"}
    assert len(summary["classes"]) == 3
    assert read_header(out)["provenance"]["config"]["seed"] == 0


@pytest.mark.parametrize("objective", ["auto", "stego"])
def test_the_same_seed_gives_the_same_bits(objective: str, image_folder: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for number, seed in enumerate((5, 5, 6)):
        out = tmp_path / f"{number}.safetensors"
        assert (
            train(monkeypatch, image_folder, out, backbone_file, "--classes", 3, "--objective", objective, "--seed", seed, "--cache", tmp_path / str(number))
            == 0
        )
        digests.append(read_header(out)["sha256"])
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_the_stored_settings_give_the_same_file_again(image_folder: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stego_app.training_run import TrainConfig, train_segmenter

    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert train(monkeypatch, image_folder, first, backbone_file, "--classes", 4) == 0
    train_segmenter(TrainConfig.model_validate(read_header(first)["provenance"]["config"]), second)
    assert read_header(first)["sha256"] == read_header(second)["sha256"]


def test_labels_only_add_scores(image_folder: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = tmp_path / "labels"
    for path in image_folder.rglob("*.png"):
        target = labels / path.relative_to(image_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        image = np.asarray(Image.open(path))
        Image.fromarray((image[..., 2] < 150).astype(np.uint8)).save(target)
    (labels.parent / "labels" / "meta.json").write_text(json.dumps({"classes": ["sky", "rest"]}))
    without, with_labels = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert train(monkeypatch, image_folder, without, backbone_file, "--classes", 3) == 0
    assert train(monkeypatch, image_folder, with_labels, backbone_file, "--classes", 3, "--labels", labels) == 0
    assert read_header(without)["sha256"] == read_header(with_labels)["sha256"]


def test_an_interrupted_training_goes_on_to_the_same_result(image_folder: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stego_app.training import stego

    whole, resumed = tmp_path / "whole.safetensors", tmp_path / "resumed.safetensors"
    options = ["--classes", 3, "--objective", "stego", "--set", "stego.save_every=4"]
    assert train(monkeypatch, image_folder, whole, backbone_file, *options, "--cache", tmp_path / "one") == 0
    steps = iter(range(100))
    plain = stego._Trainer.step

    def interrupted(self: stego._Trainer) -> dict[str, float]:
        if next(steps) == 7:
            raise KeyboardInterrupt
        return plain(self)

    monkeypatch.setattr(stego._Trainer, "step", interrupted)
    assert train(monkeypatch, image_folder, resumed, backbone_file, *options, "--cache", tmp_path / "two") == 130
    assert not resumed.exists()
    assert train(monkeypatch, image_folder, resumed, backbone_file, *options, "--cache", tmp_path / "two") == 0
    assert next(steps) == 16  # 7 before, the interrupted one, 8 from the last saved state on: half a step cannot be saved
    assert read_header(whole)["sha256"] == read_header(resumed)["sha256"]


def test_fit_labels_a_folder_with_its_own_classes(image_folder: Path, backbone_file: Path) -> None:
    segmenter = Segmenter.fit(find_images(image_folder), classes=3, resolution=96, backbone=str(backbone_file))
    labels = [segmenter(np.asarray(Image.open(path)), crf=False).labels for path in sorted(image_folder.glob("*.png"))]
    assert len(np.unique(np.concatenate([item.ravel() for item in labels]))) == 3


def test_edits_are_kept_in_the_file_and_undone(
    image_folder: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.safetensors"
    assert train(monkeypatch, image_folder, out, backbone_file, "--classes", 4) == 0
    before = Segmenter.load(out)
    assert run(monkeypatch, "classes", out, "--rename", "0=ground", "--merge", "1,2", "--ignore", "3") == 0
    assert "ground" in capsys.readouterr().out
    edited = Segmenter.load(out)
    assert edited.class_names() == ["ground", "class 1"]
    assert edited.fingerprint != before.fingerprint
    image = np.asarray(Image.open(image_folder / "photo0.png"))
    old, new = before(image, crf=False).labels, edited(image, crf=False).labels
    agreed = {(int(a), int(b)) for a, b in zip(old.ravel(), new.ravel(), strict=True)}
    assert agreed <= {(0, 0), (1, 1), (2, 1), (3, 255), (1, 0), (2, 0), (0, 1), (3, 0), (3, 1), (1, 255), (2, 255), (0, 255)}
    assert (new[old == 0] == 0).mean() > 0.9
    assert run(monkeypatch, "classes", out, "--undo", 3) == 0
    assert Segmenter.load(out).class_names() == before.class_names()
    assert run(monkeypatch, "classes", out, "--undo", 1) == 2
    assert "only 0 edits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--classes", "many"], "--classes many"),
        (["--classes", "5000"], "classes"),
        (["--classes", "0"], "classes"),
        (["--classes", "200"], "classes 200"),
        (["--objective", "magic"], "objective"),
        (["--shifts", "moon", "--objective", "stego"], "moon"),
        (["--shifts", "quantile"], "--objective stego"),
        (["--backbone", "vit_of_the_moon"], "vit_of_the_moon"),
        (["--block", "7"], "block 7"),
        (["--device", "tpu"], "tpu"),
        (["--set", "seed"], "name=value"),
        (["--set", "discovery.magic=1"], "discovery.magic"),
        (["--layout", "mars"], "mars"),
        (["--out", "x.bin"], "x.bin"),
        (["--seed", "4294967296"], "seed"),
    ],
)
def test_bad_settings_are_one_line(
    arguments: list[str],
    text: str,
    image_folder: Path,
    backbone_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(monkeypatch, image_folder, tmp_path / "t.safetensors", backbone_file, *arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert text in last
    assert "Traceback" not in last


def test_a_place_that_cannot_be_written_to_is_told_before_the_work(
    image_folder: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder.safetensors"
    file.write_text("in the way")
    folder.mkdir()
    cases = [(file / "t.safetensors", [], "cannot be written"), (folder, [], "is a folder"), (tmp_path / "t.safetensors", ["--report", file], "is a file")]
    for out, more, text in cases:
        assert train(monkeypatch, image_folder, out, backbone_file, *more) == 2
        assert text in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "cache").exists()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_an_image_that_is_gone_at_the_end_costs_its_sample_alone(
    image_folder: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stego_app import training_run

    explanation = training_run._explanation

    def removing(*arguments: Any) -> Any:
        (image_folder / "photo0.png").unlink()
        return explanation(*arguments)

    monkeypatch.setattr(training_run, "_explanation", removing)
    assert train(monkeypatch, image_folder, tmp_path / "t.safetensors", backbone_file, "--classes", 3) == 0
    assert (tmp_path / "t.report" / "report.html").is_file()


def test_the_embedded_model_is_never_written_to_a_file_that_is_called_like_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("default").write_text("a person's own")
    assert run(monkeypatch, "classes", "default", "--rename", "0=a") == 2
    assert "'default' is built in" in capsys.readouterr().err
    assert Path("default").read_text() == "a person's own"


def test_missing_and_empty_folders(backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("absent", "empty"):
        assert train(monkeypatch, tmp_path / folder, tmp_path / "t.safetensors", backbone_file) == 2
        assert folder in capsys.readouterr().err


def test_broken_images_are_told_and_the_rest_is_used(
    image_folder: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("broken.png", "empty.png"):
        (image_folder / name).write_bytes(b"not a picture" if name == "broken.png" else b"")
    out = tmp_path / "t.safetensors"
    assert train(monkeypatch, image_folder, out, backbone_file, "--classes", 3) == 1
    told = capsys.readouterr()
    assert f"wrote {out}" in told.out
    assert re.fullmatch(rf"could not read {re.escape(str(image_folder))}/broken\.png: .+ \(and 1 more\)", told.err.strip().splitlines()[-1])
    assert Segmenter.load(out).default_classes == 3
    summary = json.loads((tmp_path / "t.report" / "report.json").read_text())
    assert [Path(path).name for path, _ in summary["failures"]] == ["broken.png", "empty.png"]


@pytest.mark.parametrize("images", [1, 2])
def test_a_handful_of_images_is_enough_and_says_what_it_cannot_know(
    images: int, image_folder: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(image_folder.glob("*.png"))[:images]:
        shutil.copy(path, few)
    out = tmp_path / "t.safetensors"
    assert train(monkeypatch, few, out, backbone_file, "--classes", 2) == 0
    notes = json.loads((tmp_path / "t.report" / "report.json").read_text())["notes"]
    assert any("image" in note for note in notes) or images > 1


def test_files_that_are_not_segmenters(backbone_file: Path, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match="this is a backbone file"):
        Segmenter.load(backbone_file)
    with pytest.raises(ArtifactError, match="no such model file"):
        Segmenter.load(tmp_path / "none.safetensors")
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"\0" * 100)
    with pytest.raises(ArtifactError, match=r"junk\.safetensors"):
        Segmenter.load(junk)
    out = tmp_path / "t.safetensors"
    assert train(monkeypatch, image_folder, out, backbone_file, "--classes", 3) == 0
    data = bytearray(out.read_bytes())
    data[-40] ^= 0xFF
    out.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="altered or damaged"):
        Segmenter.load(out)
    import torch

    write_artifact(out, "segmenter", {"shares": torch.ones(3)}, {"edits": []})
    with pytest.raises(ArtifactError, match="not complete"):
        Segmenter.load(out)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda header, _: header["clusters"].update(classes=99), "do not fit each other"),
        (lambda header, _: header["clusters"].update(temperature=-1.0), "temperature"),
        (lambda header, _: header.update(provenance=[1]), "not complete"),
        (lambda header, _: header.update(edits=[{"op": "merge", "leaves": [999]}]), "edit 'merge'"),
        (lambda header, _: header.pop("backbone"), "does not describe a backbone"),
        (lambda _, tensors: tensors["clusters.merges"].fill_(9999), "do not form a tree"),
        (lambda _, tensors: tensors.update(shares=tensors["shares"][:-1].clone()), "shares of shape"),
        (lambda _, tensors: tensors["clusters.fine"].fill_(float("nan")), "not finite"),
    ],
)
def test_a_file_whose_parts_do_not_fit_is_refused_by_name(
    change: Callable[[dict[str, Any], dict[str, Any]], object], text: str, image_folder: Path, backbone_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t.safetensors"
    Segmenter.fit(find_images(image_folder), classes=3, resolution=96, backbone=str(backbone_file)).save(out)
    tensors, header = read_artifact(out, "segmenter")
    change(header, tensors)
    write_artifact(out, "segmenter", tensors, header)
    with pytest.raises(StegoError, match=text) as raised:
        Segmenter.load(out)
    assert str(raised.value).startswith(str(out))


def test_a_header_changed_by_hand_is_refused(image_folder: Path, backbone_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.safetensors"
    Segmenter.fit(find_images(image_folder), classes=3, resolution=96, backbone=str(backbone_file)).save(out)
    data = out.read_bytes()
    assert data.count(b'\\"classes\\": 3,') >= 1
    out.write_bytes(data.replace(b'\\"classes\\": 3,', b'\\"classes\\": 4,'))
    with pytest.raises(ArtifactError, match="header does not match"):
        Segmenter.load(out)


def test_fitting_twice_never_takes_its_own_results_for_input(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = image_folder / "out"
    options = ["--fit", "--classes", 2, "--resolution", 42, "--overlays", "--jobs", 1]
    assert run(monkeypatch, "label", image_folder, out, *options) == 0
    first = {path.name: path.read_bytes() for path in (out / "labels").rglob("*.png")}
    written = (out / "manifest.jsonl").read_text()
    assert run(monkeypatch, "label", image_folder, out, *options) == 0
    assert {path.name: path.read_bytes() for path in (out / "labels").rglob("*.png")} == first
    assert (out / "manifest.jsonl").read_text() == written


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--fit", "--model", "default"], "--fit"),
        (["--seed", "3"], "--seed"),
        (["--model", "absent.safetensors"], "absent.safetensors"),
        (["--classes", "200"], "classes 200"),
        (["--device", "tpu"], "tpu"),
    ],
)
def test_bad_label_options_are_one_line(
    arguments: list[str], text: str, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "label", image_folder, tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert text in error


def test_outputs_that_cannot_be_written_are_one_line(
    image_folder: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert run(monkeypatch, "demo", "--out", blocked) == 2
    assert str(blocked) in capsys.readouterr().err
    assert train(monkeypatch, image_folder, tmp_path / "t.safetensors", backbone_file, "--classes", 3, "--report", blocked) == 2
    assert str(blocked) in capsys.readouterr().err
    assert train(monkeypatch, image_folder, blocked / "t.safetensors", backbone_file, "--classes", 3) == 2
    assert str(blocked) in capsys.readouterr().err


def test_features_computed_in_parts_are_found_by_the_training(
    image_folder: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = []
    for number in (1, 2, 3):
        assert train(monkeypatch, image_folder, tmp_path / "t.safetensors", backbone_file, "--cache", tmp_path / "cache", "--shard", f"{number}/3") == 0
        counts.append(int(re.search(rf"part {number}/3: (\d) features of 6 images are cached", capsys.readouterr().out)[1]))  # type: ignore[index]
    assert sum(counts) == 6
    assert not (tmp_path / "t.safetensors").exists()
    monkeypatch.setattr("stego_app.features.cache.extract_features", None)  # nothing is left to be computed
    assert train(monkeypatch, image_folder, tmp_path / "t.safetensors", backbone_file, "--classes", 3, "--cache", tmp_path / "cache") == 0
    assert Segmenter.load(tmp_path / "t.safetensors").default_classes == 3


@pytest.mark.parametrize("readable", [True, False])
def test_a_part_with_images_that_cannot_be_read_ends_as_a_part_of_labelling_does(
    readable: bool, image_folder: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = shutil.copytree(image_folder, tmp_path / "photos") if readable else tmp_path / "photos"
    photos.mkdir(exist_ok=True)
    (photos / "bad.png").write_bytes(b"no picture")
    assert train(monkeypatch, photos, tmp_path / "t.safetensors", backbone_file, "--cache", tmp_path / "cache", "--shard", "1/1") == 1
    told = capsys.readouterr()
    assert f"part 1/1: {6 * readable} features of {6 * readable + 1} images are cached" in told.out
    assert re.fullmatch(r"could not read \S+bad\.png: .*not an image.*", told.err.strip().splitlines()[-1])


def test_more_classes_than_the_segmenter_has(image_folder: Path, backbone_file: Path) -> None:
    segmenter = Segmenter.fit(find_images(image_folder), classes=3, resolution=96, backbone=str(backbone_file))
    with pytest.raises(StegoError, match="fine clusters; expected 1 to"):
        segmenter.table(10_000)
    with pytest.raises(StegoError, match="expected \\(height, width, 3\\)"):
        segmenter(np.zeros((4, 4), np.uint8))


def test_help_needs_no_torch() -> None:
    code = "import sys; sys.argv=['stego','--help']\nfrom stego_app.cli import main\ntry: main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_public_names_are_those_promised() -> None:
    import stego_app

    assert stego_app.__all__ == ["Segmentation", "Segmenter", "StegoError", "TrainConfig", "__version__", "read_image", "train_segmenter"]
    assert all(getattr(stego_app, name) is not None for name in stego_app.__all__)
