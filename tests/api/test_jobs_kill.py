"""kill -9 of a job's process, of the worker and of the server at random moments: nothing lost, nothing twice, no half-written file."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from job_parts import archive, photos, write_model
from light.sitecustomize import probabilities
from PIL import Image

from models.backbone import Backbone
from stego_app.atomic import PART
from stego_app.crf import CrfSettings
from stego_app.images import read_image
from stego_app.segmentation import segment

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes through Linux's /proc")

_PATIENCE = 200  # seconds, on a busy machine


@dataclass
class Service:
    """A server that can be killed and started again.

    Its segmenter is the one of `light.sitecustomize`, with which processes start in a moment, unless a ``model`` is given.
    """

    data: Path
    model: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    url: str = ""

    def start(self) -> None:
        command = [sys.executable, "-m", "stego_app.cli", "serve", "--model", str(self.model or "default"), "--port", "0", "--no-ui", "--device", "cpu"]
        environment = dict(os.environ) if self.model else {**os.environ, "PYTHONPATH": str(Path(__file__).with_name("light"))}
        log = self.data.parent / "serve.log"
        begin = log.stat().st_size if log.exists() else 0
        with log.open("ab") as target:
            self.process = subprocess.Popen([*command, "--data", str(self.data)], stderr=target, stdout=target, env=environment)
        deadline = time.monotonic() + _PATIENCE
        while not (found := re.search(rb"serving on (http://\S+) ", log.read_bytes()[begin:])):
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "it did not start"
            time.sleep(0.2)
        self.url = found.group(1).decode()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.url = ""

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.url}{path}", timeout=60).json()

    def pids(self, module: str) -> list[int]:
        """Processes below this server that run ``module``; the one of a job is a child of the worker."""
        assert self.process is not None
        return [pid for pid in descendants(self.process.pid) if module in command_of(pid)]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def descendants(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


@contextmanager
def service(folder: Path, backbone: Backbone | None = None) -> Iterator[Service]:
    running = Service(folder / "data", None if backbone is None else write_model(folder / "tiny.safetensors", backbone))
    running.start()
    try:
        yield running
    finally:
        running.stop()


def submit(running: Service, files: dict[str, bytes]) -> str:
    answer = httpx.post(f"{running.url}/v1/jobs", files={"images": archive(files)}, data={"overlays": "false", "crf": "false"}, timeout=60)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def wait_for_images(running: Service, job: str, more_than: int) -> dict[str, Any]:
    """The job's status once more images are done, or it is over."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        status: dict[str, Any] = running.get(f"/v1/jobs/{job}")
        if status["progress"]["done"] > more_than or status["state"] not in ("queued", "running"):
            return status
        assert time.monotonic() < deadline, status
        time.sleep(0.2)


def finish(running: Service, job: str) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE
    while (status := running.get(f"/v1/jobs/{job}"))["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, status
        time.sleep(0.3)
    return dict(status)


def check(running: Service, job: str, files: dict[str, bytes]) -> None:
    """Everything is there once, whole, and as one uninterrupted run would have made it; nothing else is left."""
    status = finish(running, job)
    assert (status["state"], status["progress"]["done"], status["failed"]) == ("done", len(files), 0), status
    answer = httpx.get(f"{running.url}{status['result']}", timeout=60)
    with zipfile.ZipFile(BytesIO(answer.content)) as result:
        assert result.testzip() is None
        names = result.namelist()
        assert len(set(names)) == len(names)
        assert {name for name in names if name.startswith("labels/")} == {f"labels/{name}" for name in files}
        for name, data in files.items():
            label = np.asarray(Image.open(BytesIO(result.read(f"labels/{name}"))))
            assert np.array_equal(label, expected(running, read_image(data))), name
        done = [json.loads(line) for line in result.read("manifest.jsonl").splitlines()]
        assert sorted(entry["image"] for entry in done) == sorted(files)
        assert {entry["status"] for entry in done} == {"done"}
    folder = running.data / "jobs" / job
    # What was worked with goes once the job is told to be done; if its process dies there, with the worker's next sweep.
    deadline = time.monotonic() + _PATIENCE
    while not {path.name for path in folder.iterdir()} <= {"lock", "result.zip"}:
        assert time.monotonic() < deadline, sorted(folder.iterdir())
        time.sleep(0.3)
    assert not [path for path in running.data.rglob("*") if path.name.endswith((PART, ".part"))]
    assert running.get("/v1/jobs")["jobs"][0]["id"] == job


def expected(running: Service, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The label map of one uninterrupted run."""
    if running.model is None:
        return segment(probabilities(image), (image.shape[0], image.shape[1]), seen=None, settings=CrfSettings())[0]
    from stego_app.segmenter import Segmenter

    return Segmenter.load(running.model, device="cpu")(image, crf=False).labels


def kill_one(running: Service, what: str) -> None:
    if what == "server":
        running.kill()
        running.start()
        return
    for pid in running.pids("api.jobs.process" if what == "job" else "api.jobs.worker"):
        os.kill(pid, signal.SIGKILL)


def run_with_kills(folder: Path, targets: list[str], images: int, seed: int, backbone: Backbone | None = None) -> None:
    """One job, during which each of ``targets`` is killed: some moments after an image was finished, whatever is going on then."""
    moments = random.Random(seed)
    files = photos(images)
    with service(folder, backbone) as running:
        job = submit(running, files)
        done = 0
        for what in targets:
            status = wait_for_images(running, job, done)
            done = status["progress"]["done"]
            time.sleep(moments.uniform(0, 0.4))
            kill_one(running, what)
        check(running, job, files)


@pytest.mark.timeout(900)
def test_killed_at_three_random_moments(tmp_path: Path) -> None:
    run_with_kills(tmp_path, ["job", "worker", "server"], 80, 1)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("what", ["job", "worker", "server"])
def test_killed_at_twenty_random_moments(what: str, tmp_path: Path) -> None:
    run_with_kills(tmp_path, [what] * 20, 600, 2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_with_a_real_segmenter(tiny_backbone: Backbone, tmp_path: Path) -> None:
    run_with_kills(tmp_path, ["worker", "job", "server"], 60, 3, tiny_backbone)


@pytest.mark.timeout(600)
def test_a_server_that_stops_in_good_order_takes_its_processes_along(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        job = submit(running, photos(400))
        wait_for_images(running, job, 0)
        assert running.process is not None
        below = descendants(running.process.pid)
        assert [pid for pid in below if "api.jobs.process" in command_of(pid)]
        running.stop()
        deadline = time.monotonic() + 30
        while alive := [pid for pid in below if "api.jobs" in command_of(pid)]:
            assert time.monotonic() < deadline, alive
            time.sleep(0.3)
        running.start()
        status = wait_for_images(running, job, 0)
        assert status["runs"] <= 2
        assert httpx.delete(f"{running.url}/v1/jobs/{job}").status_code == 202
        assert finish(running, job)["state"] == "cancelled"
        deadline = time.monotonic() + 30
        while (running.data / "jobs" / job).exists():
            assert time.monotonic() < deadline
            time.sleep(0.3)
