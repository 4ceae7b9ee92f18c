"""The table of jobs: what two processes do at once, what is kept over a restart, and what a full disk does."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.jobs.store import Job, JobStore, JobStoreError

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    opened = JobStore(tmp_path / "jobs.sqlite")
    yield opened
    opened.close()


def add(store: JobStore, job: str = A, total: int = 10) -> None:
    assert store.add(job, "label", owner="", model="default", options={"crf": True}, total=total, waiting=10_000)


def add_many(store: JobStore) -> None:
    for number in range(5000):
        add(store, f"{number:032x}")


def row(store: JobStore, job: str = A) -> Job:
    found = store.find(job)
    assert found is not None
    return found


def test_a_job_is_kept_when_the_file_is_opened_again(store: JobStore, tmp_path: Path) -> None:
    add(store)
    again = JobStore(tmp_path / "jobs.sqlite")
    assert (row(again).state, row(again).options, row(again).total) == ("queued", {"crf": True}, 10)
    again.close()


@pytest.mark.parametrize("old", [False, True])
def test_many_open_a_folder_at_once(tmp_path: Path, old: bool) -> None:
    """Of a new file, and of one of the first release: servers that start together on either."""
    for number in range(10):
        path = tmp_path / f"jobs{number}.sqlite"
        if old:
            JobStore(path).close()
            with sqlite3.connect(path) as database:
                database.execute("alter table jobs drop column owner")
        ready = threading.Barrier(8)

        def opened(path: Path = path, ready: threading.Barrier = ready) -> int:
            ready.wait(60)
            store = JobStore(path)
            found = len(store.latest(1, owner="nobody"))
            store.close()
            return found

        with ThreadPoolExecutor(8) as threads:
            assert [future.result() for future in [threads.submit(opened) for _ in range(8)]] == [0] * 8


def test_no_more_wait_and_no_two_fits_make_one_model_however_close_they_come(store: JobStore, tmp_path: Path) -> None:
    others = [JobStore(tmp_path / "jobs.sqlite") for _ in range(8)]
    ready = threading.Barrier(len(others))
    taken: list[bool] = []

    def come(number: int) -> None:
        ready.wait()
        taken.append(others[number].add(f"{number:032x}", "fit", owner="", model="mine", options={}, total=1, waiting=5))

    threads = [threading.Thread(target=come, args=(number,)) for number in range(len(others))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 7 + [True]
    assert [store.add(job, "label", owner="", model="mine", options={}, total=1, waiting=3) for job in (A, B, C)] == [True, True, False]
    for other in others:
        other.close()


def test_a_table_of_the_first_release_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    store = JobStore(path)
    add(store)
    store.close()
    with sqlite3.connect(path) as database:
        database.execute("alter table jobs drop column owner")
    store = JobStore(path)
    assert row(store).owner == ""
    store.add(B, "fit", owner="annotation", model="streets", options={}, total=1, waiting=9)
    assert [job.id for job in store.latest(10, owner="annotation")] == [B]
    assert [job.id for job in store.latest(10)] == [B, A]
    store.close()


def test_only_one_of_many_takes_a_job_up(store: JobStore, tmp_path: Path) -> None:
    add(store)
    others = [JobStore(tmp_path / "jobs.sqlite") for _ in range(8)]
    start = threading.Barrier(len(others))
    taken: list[bool] = []

    def claim(mine: JobStore) -> None:
        start.wait()
        taken.append(mine.claim(A))

    threads = [threading.Thread(target=claim, args=(mine,)) for mine in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine in others:
        mine.close()
    assert sorted(taken) == [False] * 7 + [True]
    assert (row(store).state, row(store).runs, row(store).deaths) == ("running", 1, 1)


def test_what_waits_is_cancelled_at_once_and_what_runs_is_asked(store: JobStore) -> None:
    add(store, A)
    add(store, B)
    assert store.claim(A)
    assert store.cancel(A) == "running"
    assert row(store, A).cancel
    assert store.cancel(B) == "cancelled"
    assert not store.claim(B)
    assert store.cancel(C) is None


def test_a_job_that_is_over_stays_as_it_is(store: JobStore) -> None:
    add(store)
    assert store.claim(A)
    assert store.finish(A, "done", result_bytes=5)
    assert not store.finish(A, "failed", error="too late")
    store.put_back(A)
    store.report(A, stage="labelling", done=1, total=None, failed=0, rate=None, eta=None, forgive=True)
    assert store.cancel(A) == "done"
    assert (row(store).state, row(store).error, row(store).result_bytes, row(store).done) == ("done", None, 5, 0)


def test_one_more_image_takes_back_deaths_and_the_same_one_does_not(store: JobStore) -> None:
    add(store)
    for expected in (1, 2, 3):
        assert store.claim(A)
        assert row(store).deaths == expected
        store.put_back(A)
    assert store.claim(A)
    store.report(A, stage="labelling", done=1, total=None, failed=0, rate=2.0, eta=4.5, forgive=True)
    assert (row(store).deaths, row(store).rate, row(store).eta) == (0, 2.0, 4.5)
    store.put_back(A)
    assert store.claim(A)
    store.report(A, stage="labelling", done=1, total=None, failed=0, rate=None, eta=None, forgive=True)
    assert row(store).deaths == 1
    store.put_back(A, deaths=-1)  # interrupted in good order
    assert row(store).deaths == 0


def test_failures_are_replaced_not_added_up(store: JobStore) -> None:
    add(store)
    store.set_failures(A, [("b.png", "x"), ("a.png", "y")])
    store.set_failures(A, [("a.png", "z"), ("c.png", "z"), ("c.png", "z")])
    assert store.failures(A, 10) == [("a.png", "z"), ("c.png", "z")]
    assert row(store).failed == 2
    store.remove(A)
    assert store.find(A) is None
    assert store.failures(A, 10) == []


def test_lists_come_newest_first_and_in_pages(store: JobStore) -> None:
    for job in (A, B, C):
        add(store, job)
    store.claim(B)
    assert [job.id for job in store.latest(2)] == [C, B]
    assert [job.id for job in store.latest(2, before=row(store, B).number)] == [A]
    assert [job.id for job in store.latest(9, state="queued")] == [C, A]
    assert store.counts() == {"queued": 2, "running": 1}
    assert store.ahead(row(store, C).number) == 1


def test_a_full_disk_is_one_line_and_heals(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store)
    with monkeypatch.context() as patched:
        limited = sqlite3.connect

        def full(*arguments: object, **named: object) -> sqlite3.Connection:
            connection: sqlite3.Connection = limited(*arguments, **named)  # type: ignore[arg-type]
            connection.execute(f"pragma max_page_count = {connection.execute('pragma page_count').fetchone()[0]}")
            return connection

        store.close()
        patched.setattr(sqlite3, "connect", full)
        with pytest.raises(JobStoreError, match="disk is full") as caught:
            add_many(store)
        assert "\n" not in str(caught.value)
        store.close()
    add(store, B)
    assert row(store, B).state == "queued"


def test_a_file_that_is_no_table_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"something else entirely" * 100)
    with pytest.raises(JobStoreError, match="the table of jobs cannot be used"):
        JobStore(tmp_path / "jobs.sqlite")
