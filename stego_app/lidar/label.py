"""``stego lidar label``: scans in, SemanticKITTI's label files and pictures out."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.artifact import read_header
from models.errors import StegoError
from stego_app.atomic import OutputError, write_bytes, write_text
from stego_app.clusters import cut
from stego_app.data.dataset import evenly
from stego_app.features import device_of
from stego_app.lidar.birdseye import birdseye
from stego_app.lidar.labels import read_numbers, write_numbers
from stego_app.lidar.ledger import ScanLedger
from stego_app.lidar.readers import find_scans, read_bytes, read_scan
from stego_app.lidar.scan import Scan
from stego_app.lidar.segmenter import LidarSegmenter, read_lidar_segmenter
from stego_app.palette import palette
from stego_app.progress import Progress, silent

Numbers = npt.NDArray[np.integer]


@dataclass
class Labelled:
    """What was done: scans labelled now, those that had been before, and failures with reasons."""

    done: int = 0
    kept: int = 0
    failures: list[tuple[Path, str]] = field(default_factory=list)


def label_scans(
    data: Path, out: Path, model: Path, *, classes: int | None = None, pictures: int = 6, device: str = "auto", progress: Progress = silent
) -> Labelled:
    """Label every scan of ``data``.

    Writes ``labels/<same sub-path>.label`` (uint32 a point: 0 where no return came, class + 1 else), ``classes.csv``, ``pictures/`` of up to ``pictures``
    scans from above, and ``failures.csv`` where scans could not be used. What an earlier run with the same model wrote is kept, if the scan is the same.

    Raises:
        StegoError: no scans, an unusable model, more classes than its tree has, an output folder of another model, a full disk.
    """
    segmenter = read_lidar_segmenter(model)
    count = segmenter.clusters.classes if classes is None else classes
    cut(segmenter.clusters.merges, count)  # which refuses what would be refused scan by scan
    where = device_of(device)
    paths = find_scans(data)
    _same_run(out, {"model": read_header(model)["sha256"], "classes": count})
    segmenter.backbone.to(where)
    root = data if data.is_dir() else data.parent
    targets = label_names(paths, root)
    drawn = set(evenly(paths, pictures)) if pictures else set()
    result, points, ledger = Labelled(), np.zeros(count, np.int64), ScanLedger(out)
    for number, (path, name) in enumerate(zip(paths, targets, strict=True), 1):
        try:
            points += _label_one(segmenter, path, out, name, count, path in drawn, str(where), result, ledger)
        except OutputError:
            raise
        except StegoError as error:
            result.failures.append((path, str(error)))
        progress("labelling scans", number, len(paths))
    _tables(out, points, result)
    return result


def _label_one(
    segmenter: LidarSegmenter, path: Path, out: Path, name: Path, classes: int, drawn: bool, device: str, result: Labelled, ledger: ScanLedger
) -> Numbers:
    """Label one scan; how many of its points are of each class, (classes,)."""
    target, picture = out / "labels" / f"{name}.label", out / "pictures" / f"{name}.png"
    raw = read_bytes(path)
    content = hashlib.sha256(raw).hexdigest()
    try:
        scan = read_scan(path, raw)
    except StegoError:
        if str(name) in ledger.content and ledger.content[str(name)] != content:  # what is there is of the scan that it was
            target.unlink(missing_ok=True)
            picture.unlink(missing_ok=True)
        raise
    kept = _kept(target, scan, classes) if ledger.content.get(str(name)) == content else None
    if kept is not None:
        found = kept
        result.kept += 1
    else:
        found = segmenter(scan, classes, device)
        numbers = np.zeros(scan.total, np.uint32)
        numbers[scan.rows] = found + 1
        write_numbers(target, numbers)
        picture.unlink(missing_ok=True)
        ledger.add(str(name), content)
        result.done += 1
    if drawn and not picture.is_file():
        write_bytes(picture, class_picture(scan, found))
    return np.bincount(found, minlength=classes)


def _kept(target: Path, scan: Scan, classes: int) -> Numbers | None:
    """The classes (N,) that an earlier run gave the points of ``scan``; None where its file is gone, or was changed."""
    if not target.is_file() or target.stat().st_size != 4 * scan.total:
        return None
    found: Numbers = read_numbers(target, scan.total)[scan.rows].astype(np.int64) - 1
    return found if ((found >= 0) & (found < classes)).all() else None


def class_picture(scan: Scan, found: Numbers) -> bytes:
    """PNG of a scan from above, coloured by the class ``found`` (N,) of its points."""
    buffer = io.BytesIO()
    Image.fromarray(birdseye(scan, palette(int(found.max(initial=0)) + 1)[found])).save(buffer, "PNG")
    return buffer.getvalue()


def label_names(paths: list[Path], root: Path) -> list[Path]:
    """A name below the output for each scan, no two alike, even where the file system ignores case.

    It is the scan's without its ending; scans that would share one keep it, after a "_", and after its "." where that is another scan's name.
    """
    choices = [tuple(path.relative_to(root).with_name(name) for name in (path.name.split(".")[0], path.name.replace(".", "_"), path.name)) for path in paths]
    taken = [0] * len(paths)
    while True:
        names = [choice[at] for choice, at in zip(choices, taken, strict=True)]
        counts = Counter(str(name).casefold() for name in names)
        shared = [number for number, name in enumerate(names) if counts[str(name).casefold()] > 1 and taken[number] < len(choices[number]) - 1]
        if not shared:
            return names
        for number in shared:
            taken[number] += 1


def _same_run(out: Path, about: dict[str, object]) -> None:
    path = out / "run.json"
    if path.is_file():
        try:
            before = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise StegoError(f"{path}: cannot be read ({error}); delete it, or choose another folder") from error
        if before != about:
            raise StegoError(f"{out}: holds labels of another model or number of classes; choose another folder, or delete it")
    write_text(path, json.dumps(about, indent=2) + "\n")


def _tables(out: Path, points: Numbers, result: Labelled) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["number", "name", "share", "red", "green", "blue"])
    shares = points / max(1, points.sum())
    for index, (share, colour) in enumerate(zip(shares, palette(len(points)), strict=True)):
        table.writerow([index + 1, f"class {index}", f"{share:.4f}", *colour.tolist()])
    write_text(out / "classes.csv", text.getvalue())
    failures = out / "failures.csv"
    if not result.failures:
        failures.unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["scan", "reason"], *result.failures])
    write_bytes(failures, text.getvalue().encode("utf-8", "surrogateescape"))  # file names need not be valid text
