"""SIGTERM under load: what is being worked on is finished, what waits is answered 503, and the process ends."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import uvicorn
from fake_segmenter import FakeSegmenter
from model_file import write_model
from sample_photo import photo

from api import ServiceSettings, create_app
from api.server import bind
from models.backbone import Backbone

PNG = {"Content-Type": "image/png"}


def post(url: str, content: bytes) -> httpx.Response:
    return httpx.post(f"{url}/v1/segment", content=content, headers=PNG, timeout=60)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


class Service:
    """The service in a thread, stopped as `api.server` stops it."""

    def __init__(self, segmenter: FakeSegmenter, **settings: object) -> None:
        self.app = create_app(ServiceSettings(ui=False, concurrency=1, queue=5, batch=1, **settings), {"default": segmenter})  # type: ignore[arg-type]
        self.listener = bind("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.loop: asyncio.AbstractEventLoop | None = None
        config = uvicorn.Config(self.app, log_config=None, access_log=False, timeout_graceful_shutdown=20)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        wait_until(lambda: self.server.started)

    def _run(self) -> None:
        with self.listener:
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        await self.server.serve(sockets=[self.listener])

    def stop(self) -> None:
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.app.state.stopping.begin)
        self.server.should_exit = True

    def pending(self) -> int:
        return int(httpx.get(f"{self.url}/health").json()["pending"])


def test_what_is_worked_on_is_finished_and_what_waits_is_503() -> None:
    gate, entered = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert gate.wait(20)

    service = Service(FakeSegmenter(on_encode=hold), shutdown_grace=15)
    with ThreadPoolExecutor(3) as clients:
        first = clients.submit(post, service.url, photo())
        assert entered.wait(10)
        waiting = [clients.submit(post, service.url, photo()) for _ in range(2)]
        wait_until(lambda: service.pending() == 3)
        service.stop()
        for refused in waiting:  # while the first is still being worked on
            answer = refused.result(5)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
            assert "shutting down" in answer.json()["error"]["message"]
            assert int(answer.headers["retry-after"]) >= 1
        gate.set()
        assert first.result(5).status_code == 200
    service.thread.join(10)
    assert not service.thread.is_alive()


def test_what_takes_longer_than_the_grace_is_503_and_holds_nothing_up() -> None:
    gate, entered = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        gate.wait(30)

    service = Service(FakeSegmenter(on_encode=hold), shutdown_grace=1)
    with ThreadPoolExecutor(1) as clients:
        first = clients.submit(post, service.url, photo())
        assert entered.wait(10)
        service.stop()
        assert first.result(10).status_code == 503
    service.thread.join(10)
    assert not service.thread.is_alive()
    gate.set()


@pytest.mark.slow
def test_a_served_model_under_sixty_four_clients_ends_within_its_grace(tmp_path: Path, tiny_backbone: Backbone) -> None:
    """The whole thing: `stego serve` with CRF processes and a worker for jobs, SIGTERM in the midst of it."""
    model = write_model(tmp_path / "tiny.safetensors", tiny_backbone)
    command = [sys.executable, "-m", "stego_app.cli", "serve", "--model", str(model), "--port", "0", "--no-ui", "--data", str(tmp_path / "data")]
    answers: list[int | str] = []
    picture = photo(640, 960)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, ThreadPoolExecutor(64) as clients:
        assert process.stderr is not None
        url = next(found.group(1) for line in process.stderr if (found := re.search(r"serving on (http://\S+)", line)))
        threading.Thread(target=process.stderr.read, daemon=True).start()
        told = threading.Event()

        def client() -> None:
            while not told.is_set():
                try:
                    answer = post(url, picture)
                    answers.append(answer.status_code)
                    time.sleep(0.2 if answer.status_code == 503 else 0)
                except httpx.TransportError as error:
                    # Only a connection that was not yet taken may be lost.
                    answers.append(
                        "lost" if told.is_set() and isinstance(error, httpx.ConnectError | httpx.ReadError | httpx.RemoteProtocolError) else repr(error)
                    )

        running = [clients.submit(client) for _ in range(64)]
        wait_until(lambda: answers.count(200) > 3, 120)
        begun = time.monotonic()
        told.set()
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(60)
        finally:
            process.kill()
        taken = time.monotonic() - begun
        for each in running:
            each.result(70)
    assert code in (0, -signal.SIGTERM)  # uvicorn passes the signal on once it is done
    assert taken < 15 + 15
    assert set(answers) <= {200, 503, "lost"}
