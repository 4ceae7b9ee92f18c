"""Every format re-read by a reader of another project, each in an environment of its own.

STEGO_ORACLES names a folder with two environments: ``datumaro`` (datumaro) and ``annotators`` (label-studio-sdk,
supervision, labelme).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from test_round_trips import painted, with_image, write

from stego_app.formats.label_map import Classes, LabelMap
from stego_app.formats.registry import find_format

pytestmark = pytest.mark.oracle

SCRIPTS = Path(__file__).with_name("oracles")
CLASSES = Classes.of(["road", "tree, leafy", "sky", "wall 4", "Straße", "car", "person", "roof"])
Maps = dict[str, npt.NDArray[np.int64]]


def python(environment: str) -> Path:
    root = os.environ.get("STEGO_ORACLES")
    if not root:
        pytest.skip("STEGO_ORACLES is not set: it names a folder with the environments datumaro and annotators")
    path = Path(root, environment, "bin", "python")
    if not path.is_file():
        pytest.skip(f"STEGO_ORACLES: no environment '{environment}' in {root}")
    return path


def reread(environment: str, script: str, kind: str, source: Path, tmp_path: Path) -> tuple[list[str], Maps]:
    result = tmp_path / "result.npz"
    command = [str(python(environment)), str(SCRIPTS / script), kind, str(source), str(result)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=220, check=False, env={**os.environ, "QT_QPA_PLATFORM": "offscreen"})
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(result) as file:
        return [str(name) for name in file["names"]], {str(key): file[f"map{index}"] for index, key in enumerate(file["keys"])}


def compare(items: list[LabelMap], names: list[str], maps: Maps, classes: Classes, *, exact: bool) -> None:
    """The maps are those of ``items``, label for label by name; 255 is -1, background or ignored."""
    assert set(maps) == {item.key for item in items}
    label_of = {name: label for label, name in enumerate(classes.names)}
    lookup = np.array([label_of.get(name, 255) for name in names] + [255])  # the last for -1
    for item in items:
        back, labels = lookup[maps[item.key]], item.labels
        if exact:
            assert np.array_equal(back, labels), item.key
        for label in range(len(classes.names)):
            either = ((back == label) | (labels == label)).sum()
            assert either == 0 or ((back == label) & (labels == label)).sum() / either >= 0.98, (item.key, label)


@pytest.fixture
def items(tmp_path: Path) -> list[LabelMap]:
    return [with_image(tmp_path / "photos", f"image{seed}.png", painted((90 + seed, 130), seed)) for seed in range(3)]


@pytest.mark.parametrize("name", ["voc", "cvat-mask"])
def test_datumaro_reads_voc_and_cvat_masks(name: str, items: list[LabelMap], tmp_path: Path) -> None:
    archive = write(find_format(name), tmp_path, items, CLASSES)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "unpacked")
    names, maps = reread("datumaro", "read_datumaro.py", "voc_segmentation", tmp_path / "unpacked", tmp_path)
    # Commas cannot stand in a label map.
    plain = Classes.of([name.replace(",", "_") for name in CLASSES.names])
    assert names[0] == "background"
    compare(items, names, maps, plain, exact=True)


def test_datumaro_reads_cvat_xml(items: list[LabelMap], tmp_path: Path) -> None:
    file = write(find_format("cvat"), tmp_path, items, CLASSES)
    data = tmp_path / "data"
    shutil.copytree(tmp_path / "photos", data / "images")
    shutil.copy(file, data / "annotations.xml")
    compare(items, *reread("datumaro", "read_datumaro.py", "cvat", data, tmp_path), CLASSES, exact=True)


@pytest.mark.parametrize(("name", "kind"), [("coco", "stuff"), ("coco", "instances"), ("coco-instances", "instances")])
def test_datumaro_reads_coco(name: str, kind: str, items: list[LabelMap], tmp_path: Path) -> None:
    file = write(find_format(name), tmp_path, items, CLASSES)
    data = tmp_path / "data"
    (data / "annotations").mkdir(parents=True)
    shutil.copytree(tmp_path / "photos", data / "images" / "default")
    shutil.copy(file, data / "annotations" / f"{kind}_default.json")
    compare(items, *reread("datumaro", "read_datumaro.py", f"coco_{kind}", data, tmp_path), CLASSES, exact=True)


def test_the_sdk_of_label_studio_decodes_brushes(items: list[LabelMap], tmp_path: Path) -> None:
    file = write(find_format("label-studio"), tmp_path, items, CLASSES)
    compare(items, *reread("annotators", "read_annotators.py", "label-studio", file, tmp_path), CLASSES, exact=True)


def test_supervision_reads_yolo(items: list[LabelMap], tmp_path: Path) -> None:
    folder = write(find_format("yolo"), tmp_path, items, CLASSES)
    compare(items, *reread("annotators", "read_annotators.py", "supervision", folder, tmp_path), CLASSES, exact=False)


def test_labelme_reads_its_files(items: list[LabelMap], tmp_path: Path) -> None:
    folder = write(find_format("labelme"), tmp_path, items, CLASSES)
    compare(items, *reread("annotators", "read_annotators.py", "labelme", folder, tmp_path), CLASSES, exact=True)
