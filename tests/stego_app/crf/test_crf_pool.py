"""The process pool: order, errors, workers that die, Ctrl-C, and a parent that is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import StegoError
from stego_app.crf import CrfPool, CrfSettings, refine
from stego_app.crf.pool import WorkerLostError


def double_slowly(value: int, seconds: float) -> int:
    time.sleep(seconds)
    return 2 * value


def fail_at_three(value: int) -> int:
    if value == 3:
        raise StegoError("three.png: not good")
    return value


def die_once(value: int, marker: str) -> int:
    """Kills its own process at value 2, the first time."""
    if value == 2 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def die_always_at_two(value: int) -> int:
    if value == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def has_torch() -> bool:
    return "torch" in sys.modules


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_dead(processes: list[int], seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while any(alive(process) for process in processes) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(alive(process) for process in processes)


def test_results_equal_refine_and_keep_order() -> None:
    random = np.random.default_rng(0)
    pairs = [
        (random.integers(0, 255, (20 + n, 30, 3), dtype=np.uint8), random.dirichlet(np.ones(3), (20 + n, 30)).transpose(2, 0, 1).astype(np.float32))
        for n in range(5)
    ]
    options = CrfSettings(iterations=3)
    with CrfPool(workers=2) as pool:
        refined = list(pool.run(refine, ((image, probabilities, options) for image, probabilities in pairs)))
    for (image, probabilities), result in zip(pairs, refined, strict=True):
        np.testing.assert_array_equal(result, refine(image, probabilities, options))


def test_order_is_kept_and_failures_take_the_place_of_results() -> None:
    with CrfPool(workers=2) as pool:
        assert list(pool.run(double_slowly, [(0, 0.3), (1, 0.0), (2, 0.1), (3, 0.0)])) == [0, 2, 4, 6]
        outcomes = list(pool.run(fail_at_three, [(n,) for n in range(6)]))
        assert [next(pool.run(has_torch, [()]))] == [False]
    assert isinstance(outcomes[3], StegoError)
    assert outcomes[:3] + outcomes[4:] == [0, 1, 2, 4, 5]


def test_arguments_are_drawn_only_as_there_is_room() -> None:
    drawn = []

    def source():
        for number in range(20):
            drawn.append(number)
            yield number, 0.0

    with CrfPool(workers=1) as pool:
        results = pool.run(double_slowly, source(), ahead=3)
        next(results)
        assert len(drawn) <= 4
        assert len(list(results)) == 19


def test_a_worker_killed_once_costs_nothing(tmp_path: Path) -> None:
    with CrfPool(workers=2) as pool:
        assert list(pool.run(die_once, [(n, str(tmp_path / "died")) for n in range(8)])) == list(range(8))


def test_a_task_that_kills_its_worker_fails_alone() -> None:
    with CrfPool(workers=2) as pool:
        outcomes = list(pool.run(die_always_at_two, [(n,) for n in range(6)]))
    assert isinstance(outcomes[2], WorkerLostError)
    assert "--jobs" in str(outcomes[2])
    assert outcomes[:2] + outcomes[3:] == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("error", [ValueError("bad value(s) in fds_to_keep"), OSError("bad file descriptor")])
def test_a_pool_that_breaks_while_it_takes_a_task_is_replaced(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter([error])
    submit = ProcessPoolExecutor.submit

    def refuse_once(executor: ProcessPoolExecutor, *task: Any) -> Any:
        for refusal in refusals:
            raise refusal
        return submit(executor, *task)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", refuse_once)
    with CrfPool(workers=1) as pool:
        assert list(pool.run(abs, [(-1,), (-2,)])) == [1, 2]
    refusals = iter([error])
    with CrfPool(workers=1) as pool:
        assert pool.call(abs, -3) == 3


def test_leaving_with_an_error_ends_the_workers_at_once() -> None:
    pool = CrfPool(workers=1)
    started = time.monotonic()
    workers: list[int] = []

    def interrupted() -> None:
        with pool:
            next(pool.run(double_slowly, [(0, 0.0), (1, 60.0)]))
            workers.extend(pool.worker_ids())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert workers
    assert wait_until_dead(workers)
    assert time.monotonic() - started < 30


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time\n"
        "from stego_app.crf import CrfPool\n"
        "if __name__ == '__main__':\n"
        "    pool = CrfPool(workers=2)\n"
        "    print(next(pool.run(os.getpid, [(), ()])), *pool.worker_ids(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert workers
    assert wait_until_dead(workers)


def test_refuses_no_workers() -> None:
    with pytest.raises(StegoError, match="1 or more"):
        CrfPool(workers=0)


def test_calls_from_many_threads_survive_a_killed_worker(tmp_path: Path) -> None:
    with CrfPool(workers=2) as pool, ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda n: pool.call(die_once, n, str(tmp_path / "died")), range(8)))
        assert answers == list(range(8))
        with pytest.raises(StegoError, match=r"three\.png"):
            pool.call(fail_at_three, 3)


def test_a_call_that_kills_its_worker_twice_is_told_and_the_next_one_works() -> None:
    with CrfPool(workers=1) as pool:
        with pytest.raises(WorkerLostError):
            pool.call(die_always_at_two, 2)
        assert pool.call(die_always_at_two, 1) == 1


def test_a_system_without_shared_semaphores_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("multiprocessing.context.SpawnContext.Lock", refuse, raising=False)
    with pytest.raises(StegoError, match=r"worker processes cannot be started \(Permission denied\); expected a /dev/shm"):
        CrfPool(1).call(os.getpid)
