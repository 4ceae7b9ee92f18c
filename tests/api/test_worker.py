"""The bounded queue by itself."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from api.worker import BusyError, InferenceWorker, TooSlowError


def test_results_and_errors_pass_through() -> None:
    worker = InferenceWorker(concurrency=1, queue=1, timeout=5)
    assert worker.run_blocking(lambda: 7) == 7
    assert asyncio.run(worker.run(lambda: 8)) == 8
    with pytest.raises(ZeroDivisionError):
        worker.run_blocking(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(worker.run(lambda: 1 // 0))
    assert worker.pending == 0


def test_never_more_threads_at_work_than_allowed() -> None:
    worker = InferenceWorker(concurrency=2, queue=20, timeout=10)
    lock = threading.Lock()
    at_work = most = 0

    def work() -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.02)
        with lock:
            at_work -= 1

    async def many() -> None:
        await asyncio.gather(*(worker.run(work) for _ in range(12)))

    asyncio.run(many())
    assert most == 2


def test_blocking_callers_meet_the_same_limits() -> None:
    worker = InferenceWorker(concurrency=1, queue=0, timeout=0.2)
    gate = threading.Event()
    with pytest.raises(TooSlowError, match=r"longer than 0\.2 s"):
        worker.run_blocking(lambda: gate.wait(10))
    with pytest.raises(BusyError, match="already waiting"):
        worker.run_blocking(lambda: None)
    gate.set()


def test_a_timeout_of_the_work_itself_is_not_ours() -> None:
    worker = InferenceWorker(concurrency=1, queue=0, timeout=5)

    def work() -> None:
        raise TimeoutError("inside")

    with pytest.raises(TimeoutError, match="inside"):
        worker.run_blocking(work)


def test_closing_refuses_and_drops_what_waits() -> None:
    worker = InferenceWorker(concurrency=1, queue=5, timeout=10)
    gate = threading.Event()
    entered = threading.Event()

    def hold() -> str:
        entered.set()
        gate.wait(10)
        return "done"

    async def scene() -> tuple[str, BaseException | str]:
        first = asyncio.create_task(worker.run(hold))
        await asyncio.to_thread(entered.wait, 10)
        second = asyncio.create_task(worker.run(lambda: "never"))
        await asyncio.sleep(0.05)
        worker.close()
        gate.set()
        one, two = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(one, str)
        return one, two

    one, two = asyncio.run(scene())
    assert one == "done"
    assert isinstance(two, BusyError)
    assert not worker.accepting
    with pytest.raises(BusyError, match="shutting down"):
        worker.run_blocking(lambda: None)


def test_the_advice_to_come_back_grows_with_the_queue() -> None:
    worker = InferenceWorker(concurrency=1, queue=10, timeout=10)
    gate = threading.Event()
    alone = worker.retry_after()
    threads = [threading.Thread(target=worker.run_blocking, args=(lambda: gate.wait(10),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    while worker.pending < 8:
        time.sleep(0.01)
    assert worker.retry_after() > alone
    gate.set()
    for thread in threads:
        thread.join()
