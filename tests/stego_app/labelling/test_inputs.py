"""Inputs of every kind: what is found, what it is called, and what is refused."""

from __future__ import annotations

import io
import shutil
import stat
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from test_label_folder import BLUE, PLAIN, RED, ColourSegmenter, halves

from models.errors import StegoError
from stego_app.formats import safe_zip
from stego_app.formats.image_file import ImageFile
from stego_app.labelling import label_images
from stego_app.labelling.inputs import find_inputs
from stego_app.labelling.manifest import read_entries
from stego_app.labelling.names import plan_inputs


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("one/a.png", "one/deep/a.png", "two/a.png", "two/b.jpg"):
        halves(tmp_path / name, RED, BLUE)
    (tmp_path / "two" / "notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*sources: str) -> list[str]:
    return [str(item.name) for item in find_inputs(sources)]


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def picture(color: tuple[int, int, int] = RED) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24), color).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        (["one"], ["a.png", "deep/a.png"]),
        (["one/a.png"], ["a.png"]),
        (["one", "two"], ["one/a.png", "one/deep/a.png", "two/a.png", "two/b.jpg"]),
        (["one/a.png", "two/a.png"], ["one/a.png", "two/a.png"]),
        (["*/a.png"], ["one/a.png", "two/a.png"]),
        (["two/*"], ["a.png", "b.jpg"]),
        (["one/**/*.png"], ["a.png", "deep/a.png"]),
        (["two/a.png", "two/a.png", "two"], ["a.png", "b.jpg"]),
        (["@list.txt"], ["one/a.png", "two/b.jpg"]),
    ],
)
def test_what_is_found_and_what_it_is_called(here: Path, sources: list[str], found: list[str]) -> None:
    (here / "list.txt").write_text(f"one/a.png\n\n{here}/two/b.jpg\n./one/a.png\n")
    assert names(*sources) == found


def test_zips_are_read_without_unpacking_and_mixed_with_folders(here: Path) -> None:
    zipped(here / "more.zip", {"x/a.png": picture(BLUE), "readme.txt": b"text", "__MACOSX/x/._a.png": b"junk", ".hidden.png": b"junk"})
    assert names("more.zip") == ["x/a.png"]
    assert names("more.zip", "two") == ["more/x/a.png", "two/a.png", "two/b.jpg"]
    before = set(here.rglob("*"))
    summary = label_images(plan_inputs(["more.zip"], here / "out"), here / "out", ColourSegmenter(), PLAIN)
    assert (summary.labelled, summary.failed) == (1, 0)
    with Image.open(here / "out" / "labels" / "x" / "a.png") as image:
        assert image.getextrema() == (2, 2)
    assert {path for path in set(here.rglob("*")) - before if "out" not in path.parts} == set()
    assert label_images(plan_inputs(["more.zip"], here / "out"), here / "out", ColourSegmenter(), PLAIN).skipped == 1
    zipped(here / "more.zip", {"x/a.png": picture(RED)})
    assert label_images(plan_inputs(["more.zip"], here / "out"), here / "out", ColourSegmenter(), PLAIN).labelled == 1


def test_a_missing_or_bad_file_of_a_list_or_zip_is_a_failure_of_its_own(here: Path) -> None:
    (here / "list.txt").write_text("two/a.png\ntwo/gone.png\n")
    summary = label_images(plan_inputs(["@list.txt"], here / "out"), here / "out", ColourSegmenter(), PLAIN)
    assert summary.labelled == 1
    assert summary.failures == (("gone.png", "cannot be read (No such file or directory)"),)
    archive = zipped(here / "bad.zip", {"a.png": picture(), "b.png": b"no image"})
    data = bytearray(archive.read_bytes())
    data[45] ^= 255  # inside the packed bytes of a.png, which no longer fit its checksum
    archive.write_bytes(data)
    summary = label_images(plan_inputs(["bad.zip"], here / "out2"), here / "out2", ColourSegmenter(), PLAIN)
    assert sorted(name for name, _ in summary.failures) == ["a.png", "b.png"]
    assert all("\n" not in reason for _, reason in summary.failures)


def test_damaged_packed_bytes_of_a_zip_are_one_failure_each(here: Path) -> None:
    for kind, start in ((zipfile.ZIP_DEFLATED, 35), (zipfile.ZIP_BZIP2, 35), (zipfile.ZIP_LZMA, 44)):  # where the packed bytes of a.png begin
        archive = here / f"{kind}.zip"
        with zipfile.ZipFile(archive, "w", kind) as made:
            for name in ("a.png", "b.png"):
                made.writestr(name, picture())
        data = bytearray(archive.read_bytes())
        data[start : start + 10] = b"\xff" * 10
        archive.write_bytes(data)
        out = here / f"out{kind}"
        summary = label_images(plan_inputs([archive], out), out, ColourSegmenter(), PLAIN)
        assert summary.labelled == 1
        ((name, reason),) = summary.failures
        assert name == "a.png"
        assert reason.startswith("cannot be read (")
        assert ImageFile(archive, "a.png").digest() == ""


def test_a_zip_that_is_replaced_by_something_else_is_a_failure_of_its_images(here: Path) -> None:
    plans = plan_inputs([zipped(here / "some.zip", {"a.png": picture()})], here / "out")
    (here / "some.zip").write_text("no zip")
    ((name, reason),) = label_images(plans, here / "out", ColourSegmenter(), PLAIN).failures
    assert (name, "not a readable zip" in reason) == ("a.png", True)


@pytest.mark.parametrize("name", ["../out.png", "/etc/a.png", "a/../../b.png", "C:/a.png", "a\\..\\b.png"])
def test_zips_that_lead_out_of_their_folder_are_refused(here: Path, name: str) -> None:
    zipped(here / "evil.zip", {"good.png": picture(), name: picture()})
    with pytest.raises(StegoError, match=r"evil.zip: member .* leads out of its folder; refused"):
        find_inputs(["evil.zip"])


def test_a_zip_of_a_version_that_cannot_be_read_is_one_clear_line(here: Path) -> None:
    data = bytearray(zipped(here / "new.zip", {"a.png": picture()}).read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 189  # version needed to extract, 18.9
    (here / "new.zip").write_bytes(data)
    with pytest.raises(StegoError, match=r"new\.zip: not a readable zip \(zip file version 18\.9\)"):
        find_inputs(["new.zip"])


def test_links_bombs_and_twins_in_zips_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(here / "link.zip", "w") as archive:
        info = zipfile.ZipInfo("a.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(StegoError, match=r"link.zip: member 'a.png' is a link"):
        find_inputs(["link.zip"])
    monkeypatch.setattr(safe_zip, "RATIO_FREE_BYTES", 100_000)
    zipped(here / "bomb.zip", {"a.png": bytes(1_000_000)})
    with pytest.raises(StegoError, match=r"bomb.zip: member 'a.png' grows from [\d,]+ to 1,000,000 bytes; refused as a zip bomb"):
        find_inputs(["bomb.zip"])
    zipped(here / "twins.zip", {"a.png": picture(), "b.png": picture()})
    (here / "twins.zip").write_bytes((here / "twins.zip").read_bytes().replace(b"b.png", b"a.png"))
    with pytest.raises(StegoError, match=r"two members are called 'a.png'"):
        find_inputs(["twins.zip"])
    monkeypatch.setattr(safe_zip, "MAX_MEMBERS", 1)
    with pytest.raises(StegoError, match="expected at most 1"):
        find_inputs(["twins.zip"])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere.jpg", "nowhere.jpg: no such folder or file; expected a folder, an image, a zip"),
        ("nowhere/*.png", r"nowhere/\*.png: no images match"),
        ("@nowhere.txt", "nowhere.txt: the list cannot be read"),
        ("@empty.txt", "empty.txt: the list is empty"),
        ("@folders.txt", "folders.txt: names the folder one"),
        ("two/notes.zip", "two/notes.zip: not a readable zip"),
        ("nothing.zip", "nothing.zip: no images in the zip"),
    ],
)
def test_bad_input_is_one_clear_line(here: Path, source: str, said: str) -> None:
    (here / "empty.txt").write_text("\n\n")
    (here / "folders.txt").write_text("one\n")
    (here / "two" / "notes.zip").write_text("no zip")
    zipped(here / "nothing.zip", {"readme.txt": b"text"})
    with pytest.raises(StegoError, match=said) as caught:
        find_inputs([source])
    assert "\n" not in str(caught.value)


def test_patterns_leave_out_results_of_an_earlier_run(here: Path) -> None:
    for out in (here / "out", here):  # beside the images, and around them
        before = [plan.name for plan in plan_inputs(["**/*.[pj]*g"], out)]
        settings = PLAIN.model_copy(update={"overlays": True})
        assert label_images(plan_inputs(["**/*.[pj]*g"], out), out, ColourSegmenter(), settings).labelled == 4
        assert [plan.name for plan in plan_inputs(["**/*.[pj]*g"], out)] == before
        assert label_images(plan_inputs(["**/*.[pj]*g"], out), out, ColourSegmenter(), settings).skipped == 4
        shutil.rmtree(here / "out", ignore_errors=True)
    (here / "list.txt").write_text("overlays/two/b.jpg\n")
    assert [plan.name for plan in plan_inputs(["@list.txt"], here)] == ["b.jpg"]  # named by the user, who will know
    with pytest.raises(StegoError, match="no images found outside the output folder"):
        plan_inputs(["o*/*/*.jpg"], here)


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        (["one"], ["a.png", "deep/a.png"]),
        (["one/**/*.png"], ["a.png", "deep/a.png"]),
        (["one/out/mine"], ["m.png"]),
        (["one/out/m*/*.png"], ["mine/m.png"]),
        (["one", "one/out/mine"], ["a.png", "deep/a.png", "out/mine/m.png"]),
        (["one", "one/out/*/*.png", "one/out/labels/a.png"], ["a.png", "deep/a.png", "out/mine/m.png"]),
    ],
)
def test_a_search_leaves_out_the_output_folder_inside_but_not_what_is_named_there(here: Path, sources: list[str], found: list[str]) -> None:
    for name in ("one/out/labels/a.png", "one/out/overlays/deep/a.jpg", "one/out/mine/m.png"):
        halves(here / name, RED, BLUE)
    if "one/out/labels/a.png" in sources:
        with pytest.raises(StegoError, match="lies where results are written"):
            plan_inputs(sources, here / "one" / "out")
        sources = sources[:-1]
    assert [plan.name for plan in plan_inputs(sources, here / "one" / "out")] == found


def test_a_list_may_begin_with_a_mark_of_its_encoding(here: Path) -> None:
    (here / "list.txt").write_bytes(b"\xef\xbb\xbfone/a.png\r\ntwo/b.jpg\r\n")
    assert names("@list.txt") == ["one/a.png", "two/b.jpg"]


def test_equal_names_of_several_sources_do_not_collide(here: Path) -> None:
    summary = label_images(plan_inputs(["one", "two", "one/a.png"], here / "out"), here / "out", ColourSegmenter(), PLAIN)
    assert summary.labelled == 4
    assert sorted(path.relative_to(here / "out" / "labels").as_posix() for path in (here / "out" / "labels").rglob("*.png")) == [
        "one/a.png",
        "one/deep/a.png",
        "two/a.png",
        "two/b.png",
    ]
    assert sorted(read_entries(here / "out")) == ["one/a.png", "one/deep/a.png", "two/a.png", "two/b.jpg"]
