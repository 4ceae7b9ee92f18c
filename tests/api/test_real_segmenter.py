"""A real segmenter (a tiny random backbone, random clusters) from its file through the real command to the answer."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from live_server import running
from PIL import Image
from sample_photo import photo

from api import ServiceSettings, create_app
from api.catalog import Catalog
from models.backbone import Backbone
from models.head import SegmentationHead
from stego_app.clusters import ClusterModel
from stego_app.images import read_image
from stego_app.segmenter import Segmenter
from stego_app.segmenter_file import SegmenterModel, SegmenterSettings, save_segmenter
from ui.desk import Desk
from ui.pictures import Look
from ui.workshop import Workshop

FINE = 6


@pytest.fixture
def model_file(tiny_backbone: Backbone, tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = SegmentationHead(8, 4)
    directions = torch.nn.functional.normalize(torch.randn(FINE, 4, generator=generator), dim=1)
    merges = np.array([[0, 1], [2, 3], [6, 7], [4, 8], [5, 9]], dtype=np.int64)
    metric = torch.randn(tiny_backbone.dim, 8, generator=generator)
    clusters = ClusterModel(torch.zeros(tiny_backbone.dim), metric, head.eval(), directions, 0.1, merges, 4)
    path = tmp_path / "tiny.safetensors"
    save_segmenter(path, SegmenterModel(tiny_backbone, "tiny", clusters, np.full(FINE, 1 / FINE), SegmenterSettings(resolution=64)))
    return path


def test_the_command_serves_what_python_gives(model_file: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "stego_app.cli",
        "serve",
        "--model",
        str(model_file),
        "--port",
        "0",
        "--device",
        "cpu",
        "--data",
        str(model_file.parent / "data"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            first = process.stderr.readline()
            found = re.search(r"serving on (http://127\.0\.0\.1:\d+) \(REST at /v1, page at /\)", first)
            assert found, first
            image = photo(64, 96)
            with httpx.Client(base_url=found.group(1), timeout=60) as client:
                served = client.post("/v1/segment", files={"image": image}, data={"format": "index", "classes": "5"})
                summary = client.post("/v1/segment", files={"image": image}, data={"classes": "5"}).json()
                described = client.get("/v1/models/tiny").json()
                assert "gradio" in client.get("/").text
                # An open tab of the page holds a stream that never ends by itself; it must not hold up the end.
                with client.stream("GET", "/gradio_api/heartbeat/tab") as stream:
                    assert stream.status_code == 200
                    begun = time.monotonic()
                    process.send_signal(signal.SIGTERM)
                    _, log = process.communicate(timeout=30)
                    assert time.monotonic() - begun < 8  # less than the time allowed for requests under way
        finally:
            process.kill()
    assert process.returncode in (0, -signal.SIGTERM), log
    assert "Traceback" not in log
    expected = Segmenter.load(model_file, device="cpu")(read_image(image), classes=5)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(served.content))), expected.labels)
    assert [(entry["id"], entry["name"], entry["pixels"]) for entry in summary["classes"]] == [
        (area["label"], area["name"], area["pixels"]) for area in expected.areas()
    ]
    means = {entry["id"]: expected.scores[expected.labels == entry["id"]].mean() for entry in summary["classes"]}
    assert {entry["id"]: entry["score"] for entry in summary["classes"]} == pytest.approx(means, abs=1e-4)
    assert (described["classes"], described["max_classes"]) == (4, FINE)


def test_classes_edited_on_the_page_are_served(model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo(64, 96))
    desk = Desk(Workshop(Catalog({"tiny": Segmenter.load(model_file, device="cpu")}), tmp_path, 100_000))
    label = int(desk.open("tab", tmp_path / "photo.png", "tiny", classes=4, crf=0).segmentation.labels[0, 0])
    desk.edit("tab", "rename", [label], "sky")
    file = desk.download("tab", "segmenter", Look(0.5))
    app = create_app(ServiceSettings(models=(str(file),), device="cpu", ui=False))
    with running(app) as url:
        described = httpx.get(f"{url}/v1/models/tiny-edited").json()
        whole = httpx.post(f"{url}/v1/segment", files={"image": photo(64, 96)}, data={"classes": "1"}, timeout=60).json()
    assert described["class_table"][label]["name"] == "sky"
    assert described["info"]["edits"] == 1
    assert [entry["share"] for entry in whole["classes"]] == [1.0]


def test_a_port_in_use_and_a_missing_file_are_one_line_with_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stego_app.cli", "serve", "--port", "0", "--model", str(tmp_path / "absent.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "absent.safetensors" in done.stderr
