"""Archives that mean harm, or are merely odd: each is refused by name before anything is unpacked, and nothing lands outside."""

from __future__ import annotations

import struct
import tempfile
import tracemalloc
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_parts import archive, photos, picture

from api.jobs.archive import ArchiveError, Limits, look_through, read_refused, unpack

LIMITS = Limits(files=50, expanded=1_000_000)


def refused(data: bytes, folder: Path, limits: Limits = LIMITS) -> ArchiveError:
    path = folder / "upload.zip"
    path.write_bytes(data)
    with pytest.raises(ArchiveError) as caught:
        look_through(path, limits)
    assert "\n" not in str(caught.value)
    assert str(folder) not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "a/../../evil.png",
        "/etc/evil.png",
        "C:/evil.png",
        "C:evil.png",
        "..\\evil.png",
        "\\\\host\\share\\evil.png",
        "a//b.png",
        "./a.png",
        "a/./b.png",
        "a/\x07.png",
        "a\nb.png",
        "a\u2028b.png",
        "x" * 201 + ".png",
        "/".join("a" * 40) + "/b.png",
    ],
)
def test_names_that_lead_elsewhere(name: str, tmp_path: Path) -> None:
    error = refused(archive({"good.png": picture(0), name: picture(1)}), tmp_path)
    assert (error.status, error.code) == (422, "unsafe_path")


def test_a_bad_name_counts_even_where_it_is_no_image(tmp_path: Path) -> None:
    assert refused(archive({"good.png": picture(0), "../evil.sh": b"#!"}), tmp_path).code == "unsafe_path"


def test_a_name_that_is_empty(tmp_path: Path) -> None:
    data = archive({"good.png": picture(0), "x.png": picture(1)}).replace(b"x.png", b"\0.png")  # names end at a zero byte
    assert refused(data, tmp_path).code == "unsafe_path"


def test_a_link(tmp_path: Path) -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = 0o120777 << 16
        target.writestr(info, "/etc/passwd")
    assert refused(buffer.getvalue(), tmp_path).code == "unsafe_path"


def test_an_encrypted_file(tmp_path: Path) -> None:
    data = bytearray(archive({"a.png": picture(0)}))
    central = data.index(b"PK\1\2")
    data[central + 8] |= 1
    assert refused(bytes(data), tmp_path).code == "encrypted"


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip at all" * 50, b"PK\5\6" + b"\0" * 3, picture(0)])
def test_what_is_no_zip(data: bytes, tmp_path: Path) -> None:
    error = refused(data, tmp_path)
    assert (error.status, error.code) == (415, "not_a_zip")


def test_an_archive_without_images(tmp_path: Path) -> None:
    assert refused(archive({}), tmp_path).code == "no_images"
    assert refused(archive({"readme.txt": b"x", ".hidden.png": picture(0), "__MACOSX/._a.png": b"x"}), tmp_path).code == "no_images"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice(tmp_path: Path) -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr("a.png", picture(0))
        target.writestr("a.png", picture(1))
    assert refused(buffer.getvalue(), tmp_path).code == "duplicate_name"
    assert refused(archive({"a.png": picture(0), "a.png/b.png": picture(1)}), tmp_path).code == "duplicate_name"


def test_too_many_files(tmp_path: Path) -> None:
    assert refused(archive({f"{number}.png": b"x" for number in range(51)}), tmp_path).code == "too_many_files"
    assert refused(archive({f"{number}.txt": b"" for number in range(5000)}), tmp_path).code == "too_many_files"


def test_a_bomb(tmp_path: Path) -> None:
    error = refused(archive({f"{number}.bmp": b"\0" * 300_000 for number in range(4)}), tmp_path)
    assert (error.status, error.code) == (413, "expands_too_far")
    assert "1,200,000 bytes once unpacked; at most 1,000,000" in str(error)


def test_a_bomb_within_the_limit_is_known_by_how_far_it_grows(tmp_path: Path) -> None:
    data = archive({"0.bmp": b"\0" * 300_000_000})
    assert len(data) < 400_000
    assert refused(data, tmp_path, Limits(files=50, expanded=10**12)).code == "expands_too_far"


def test_a_directory_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    data = archive({"a.png": picture(0)})
    end = data.rindex(b"PK\5\6")
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 2**40, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    assert refused(data[:end] + record + locator + data[end:], tmp_path).code == "too_many_files"
    claimed = bytearray(data)
    claimed[end + 12 : end + 16] = struct.pack("<L", 2**31)
    assert refused(bytes(claimed), tmp_path).code == "too_many_files"


def test_a_good_archive_is_unpacked_with_its_folders(tmp_path: Path) -> None:
    files = {**photos(4), "notes.txt": b"x", "deep\\er\\w.png": picture(9)}
    (tmp_path / "upload.zip").write_bytes(archive(files))
    steps: list[tuple[int, int]] = []
    unpack(
        tmp_path / "upload.zip", tmp_path / "input", tmp_path / "refused.json", LIMITS, max_pixels=10_000, step=lambda done, total: steps.append((done, total))
    )
    found = {path.relative_to(tmp_path / "input").as_posix(): path.read_bytes() for path in (tmp_path / "input").rglob("*.png")}
    assert found == {name.replace("\\", "/"): data for name, data in files.items() if name.endswith("png")}
    assert read_refused(tmp_path / "refused.json") == []
    assert steps == [(number, 5) for number in range(1, 6)]


@pytest.mark.parametrize(
    "name",
    [
        "Screenshot 2026-03-01 at 3.05.07\u202fPM.png",  # macOS puts a narrow space there
        "写真\u3000１.png",
        "a\u00a0b.png",
        "گربه\u200cها.png",
        "👩\u200d🌾.png",
        "Zoë – été.png",
        "10:32:05 at the gate.png",
    ],
)
def test_names_of_every_script_and_space_are_taken(name: str, tmp_path: Path) -> None:
    (tmp_path / "upload.zip").write_bytes(archive({name: picture(0)}))
    unpack(tmp_path / "upload.zip", tmp_path / "input", tmp_path / "refused.json", LIMITS, max_pixels=10_000, step=lambda *_: None)
    assert [path.name for path in (tmp_path / "input").iterdir()] == [name]


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    (tmp_path / "upload.zip").write_bytes(archive({"a.png": picture(0) + b"\0" * 40_000_000}))
    tracemalloc.start()
    try:
        unpack(tmp_path / "upload.zip", tmp_path / "input", tmp_path / "refused.json", Limits(50, 10**9), max_pixels=10_000, step=lambda *_: None)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert (tmp_path / "input" / "a.png").stat().st_size > 40_000_000


def test_files_that_cannot_be_unpacked_are_listed_and_the_others_are_not_lost(tmp_path: Path) -> None:
    data = bytearray(archive({"broken.png": picture(0), "good.png": picture(1), "large.png": picture(2, 200, 200)}, packing=zipfile.ZIP_STORED))
    data[data.index(b"IDAT") + 20] ^= 0xFF  # of the first
    (tmp_path / "upload.zip").write_bytes(data)
    (tmp_path / "input.part").mkdir()
    (tmp_path / "input.part" / "left by a killed run.png").write_bytes(b"x")
    unpack(tmp_path / "upload.zip", tmp_path / "input", tmp_path / "refused.json", LIMITS, max_pixels=10_000, step=lambda *_: None)
    assert [path.name for path in (tmp_path / "input").iterdir()] == ["good.png"]
    reasons = dict(read_refused(tmp_path / "refused.json"))
    assert set(reasons) == {"broken.png", "large.png"}
    assert "broken.png: cannot be unpacked" in reasons["broken.png"]
    assert "more than 10,000 pixels; refused before decoding" in reasons["large.png"]


@pytest.mark.parametrize(("packing", "header"), [(zipfile.ZIP_DEFLATED, 0), (zipfile.ZIP_BZIP2, 0), (zipfile.ZIP_LZMA, 9)])
def test_packed_bytes_that_are_damaged_cost_their_file_alone(packing: int, header: int, tmp_path: Path) -> None:
    data = bytearray(archive({"broken.png": picture(0), "good.png": picture(1)}, packing=packing))
    start = 40 + header  # of those of the first
    data[start : start + 10] = b"\xff" * 10
    (tmp_path / "upload.zip").write_bytes(data)
    unpack(tmp_path / "upload.zip", tmp_path / "input", tmp_path / "refused.json", LIMITS, max_pixels=10_000, step=lambda *_: None)
    assert [path.name for path in (tmp_path / "input").iterdir()] == ["good.png"]
    ((name, reason),) = read_refused(tmp_path / "refused.json")
    assert name == "broken.png"
    assert reason.startswith("broken.png: cannot be unpacked (")
    assert "None" not in reason


GOOD = archive(photos(3))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=12), st.integers(0, len(GOOD)), st.binary(max_size=40))
def test_damaged_archives_are_refused_or_unpacked_within_their_folder(changes: list[tuple[int, int]], cut: int, tail: bytes) -> None:
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "inner").mkdir()
        path = root / "inner" / "upload.zip"
        path.write_bytes(bytes(data[:cut]) + tail if cut % 7 == 0 else bytes(data))
        with suppress(ArchiveError):
            unpack(path, root / "inner" / "input", root / "inner" / "refused.json", LIMITS, max_pixels=10_000, step=lambda *_: None)
        assert [entry.name for entry in root.iterdir()] == ["inner"]
        assert {entry.name for entry in (root / "inner").iterdir()} <= {"upload.zip", "input", "input.part", "refused.json"}
        assert sum(entry.stat().st_size for entry in root.rglob("*") if entry.is_file()) < 2_000_000


def test_what_grows_beyond_its_declared_size_is_cut_there(tmp_path: Path) -> None:
    data = bytearray(archive({"a.bmp": b"BM" + b"\0" * 500_000}))
    central = data.index(b"PK\1\2")
    data[central + 24 : central + 28] = struct.pack("<L", 10)
    (tmp_path / "upload.zip").write_bytes(data)
    unpack(tmp_path / "upload.zip", tmp_path / "input", tmp_path / "refused.json", LIMITS, max_pixels=10_000, step=lambda *_: None)
    assert sum(entry.stat().st_size for entry in (tmp_path / "input").rglob("*") if entry.is_file()) <= 10
