"""The table of jobs in SQLite: the one place where state and progress are kept, for servers and workers alike."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.errors import StegoError

Kind = Literal["label", "fit"]
State = Literal["queued", "running", "done", "failed", "cancelled"]
UNFINISHED: tuple[State, ...] = ("queued", "running")

_WAIT = 15.0  # seconds for another process to end its transaction

_SCHEMA = """
create table if not exists jobs (
    number integer primary key autoincrement,
    id text not null unique,
    kind text not null,
    owner text not null default '',
    state text not null,
    stage text not null default '',
    model text not null,
    options text not null,
    total integer not null,
    done integer not null default 0,
    failed integer not null default 0,
    rate real,
    eta real,
    error text,
    cancel integer not null default 0,
    deaths integer not null default 0,
    runs integer not null default 0,
    created real not null,
    started real,
    finished real,
    updated real not null,
    result_bytes integer
);
create index if not exists jobs_state on jobs (state, number);
create table if not exists failures (
    job text not null,
    image text not null,
    reason text not null,
    primary key (job, image)
);
"""


class JobStoreError(StegoError):
    """The table of jobs cannot be read or written: a full disk, a file that may only be read."""


@dataclass(frozen=True)
class Job:
    """One row.

    Attributes:
        number: grows with each job.
        stage: what is being done, for a person.
        owner: name of the API key it came with; "" where none is asked for.
        model: name of the segmenter that is used, or of the one that a fit makes.
        options: what the client chose.
        total: of images (or of steps of the stage).
        failed: images that could not be used.
        rate: images (or steps) a second, over the present run.
        eta: seconds left when the row was ``updated``.
        error: why it failed.
        cancel: it is to be cancelled.
        deaths: runs in a row that ended without a word and without one more image done.
        runs: how often it was taken up.
    """

    number: int
    id: str
    kind: Kind
    owner: str
    state: State
    stage: str
    model: str
    options: dict[str, Any]
    total: int
    done: int
    failed: int
    rate: float | None
    eta: float | None
    error: str | None
    cancel: bool
    deaths: int
    runs: int
    created: float
    started: float | None
    finished: float | None
    updated: float
    result_bytes: int | None


class JobStore:
    """The table, for one process; threads may share it.

    Raises:
        JobStoreError: from any method, where the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        with self._database():
            pass  # a file that cannot be used is told at once

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # Reading -----------------------------------------------------------------------------------------------------

    def find(self, job: str) -> Job | None:
        """The job, or None."""
        with self._database() as database:
            row = database.execute("select * from jobs where id = ?", (job,)).fetchone()
        return None if row is None else _job(row)

    def latest(self, limit: int, *, state: State | None = None, before: int | None = None, owner: str | None = None) -> list[Job]:
        """The newest jobs, newest first; only those in ``state``, with a number below ``before``, or of ``owner``, if given."""
        with self._database() as database:
            rows = database.execute(
                "select * from jobs where (:state is null or state = :state) and (:before is null or number < :before) "
                "and (:owner is null or owner = :owner) order by number desc limit :limit",
                {"state": state, "before": before, "owner": owner, "limit": limit},
            ).fetchall()
        return [_job(row) for row in rows]

    def unfinished(self) -> list[Job]:
        """Jobs that wait or are worked on, oldest first."""
        with self._database() as database:
            return [_job(row) for row in database.execute("select * from jobs where state in (?, ?) order by number", UNFINISHED).fetchall()]

    def finished(self) -> list[Job]:
        """Jobs that are over, oldest first."""
        with self._database() as database:
            return [_job(row) for row in database.execute("select * from jobs where state not in (?, ?) order by finished", UNFINISHED).fetchall()]

    def counts(self) -> dict[State, int]:
        """Number of jobs in each state that occurs."""
        with self._database() as database:
            return {row["state"]: row["n"] for row in database.execute("select state, count(*) n from jobs group by state").fetchall()}

    def ahead(self, number: int) -> int:
        """Jobs that wait and came before ``number``."""
        with self._database() as database:
            row = database.execute("select count(*) n from jobs where state = 'queued' and number < ?", (number,)).fetchone()
        return int(row["n"])

    def failures(self, job: str, limit: int) -> list[tuple[str, str]]:
        """The first failures of a job as (image, reason), by name."""
        with self._database() as database:
            rows = database.execute("select image, reason from failures where job = ? order by image limit ?", (job, limit)).fetchall()
        return [(row["image"], row["reason"]) for row in rows]

    # Writing -----------------------------------------------------------------------------------------------------

    def add(self, job: str, kind: Kind, *, owner: str, model: str, options: Mapping[str, Any], total: int, waiting: int) -> bool:
        """A new job, which waits; whether it was added: not where ``waiting`` jobs wait already, or another fit makes a model of the same name.

        In one step, since others may have come while this one's archive did.
        """
        values = {"job": job, "kind": kind, "owner": owner, "model": model, "options": json.dumps(dict(options)), "total": total, "waiting": waiting}
        with self._database() as database:
            changed = database.execute(
                "insert into jobs (id, kind, owner, state, model, options, total, created, updated) "
                "select :job, :kind, :owner, 'queued', :model, :options, :total, :now, :now "
                "where (select count(*) from jobs where state = 'queued') < :waiting and not (:kind = 'fit' and "
                "exists (select 1 from jobs where kind = 'fit' and model = :model and state in ('queued', 'running')))",
                {**values, "now": time.time()},
            ).rowcount
        return changed == 1

    def claim(self, job: str) -> bool:
        """Take up a job that waits; whether there was one. Counts as a death until something is heard of it."""
        now = time.time()
        with self._database() as database:
            changed = database.execute(
                "update jobs set state = 'running', stage = 'starting', runs = runs + 1, deaths = deaths + 1, rate = null, eta = null, "
                "started = coalesce(started, ?), updated = ? where id = ? and state = 'queued' and cancel = 0",
                (now, now, job),
            ).rowcount
        return changed == 1

    def report(self, job: str, *, stage: str, done: int | None, total: int | None, failed: int, rate: float | None, eta: float | None, forgive: bool) -> None:
        """Progress; None leaves ``done`` or ``total`` as it is. With ``forgive``, one more image done takes back earlier deaths."""
        values = {"job": job, "stage": stage, "done": done, "total": total, "failed": failed, "rate": rate, "eta": eta, "forgive": forgive}
        with self._database() as database:
            database.execute(
                "update jobs set deaths = case when :forgive and :done > done then 0 else deaths end, stage = :stage, done = coalesce(:done, done), "
                "total = coalesce(:total, total), failed = :failed, rate = coalesce(:rate, rate), eta = :eta, updated = :now "
                "where id = :job and state = 'running'",
                {**values, "now": time.time()},
            )

    def set_failures(self, job: str, failures: Iterable[tuple[str, str]]) -> None:
        """The failures of a job, in place of those known before."""
        with self._database() as database:
            database.execute("delete from failures where job = ?", (job,))
            database.executemany("insert or replace into failures values (?, ?, ?)", [(job, image, reason) for image, reason in failures])
            database.execute("update jobs set failed = (select count(*) from failures where job = ?1) where id = ?1", (job,))

    def finish(self, job: str, state: State, *, error: str | None = None, result_bytes: int | None = None) -> bool:
        """End a job that is not over yet; whether it was not."""
        now = time.time()
        with self._database() as database:
            changed = database.execute(
                "update jobs set state = ?, stage = '', error = ?, result_bytes = ?, finished = ?, updated = ?, rate = case when ? = 'done' then rate end, "
                "eta = null where id = ? and state in ('queued', 'running')",
                (state, error, result_bytes, now, now, state, job),
            ).rowcount
        return changed == 1

    def put_back(self, job: str, *, deaths: int = 0) -> None:
        """Have a job that was being worked on wait again; ``deaths`` is added to those it has."""
        with self._database() as database:
            database.execute(
                "update jobs set state = 'queued', stage = '', rate = null, eta = null, deaths = max(0, deaths + ?), updated = ? "
                "where id = ? and state in ('queued', 'running')",
                (deaths, time.time(), job),
            )

    def cancel(self, job: str) -> State | None:
        """Cancel at once what waits, and ask whoever works on it otherwise; the state afterwards, None for an unknown job."""
        now = time.time()
        with self._database() as database:
            database.execute("update jobs set cancel = 1, updated = ? where id = ? and state in ('queued', 'running')", (now, job))
            database.execute("update jobs set state = 'cancelled', stage = '', finished = ? where id = ? and state = 'queued'", (now, job))
            row = database.execute("select state from jobs where id = ?", (job,)).fetchone()
        return None if row is None else row["state"]

    def remove(self, job: str) -> None:
        """Forget a job."""
        with self._database() as database:
            database.execute("delete from failures where job = ?", (job,))
            database.execute("delete from jobs where id = ?", (job,))

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """The connection inside a transaction, one thread at a time."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = _open(self._path)
                with self._connection as connection:
                    yield connection
            except sqlite3.Error as error:
                # Opened anew the next time: a file that was removed or replaced heals by itself.
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
                raise JobStoreError(f"the table of jobs cannot be used ({error}); is the disk of the data folder full, or may it only be read?") from error


def _open(path: Path) -> sqlite3.Connection:
    """A connection to the table, made if need be. SQLite waits for others by itself, except while a new file is switched to WAL: then it gives up at once."""
    deadline = time.monotonic() + _WAIT
    while True:
        connection = sqlite3.connect(path, timeout=_WAIT, check_same_thread=False)
        try:
            _prepare(connection)
            return connection
        except sqlite3.Error as error:
            connection.close()
            # The low byte is the error itself; what is above tells its kind (another is recovering the file, say).
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    # Readers and the writer do not wait for each other, and a killed process leaves nothing half written.
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
    connection.executescript(_SCHEMA)
    if not _has_owner(connection):  # a table of the first release
        with connection:
            connection.execute("begin immediate")  # of two that find it so, one may add the column
            if not _has_owner(connection):
                connection.execute("alter table jobs add column owner text not null default ''")


def _has_owner(connection: sqlite3.Connection) -> bool:
    return "owner" in {row["name"] for row in connection.execute("pragma table_info(jobs)")}


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    return Job(**{**values, "options": json.loads(values["options"]), "cancel": bool(values["cancel"])})
