"""The REST service under load on loopback: many clients at once, with batching on and off, and memory over many requests.

Prints Markdown tables::

    python benchmarks/service_load.py --image photo.jpg --clients 64 --seconds 60

A server of its own is started for each row. Clients send one image after the other over kept connections; a client that
is answered 503 waits as long as Retry-After says. Anything other than 200 and such a 503 is counted as an error.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

_MEGA = 1e6


@dataclass
class Tally:
    """What the clients met: seconds of each good answer, honest refusals, and everything else."""

    seconds: list[float] = field(default_factory=list)
    busy: int = 0
    errors: list[str] = field(default_factory=list)

    def note(self, answer: httpx.Response, taken: float) -> float:
        """Count an answer; returns the seconds to wait before the next request."""
        if answer.status_code == 200:
            self.seconds.append(taken)
            return 0.0
        wait = answer.headers.get("retry-after", "")
        if answer.status_code == 503 and wait.isdigit():
            self.busy += 1
            return float(wait)
        self.errors.append(f"{answer.status_code} {answer.text[:100]}")
        return 0.0


@contextmanager
def serving(model: str, options: list[str]) -> Iterator[str]:
    """The base URL of ``stego serve`` in a process of its own."""
    command = [sys.executable, "-m", "stego_app.cli", "serve", "--model", model, "--port", "0", "--no-ui", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if found := re.search(r"serving on (http://\S+)", line):
                    break
            else:
                raise SystemExit("the service did not start")
            # Its log has a line a request: read on, or the pipe fills and the service stands still.
            reader = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
            yield found.group(1)
            process.send_signal(signal.SIGTERM)
            process.wait(180)
            reader.wait(30)
        finally:
            process.kill()


def numbers(url: str) -> dict[str, float]:
    """The service's own numbers, without labels."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text)
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


async def load(url: str, image: bytes, *, clients: int, seconds: float, query: str, requests: int | None = None) -> Tally:
    """``clients`` at once for ``seconds``, or until ``requests`` have been answered well."""
    tally = Tally()
    end = time.monotonic() + seconds

    async def one(client: httpx.AsyncClient) -> None:
        while time.monotonic() < end and (requests is None or len(tally.seconds) < requests):
            begun = time.monotonic()
            try:
                answer = await client.post(f"{url}/v1/segment{query}", content=image, headers={"Content-Type": "image/jpeg"})
            except httpx.HTTPError as error:
                tally.errors.append(repr(error))
                continue
            wait = tally.note(answer, time.monotonic() - begun)
            if wait:
                await asyncio.sleep(min(wait, max(0.0, end - time.monotonic())))

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(timeout=180, limits=limits) as client:
        await asyncio.gather(*(one(client) for _ in range(clients)))
    return tally


def row(name: str, tally: Tally, wall: float, before: dict[str, float], after: dict[str, float]) -> str:
    """One line of the table."""
    quantiles = np.percentile(tally.seconds, [50, 95, 99]) if tally.seconds else [float("nan")] * 3
    batches = after["stego_batch_size_count"] - before["stego_batch_size_count"]
    size = (after["stego_batch_size_sum"] - before["stego_batch_size_sum"]) / batches if batches else 0.0
    times = " | ".join(f"{value:.2f}" for value in quantiles)
    return f"| {name} | {len(tally.seconds)} | {len(tally.seconds) / wall:.2f} | {times} | {size:.1f} | {tally.busy} | {len(tally.errors)} |"


def measure(arguments: argparse.Namespace, image: bytes, name: str, batch: int, query: str) -> Tally:
    """Start a service, warm it up, load it, and print its row."""
    with serving(arguments.model, ["--batch", str(batch), "--concurrency", str(arguments.concurrency), "--queue", str(arguments.queue)]) as url:
        asyncio.run(load(url, image, clients=arguments.concurrency, seconds=60, query=query, requests=arguments.concurrency))
        before = numbers(url)
        begun = time.monotonic()
        tally = asyncio.run(load(url, image, clients=arguments.clients, seconds=arguments.seconds, query=query))
        print(row(name, tally, time.monotonic() - begun, before, numbers(url)), flush=True)
    if tally.errors:
        print("; ".join(sorted(set(tally.errors))[:5]), file=sys.stderr, flush=True)
    return tally


def memory(arguments: argparse.Namespace, image: bytes, query: str) -> None:
    """Resident memory of the service over many requests, a fifth at a time."""
    step = max(1, arguments.requests // 5)
    found: list[float] = []
    with serving(arguments.model, ["--concurrency", str(arguments.concurrency)]) as url:
        asyncio.run(load(url, image, clients=arguments.concurrency, seconds=60, query=query, requests=50))
        found.append(numbers(url)["process_resident_memory_bytes"] / _MEGA)
        for _ in range(5):
            tally = asyncio.run(load(url, image, clients=arguments.concurrency, seconds=3600, query=query, requests=step))
            if tally.errors:
                raise SystemExit(f"errors: {tally.errors[:3]}")
            found.append(numbers(url)["process_resident_memory_bytes"] / _MEGA)
    print("\n| requests answered | " + " | ".join(str(50 + step * number) for number in range(6)) + " |")
    print("|---|" + "---|" * 6)
    print("| resident memory, MB | " + " | ".join(f"{value:.0f}" for value in found) + " |")
    print(f"\ngrowth over the last four fifths: {statistics.mean(found[-2:]) - statistics.mean(found[1:3]):+.0f} MB")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--queue", type=int, default=16)
    parser.add_argument("--batches", default="8,1", help="sizes to compare; 1 is off; empty for memory alone")
    parser.add_argument("--requests", type=int, default=2000, help="for the table of memory; 0 leaves it out")
    parser.add_argument("--query", default="", help="as ?crf=false, for the rows of the first table")
    arguments = parser.parse_args()
    image = arguments.image.read_bytes()
    print("| batching | answered | images/s | p50 s | p95 s | p99 s | mean batch | 503 | errors |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    failed: list[str] = []
    for batch in (int(text) for text in arguments.batches.split(",") if text):
        name = "off, one by one" if batch == 1 else f"on, up to {batch}"
        failed += measure(arguments, image, name, batch, arguments.query).errors
    if arguments.requests:
        memory(arguments, image, "?crf=false")
    if failed:
        raise SystemExit(f"errors: {failed[:3]}")


if __name__ == "__main__":
    main()
