"""PCD files, version 0.7 of the Point Cloud Library: ascii, binary and binary_compressed."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stego_app.lidar.scan import Floats, Scan, ScanError, checked_scan

_KINDS = {"F": "f", "I": "i", "U": "u"}
_INTENSITY = ("intensity", "i", "reflectivity", "reflectance")
_LONGEST_HEADER = 4096


@dataclass(frozen=True)
class PcdHeader:
    """What the text at the head of a file says: the point's record, the number of points, how they are stored, and where."""

    record: np.dtype[np.void]
    points: int
    data: str
    offset: int


def read_pcd(path: Path, raw: bytes) -> Scan:
    """Fields ``x y z`` and ``intensity`` (0 where there is none); intensities above 1 are taken for 0 to 255. Points of NaN are missing returns.

    Raises:
        ScanError: a damaged header, missing fields or such of several numbers, too few bytes, or see `checked_scan`.
    """
    header = parse_header(raw, str(path))
    table = _rows(raw[header.offset :], header, str(path))
    names = {str(name).lower(): str(name) for name in header.record.names or ()}
    missing = [axis for axis in "xyz" if axis not in names]
    if missing:
        raise ScanError(f"{path}: no field '{missing[0]}'; expected x, y and z among FIELDS")
    field = next((names[name] for name in _INTENSITY if name in names), None)
    for name in (*(names[axis] for axis in "xyz"), *([] if field is None else [field])):
        if table[name].ndim > 1:
            raise ScanError(f"{path}: field '{name}' has {table[name].shape[1]} numbers a point (COUNT); expected one")
    points = np.stack([table[names[axis]].astype(np.float32) for axis in "xyz"], axis=1)
    intensity: Floats = np.zeros(len(points), np.float32) if field is None else table[field].astype(np.float32)
    if len(intensity) and np.nanmax(intensity, initial=0.0) > 1:
        intensity = intensity / np.float32(255)
    return checked_scan(str(path), points, intensity, gaps=True)


def parse_header(raw: bytes, name: str) -> PcdHeader:
    """The header of a file's bytes.

    Raises:
        ScanError: names the line that is missing or wrong.
    """
    end = raw.find(b"\nDATA ", 0, _LONGEST_HEADER)
    stop = raw.find(b"\n", end + 1)
    if end < 0 or stop < 0:
        raise ScanError(f"{name}: not a PCD file, or cut off; expected a header that ends with DATA")
    lines = [line.split() for line in raw[:stop].decode("ascii", "replace").splitlines() if line.strip() and not line.startswith("#")]
    values = {line[0].upper(): line[1:] for line in lines}
    try:
        fields, kinds = values["FIELDS"], values["TYPE"]
        sizes = [int(size) for size in values["SIZE"]]
        counts = [int(count) for count in values.get("COUNT", ["1"] * len(fields))]
        points = int(values["POINTS"][0]) if "POINTS" in values else int(values["WIDTH"][0]) * int(values["HEIGHT"][0])
        # Padding fields are all named "_": numpy wants names of their own.
        parts = [
            (field if field != "_" else f"_{number}", f"<{_KINDS[kind]}{size}", (count,) if count > 1 else ())
            for number, (field, kind, size, count) in enumerate(zip(fields, kinds, sizes, counts, strict=True))
        ]
        record = np.dtype(parts)
        data = values["DATA"][0].lower()
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise ScanError(f"{name}: its PCD header cannot be read ({error!r}); expected FIELDS, SIZE, TYPE, COUNT and POINTS that fit each other") from error
    if data not in {"ascii", "binary", "binary_compressed"} or points < 0:
        raise ScanError(f"{name}: DATA {data}, POINTS {points}; expected ascii, binary or binary_compressed, and a number")
    return PcdHeader(record, points, data, stop + 1)


def _rows(body: bytes, header: PcdHeader, name: str) -> npt.NDArray[np.void]:
    if header.data == "ascii":
        return _ascii_rows(body, header, name)
    wanted = header.points * header.record.itemsize
    if header.data == "binary":
        _enough(len(body), wanted, header, name)
        return np.frombuffer(body[:wanted], header.record)
    packed, unpacked = (int.from_bytes(body[start : start + 4], "little") for start in (0, 4))
    _enough(len(body) - 8, packed, header, name)
    if unpacked != wanted:
        raise ScanError(f"{name}: {unpacked} bytes for {header.points} points of {header.record.itemsize}; the header does not fit the data")
    try:
        columns = unpack_lzf(body[8 : 8 + packed], unpacked)
    except (IndexError, ValueError) as error:
        raise ScanError(f"{name}: its compressed data are damaged") from error
    table = np.empty(header.points, header.record)
    start = 0
    for field in header.record.names or ():  # compressed files hold field after field, not point after point
        part = table.dtype[field]
        table[field] = np.frombuffer(columns, part.base, header.points * int(np.prod(part.shape, dtype=int)), start).reshape(-1, *part.shape)
        start += header.points * part.itemsize
    return table


def _enough(found: int, wanted: int, header: PcdHeader, name: str) -> None:
    if found < wanted:
        raise ScanError(f"{name}: {max(0, found)} bytes of data, {wanted} expected for {header.points} points; the file is cut off")


def _ascii_rows(body: bytes, header: PcdHeader, name: str) -> npt.NDArray[np.void]:
    columns = sum(int(np.prod(header.record[field].shape, dtype=int)) for field in header.record.names or ())
    try:
        numbers = np.loadtxt(io.BytesIO(body), dtype=np.float64, ndmin=2, max_rows=header.points) if header.points and body.strip() else np.empty((0, columns))
    except ValueError as error:
        raise ScanError(f"{name}: its points cannot be read ({error})") from error
    if numbers.shape != (header.points, columns):
        raise ScanError(f"{name}: {numbers.shape[0]} rows of {numbers.shape[1]} numbers; expected {header.points} rows of {columns}")
    table = np.empty(header.points, header.record)
    start = 0
    for field in header.record.names or ():
        part = header.record[field]
        width = int(np.prod(part.shape, dtype=int))
        given = numbers[:, start : start + width]
        if part.base.kind in "iu" and given.size:
            limits = np.iinfo(part.base)
            if not (np.isfinite(given) & (given >= limits.min) & (given <= limits.max)).all():
                raise ScanError(f"{name}: field '{field}' holds numbers that its TYPE and SIZE cannot ({part.base.name}: {limits.min} to {limits.max})")
        table[field] = given.reshape(-1, *part.shape)
        start += width
    return table


def unpack_lzf(packed: bytes, size: int) -> bytes:
    """Marc Lehmann's LZF: a control byte under 32 begins a run of literals, any other a copy from what is already there.

    Raises:
        ValueError, IndexError: damaged data.
    """
    result = bytearray()
    place = 0
    while place < len(packed):
        control = packed[place]
        place += 1
        if control < 32:
            result += packed[place : place + control + 1]
            place += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += packed[place]
            place += 1
        start = len(result) - ((control & 31) << 8) - packed[place] - 1
        place += 1
        if start < 0:
            raise ValueError("a copy from before the beginning")
        for position in range(start, start + length + 2):  # it may overlap what it writes: byte by byte
            result.append(result[position])
    if len(result) != size:
        raise ValueError(f"{len(result)} bytes instead of {size}")
    return bytes(result)
