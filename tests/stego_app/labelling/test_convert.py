"""``stego convert``: from one format to another and back, and input that is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_label_folder import BLUE, GREEN, RED, ColourSegmenter, halves
from typer.testing import CliRunner

from models.errors import StegoError
from stego_app.cli import app
from stego_app.formats.registry import formats
from stego_app.labelling import LabelSettings, label_folder
from stego_app.labelling.convert import convert

EXACT = [name for name, entry in formats().items() if entry.read is not None and entry.exact]


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    halves(photos / "a.png", RED, BLUE)
    halves(photos / "deep" / "b.jpg", GREEN, BLUE)
    label_folder(photos, tmp_path / "labelled", ColourSegmenter(), LabelSettings(crf=False, jobs=1, abstain=0.4))
    return tmp_path / "labelled"


def maps(root: Path) -> dict[str, np.ndarray]:
    return {path.relative_to(root / "labels").as_posix(): np.asarray(Image.open(path)) for path in sorted((root / "labels").rglob("*.png"))}


@pytest.mark.parametrize("name", EXACT)
def test_there_and_back(name: str, labelled: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    count, written = convert(labelled, there, None, [name, "overlay"], images=str(tmp_path / "photos"))
    assert (count, written[0]) == (2, there / formats()[name].product)
    assert (there / "overlays" / "deep" / "b.jpg").is_file()
    convert(written[0], back, name, ["png"])
    before, after = maps(labelled), maps(back)
    assert list(after) == list(before)
    assert all(np.array_equal(after[key], before[key]) for key in before)
    classes, again = (json.loads((root / "classes.json").read_text())["classes"] for root in (labelled, back))
    assert [entry["color"] for entry in again] == [entry["color"] for entry in classes]
    assert [entry["pixels"] for entry in again] == [entry["pixels"] for entry in classes]
    assert [entry["name"].replace("_", ",") for entry in again] == [entry["name"] for entry in classes]


def test_names_of_images_come_back_from_a_folder_of_index_pngs(labelled: Path, tmp_path: Path) -> None:
    convert(labelled, tmp_path / "one", None, ["coco"])
    convert(tmp_path / "one" / "coco.json", tmp_path / "hub", "coco", ["png"])
    convert(tmp_path / "hub", tmp_path / "two", None, ["coco"])
    assert (tmp_path / "two" / "coco.json").read_bytes() == (tmp_path / "one" / "coco.json").read_bytes()


def test_label_maps_of_other_classes_in_a_folder_that_was_converted_to_before_are_not_taken(labelled: Path, tmp_path: Path) -> None:
    convert(labelled, tmp_path / "hub", None, ["png"])
    convert(coco(tmp_path / "in.json", "x.png"), tmp_path / "hub", "coco", ["png"])
    assert convert(tmp_path / "hub", tmp_path / "there", None, ["coco"])[0] == 1
    assert (tmp_path / "hub" / "labels" / "a.png").is_file()


def test_label_maps_of_an_earlier_model_are_not_taken_for_those_of_the_classes_listed(labelled: Path, tmp_path: Path) -> None:
    (tmp_path / "photos" / "a.png").unlink()
    label_folder(tmp_path / "photos", labelled, ColourSegmenter("model-two"), LabelSettings(crf=False, jobs=1))
    assert (labelled / "labels" / "a.png").is_file()  # of the model before
    count, _ = convert(labelled, tmp_path / "there", None, ["coco"])
    assert count == 1
    assert [image["file_name"] for image in json.loads((tmp_path / "there" / "coco.json").read_text())["images"]] == ["deep/b.jpg"]


def test_label_maps_of_an_earlier_model_alone_are_refused(labelled: Path, tmp_path: Path) -> None:
    for photo in (tmp_path / "photos").rglob("*.??g"):
        photo.write_bytes(b"no picture any more")
    (labelled / "manifest.jsonl").rename(tmp_path / "kept.jsonl")
    label_folder(tmp_path / "photos", labelled, ColourSegmenter("model-two"), LabelSettings(crf=False, jobs=1))
    (tmp_path / "kept.jsonl").rename(labelled / "manifest.jsonl")
    with pytest.raises(StegoError, match=r"are of another model or other settings than classes\.json"):
        convert(labelled, tmp_path / "there", None, ["coco"])


def test_from_one_tool_to_another_with_images_found_by_name(labelled: Path, tmp_path: Path) -> None:
    convert(labelled, tmp_path / "voc", None, ["voc"])
    # VOC keeps names without suffix; the images are found all the same.
    count, _ = convert(tmp_path / "voc" / "voc.zip", tmp_path / "yolo", "voc", ["yolo", "coco"], images=str(tmp_path / "photos"))
    assert count == 2
    # The suffix in VOC's place is one of a label map; YOLO's images are the photos themselves.
    assert (tmp_path / "yolo" / "yolo" / "images" / "a.png").read_bytes() == (tmp_path / "photos" / "a.png").read_bytes()
    convert(tmp_path / "yolo" / "yolo", tmp_path / "back", "yolo", ["png"])
    assert all(np.array_equal(one, other) for one, other in zip(maps(labelled).values(), maps(tmp_path / "back").values(), strict=True))


def test_a_folder_of_plain_index_pngs_is_read(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [3, 255]], np.uint8))
    picture.putpalette([10, 20, 30, 40, 50, 60, *([0] * 762)])
    (tmp_path / "in").mkdir()
    picture.save(tmp_path / "in" / "x.png")
    convert(tmp_path / "in", tmp_path / "out", "png", ["coco"])
    document = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [entry["name"] for entry in document["categories"]] == ["class 0", "class 1", "class 2", "class 3"]
    assert document["categories"][1]["color"] == [40, 50, 60]
    assert [entry["category_id"] for entry in document["annotations"]] == [1, 2, 4]


def coco(path: Path, name: str, **image: object) -> Path:
    entry = {"id": 1, "file_name": name, "width": 4, "height": 3, **image}
    mask = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 3, 0, 3, 2]]}
    path.write_text(json.dumps({"categories": [{"id": 1, "name": "x"}], "images": [entry], "annotations": [mask]}))
    return path


@pytest.mark.parametrize("name", ["../../evil.png", "/tmp/evil.png", "C:\\evil.png", "a/../../evil.png"])
def test_names_that_lead_out_of_the_output_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match="leads out of its folder; refused"):
        convert(coco(tmp_path / "in.json", name), tmp_path / "out", "coco", ["labelme"])


@pytest.mark.parametrize(("width", "said"), [(10**12, "expected 1 to 4,000,000,000"), (-4, "'width': -4; expected a whole number"), ("4", "'width': '4'")])
def test_impossible_sizes_are_refused(width: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(StegoError, match=said):
        convert(coco(tmp_path / "in.json", "a.png", width=width), tmp_path / "out", "coco", ["labelme"])


def test_polygons_of_others_are_painted(tmp_path: Path) -> None:
    convert(coco(tmp_path / "in.json", "a.png"), tmp_path / "out", "coco", ["png"])
    assert np.asarray(Image.open(tmp_path / "out" / "labels" / "a.png"))[0, 1] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["photos", "out", "--to", "coco"], "photos: is no output folder of `stego label`; name its format by --from"),
        (["labelled", "out", "--to", "pdf"], "format 'pdf': unknown"),
        (["labelled", "out", "--from", "overlay", "--to", "coco"], "--from overlay: holds no label maps"),
        (["labelled", "labelled", "--to", "png"], "would write over what is read"),
        (["nowhere", "out", "--to", "yolo"], "nowhere: no such folder or file"),
        (["labelled", "out", "--to", "yolo"], "needs the image itself; name its folder by --images"),
        (["labelled", "photos/a.png", "--to", "coco"], "photos/a.png: is a file; expected a folder"),
        (["gone.json", "out", "--from", "coco", "--to", "png"], "gone.json: no such file"),
        (["labelled", "out"], "Missing option '--to'"),
    ],
)
def test_bad_requests_are_one_clear_line(labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str) -> None:
    del labelled
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["convert", *arguments])
    assert result.exit_code != 0
    assert said in result.output + str(result.exception)


def test_the_command_says_what_it_wrote(labelled: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["convert", str(labelled), str(tmp_path / "out"), "--to", "coco", "--to", "voc", "--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert f"converted 2 label maps; wrote {tmp_path / 'out' / 'coco.json'}, {tmp_path / 'out' / 'voc.zip'}" in result.output
