"""A real Redis as the queue: two servers take jobs, a worker of its own works on them, and either server gives the results."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from job_parts import archive, photos, wait_until

pytest.importorskip("redis", reason="the package redis is not installed (extra: redis)")
pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed (apt-get install redis-server)")

_PATIENCE = 200  # seconds, on a busy machine
# The segmenter of light.sitecustomize: processes start in a moment.
_LIGHT = {**os.environ, "PYTHONPATH": str(Path(__file__).with_name("light"))}


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """The URL of a Redis of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _answers(port))
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


@contextmanager
def running(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """``stego`` with ``arguments`` in a process that ends in good order with the block."""
    with log.open("wb") as target, subprocess.Popen([sys.executable, "-m", "stego_app.cli", *arguments], stderr=target, stdout=target, env=_LIGHT) as process:
        try:
            yield process
            process.terminate()
            # uvicorn passes the signal on once it is done.
            assert process.wait(60) in (0, -signal.SIGTERM), log.read_text()
        finally:
            process.kill()


def url_of(log: Path, server: subprocess.Popen[bytes]) -> str:
    """The address that a server's log tells."""
    deadline = time.monotonic() + _PATIENCE
    while not (found := re.search(rb"serving on (http://\S+) ", log.read_bytes())):
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return found.group(1).decode()


@pytest.mark.timeout(600)
def test_two_servers_and_a_worker_share_a_redis(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with ExitStack() as stack:
        queue = stack.enter_context(redis(tmp_path))
        logs = [tmp_path / f"server{number}.log" for number in range(2)]
        servers = ["serve", "--port", "0", "--no-ui", "--device", "cpu", "--data", data, "--redis", queue, "--job-workers", "0"]
        processes = [stack.enter_context(running(log, *servers)) for log in logs]  # both at once, on a folder that neither has seen
        urls = [url_of(log, process) for log, process in zip(logs, processes, strict=True)]
        first, second = (stack.enter_context(httpx.Client(base_url=url, timeout=60)) for url in urls)
        jobs: dict[str, dict[str, bytes]] = {}
        for number, server in enumerate((first, second, first)):
            files = photos(2 + number)
            answer = server.post("/v1/jobs", files={"images": ("a.zip", archive(files))}, data={"crf": "false", "overlays": "false"})
            assert answer.status_code == 202, answer.text
            jobs[answer.json()["id"]] = files
        states = [second.get(f"/v1/jobs/{job}").json()["state"] for job in jobs]
        assert states == ["queued"] * 3  # nobody works yet, and each server knows of the other's
        stack.enter_context(running(tmp_path / "worker.log", "worker", "--data", data, "--redis", queue, "--device", "cpu", "--workers", "2"))
        wait_until(lambda: {entry["state"] for entry in first.get("/v1/jobs").json()["jobs"]} == {"done"}, _PATIENCE)
        for number, (job, files) in enumerate(jobs.items()):
            result = (second, first)[number % 2].get(f"/v1/jobs/{job}/result")  # not from the one that took it
            assert result.status_code == 200
            with zipfile.ZipFile(BytesIO(result.content)) as zipped:
                labels = {name for name in zipped.namelist() if name.startswith("labels/")}
            assert labels == {f"labels/{name}" for name in files}


def test_a_redis_that_is_not_there_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stego_app.cli", "worker", "--data", str(tmp_path), "--redis", "not-a-url"]
    result = subprocess.run(command, capture_output=True, text=True, env=_LIGHT, timeout=_PATIENCE, check=False)
    assert result.returncode == 2
    assert "--redis: not a URL of a Redis" in result.stderr
    assert "Traceback" not in result.stderr
