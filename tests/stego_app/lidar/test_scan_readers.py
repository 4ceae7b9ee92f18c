"""Scan files: what is written is read back, and bad ones are named."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.errors import StegoError
from stego_app.lidar.labels import NAMES, VOID, label_path, read_classes, read_numbers, write_numbers
from stego_app.lidar.pcd import unpack_lzf
from stego_app.lidar.readers import find_scans, read_scan
from stego_app.lidar.scan import ScanError
from tests.drawn_scan import drawn_scan, write_drawn_scan

POINTS, INTENSITY, _ = drawn_scan(0)
HEAD = (
    "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z {name}\nSIZE 4 4 4 {size}\nTYPE F F F {kind}\nCOUNT 1 1 1 1\nWIDTH {count}\nHEIGHT 1\nPOINTS {count}\nDATA {data}\n"
)


def head(data: str, count: int = len(POINTS), name: str = "intensity", kind: str = "F", size: int = 4) -> bytes:
    return HEAD.format(name=name, size=size, kind=kind, count=count, data=data).encode()


def pack_lzf(raw: bytes) -> bytes:
    """Literals of up to 32 bytes, and a copy where the last 8 come again."""
    packed, place = bytearray(), 0
    while place < len(raw):
        if place >= 8 and raw[place : place + 8] == raw[place - 8 : place]:
            packed += bytes([6 << 5, 7])
            place += 8
            continue
        run = raw[place : place + 8]
        packed += bytes([len(run) - 1]) + run
        place += len(run)
    return bytes(packed)


def test_kitti(tmp_path: Path) -> None:
    path = tmp_path / "000000.bin"
    write_drawn_scan(path, 0)
    scan = read_scan(path)
    assert np.array_equal(scan.points, POINTS)
    assert np.array_equal(scan.intensity, INTENSITY)
    assert (scan.total, scan.rows.tolist()) == (len(POINTS), list(range(len(POINTS))))


def test_nuscenes(tmp_path: Path) -> None:
    path = tmp_path / "sweep.pcd.bin"
    np.column_stack([POINTS, np.round(INTENSITY * 255), np.zeros(len(POINTS))]).astype("<f4").tofile(path)
    scan = read_scan(path)
    assert np.array_equal(scan.points, POINTS)
    assert np.allclose(scan.intensity, INTENSITY, atol=0.5 / 255 + 1e-6)


def test_compact_npz(tmp_path: Path) -> None:
    path = tmp_path / "scan.npz"
    np.savez_compressed(path, xyz_5mm=np.round(POINTS / 0.005).astype(np.int16), intensity=np.round(INTENSITY * 255).astype(np.uint8))
    scan = read_scan(path)
    assert np.allclose(scan.points, POINTS, atol=0.0026)
    assert np.allclose(scan.intensity, INTENSITY, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
def test_pcd(data: str, tmp_path: Path) -> None:
    path = tmp_path / "scan.pcd"
    table = np.column_stack([POINTS, INTENSITY]).astype("<f4")
    if data == "ascii":
        body = "\n".join(" ".join(repr(float(value)) for value in row) for row in table).encode()
    elif data == "binary":
        body = table.tobytes()
    else:
        columns = table.T.tobytes()
        packed = pack_lzf(columns)
        body = struct.pack("<II", len(packed), len(columns)) + packed
    path.write_bytes(head(data) + body)
    scan = read_scan(path)
    assert np.array_equal(scan.points, POINTS)
    assert np.array_equal(scan.intensity, INTENSITY)


def test_pcd_of_an_organised_cloud_with_gaps_padding_and_bytes_of_intensity(tmp_path: Path) -> None:
    record = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("pad", "u1", (4,)), ("i", "u1")])
    table = np.zeros(5, record)
    for axis, values in zip("xyz", POINTS[:5].T, strict=True):
        table[axis] = values
    table["i"] = [0, 51, 102, 153, 255]
    table["x"][2] = np.nan
    path = tmp_path / "cloud.pcd"
    text = "FIELDS x y z _ i\nSIZE 4 4 4 1 1\nTYPE F F F U U\nCOUNT 1 1 1 4 1\nWIDTH 5\nHEIGHT 1\nDATA binary\n"
    path.write_bytes(text.encode() + table.tobytes())
    scan = read_scan(path)
    assert (scan.total, scan.rows.tolist()) == (5, [0, 1, 3, 4])
    assert np.array_equal(scan.points, POINTS[[0, 1, 3, 4]])
    assert np.allclose(scan.intensity, [0, 0.2, 0.6, 1])


def test_lzf_copies_may_overlap_what_they_write() -> None:
    assert unpack_lzf(bytes([0, 7, (5 << 5), 0]), 8) == bytes([7] * 8)
    assert unpack_lzf(bytes([1, 1, 2, (7 << 5), 3, 1]), 14) == bytes([1, 2] * 7)
    with pytest.raises(ValueError, match="before the beginning"):
        unpack_lzf(bytes([0, 7, (5 << 5), 9]), 8)


def bad(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ScanError) as caught:
        read_scan(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


BINARY = np.column_stack([POINTS, INTENSITY]).astype("<f4")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.bin", b"", "an empty scan"),
        ("a.bin", BINARY.tobytes()[:-3], "are not rows of 4 float32 (x y z intensity); the file is cut off"),
        ("a.bin", np.full((2, 4), np.nan, "<f4").tobytes(), "2 of 2 points are not finite numbers"),
        ("a.bin", (BINARY * 1e5).tobytes(), "expected metres within 5000 of the sensor"),
        ("a.pcd.bin", BINARY[:7].tobytes(), "are not rows of 5 float32 (x y z intensity ring)"),
        ("a.npz", b"PK nonsense", "not a scan"),
        ("a.ply", b"ply", "expected a name that ends in .pcd.bin, .bin, .pcd, .npz"),
        ("a.pcd", b"VERSION 0.7\n", "not a PCD file, or cut off"),
        ("a.pcd", head("binary") + BINARY.tobytes()[:-1], "the file is cut off"),
        ("a.pcd", head("ascii", 3) + b"1 2 3 4\n1 2 3 4\n", "2 rows of 4 numbers; expected 3 rows of 4"),
        ("a.pcd", head("ascii", 1) + b"1 2 three 4\n", "its points cannot be read"),
        ("a.pcd", head("binary_compressed", 2) + struct.pack("<II", 3, 32) + b"\xe0\x01\x01", "its compressed data are damaged"),
        ("a.pcd", head("binary_compressed", 2) + struct.pack("<II", 3, 30) + b"\xe0\x01\x01", "the header does not fit the data"),
        ("a.pcd", head("lzma"), "DATA lzma"),
        ("a.pcd", head("binary", kind="Q") + BINARY.tobytes(), "its PCD header cannot be read"),
        ("a.pcd", head("binary").replace(b"x y z", b"a b c") + BINARY.tobytes(), "no field 'x'"),
        ("a.pcd", head("binary", 0), "an empty scan"),
    ],
)
def test_bad_files_by_name(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    bad(tmp_path, name, content, message)


def test_an_npz_whose_packed_bytes_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "whole.npz"
    np.savez_compressed(path, xyz_5mm=np.round(POINTS / 0.005).astype(np.int16), intensity=np.round(INTENSITY * 255).astype(np.uint8))
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("xyz_5mm.npy").header_offset + 30 + len("xyz_5mm.npy") + 20  # 20: the field for sizes beyond 4 GiB, which NumPy always writes
    data = bytearray(path.read_bytes())
    data[start] = 0xFF  # a kind of block that deflate does not have
    bad(tmp_path, "a.npz", bytes(data), "not a scan (Error -3")


def test_an_npz_of_other_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, xyz_5mm=np.zeros((4, 2), np.int16), intensity=np.zeros(4, np.uint8))
    with pytest.raises(ScanError, match=r"'xyz_5mm' \(4, 2\) int16 .* expected \(N, 3\) int16"):
        read_scan(path)
    with path.open("wb") as file:
        np.save(file, np.zeros((4, 3), np.int16))
    with pytest.raises(ScanError, match="expected an npz of 'xyz_5mm'"):
        read_scan(path)
    np.savez(path, points=np.zeros((4, 3)))
    with pytest.raises(ScanError, match="expected an npz of 'xyz_5mm'"):
        read_scan(path)


def test_scans_of_a_folder(tmp_path: Path) -> None:
    for name in ("b/2.bin", "a/1.bin", "a/.hidden.bin"):
        write_drawn_scan(tmp_path / name, 0)
    (tmp_path / "a" / "poses.txt").write_text("1")
    assert [path.name for path in find_scans(tmp_path)] == ["1.bin", "2.bin"]
    assert find_scans(tmp_path / "a" / "1.bin") == [tmp_path / "a" / "1.bin"]
    with pytest.raises(StegoError, match="nowhere: no such folder or scan"):
        find_scans(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StegoError, match="empty: no lidar scans in this folder"):
        find_scans(tmp_path / "empty")


def test_label_files(tmp_path: Path) -> None:
    scan = tmp_path / "velodyne" / "000001.bin"
    write_drawn_scan(scan, 0)
    assert label_path(scan) is None
    path = tmp_path / "labels" / "000001.label"
    numbers = np.array([40, 252 | 7 << 16, 0, 99, 81], np.uint32)
    write_numbers(path, numbers)
    assert label_path(scan) == path
    assert np.array_equal(read_numbers(path, 5), numbers)
    found = read_classes(path, 5)
    assert [NAMES[number] if number != VOID else None for number in found] == ["road", "car", None, None, "traffic-sign"]
    with pytest.raises(ScanError, match="20 bytes; expected a uint32 for each of the 6 points"):
        read_classes(path, 6)


@pytest.mark.parametrize(("counts", "field"), [("3 1 1 1", "x"), ("1 1 1 2", "intensity")])
def test_a_coordinate_of_several_numbers_is_named(counts: str, field: str, tmp_path: Path) -> None:
    width = sum(map(int, counts.split()))
    header = f"VERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT {counts}\nWIDTH 2\nHEIGHT 1\nPOINTS 2\nDATA ascii\n"
    (tmp_path / "a.pcd").write_text(header + 2 * (" ".join(["1"] * width) + "\n"))
    with pytest.raises(ScanError, match=rf"a\.pcd: field '{field}' has \d numbers a point"):
        read_scan(tmp_path / "a.pcd")


@pytest.mark.parametrize("value", ["400", "nan", "-1"])
def test_a_number_that_does_not_fit_its_field_is_named(value: str, tmp_path: Path) -> None:
    header = "VERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 1\nTYPE F F F U\nWIDTH 2\nHEIGHT 1\nPOINTS 2\nDATA ascii\n"
    (tmp_path / "a.pcd").write_text(f"{header}1 2 3 255\n1 2 4 {value}\n")
    with pytest.raises(ScanError, match=r"field 'intensity' holds numbers that its TYPE and SIZE cannot \(uint8: 0 to 255\)"):
        read_scan(tmp_path / "a.pcd")
