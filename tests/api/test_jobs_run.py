"""The work of a job, in this process: results, failures, interruption and going on, cancellation, a full disk, a removed model."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import pickle
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job_parts import archive, photos, write_model
from PIL import Image

from api.catalog import Catalog
from api.jobs.folder import DataFolder, JobFolder
from api.jobs.lock import file_lock
from api.jobs.process import run_job
from api.jobs.retention import sweep
from api.jobs.service import JobService, NoResultError, TooManyJobsError, make_job_service
from api.jobs.settings import JobSettings, WorkerSettings
from api.jobs.store import Job
from api.jobs.worker import JobRunner
from api.settings import ServiceSettings
from models.backbone import Backbone
from stego_app.formats.registry import find_format
from stego_app.images import read_image
from stego_app.segmenter import Segmenter


@dataclass
class Bench:
    """Jobs without processes."""

    service: JobService
    data: DataFolder
    settings: WorkerSettings
    model: Path

    def submit(self, files: Mapping[str, bytes], **options: Any) -> Job:
        with self.service.incoming() as upload:
            upload.write_bytes(archive(files))
            return self.service.label(upload, {"crf": False, "overlays": False, **options})

    def run(self, job: Job) -> Job:
        run_job(self.settings, job.id)
        return self.service.find(job.id)

    def folder(self, job: Job) -> JobFolder:
        return self.data.job(job.id)


@pytest.fixture
def bench(tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.chdir(tmp_path)  # a job's process stands in its folder
    model = write_model(tmp_path / "tiny.safetensors", tiny_backbone)
    jobs = JobSettings(data=tmp_path / "data", workers=0)
    service = make_job_service(ServiceSettings(jobs=jobs, device="cpu", max_pixels=10_000), Catalog({}, files={"tiny": model}))
    assert service is not None
    yield Bench(service, DataFolder(tmp_path / "data"), WorkerSettings(jobs=jobs, device="cpu", max_pixels=10_000), model)
    service.stop()


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as result:
        assert result.testzip() is None
        return {name: result.read(name) for name in result.namelist()}


def test_the_result_is_what_the_segmenter_gives(bench: Bench) -> None:
    files = photos(3)
    job = bench.run(bench.submit(files, classes=3, overlays=True, formats="coco,yolo"))
    assert (job.state, job.done, job.total, job.failed, job.runs, job.deaths) == ("done", 3, 3, 0, 1, 0)
    result = contents(bench.service.result(job.id))
    assert {name for name in result if name.startswith("labels/")} == {f"labels/{name}" for name in files}
    assert {name for name in result if name.startswith("overlays/")} == {f"overlays/{name[:-4]}.jpg" for name in files}
    assert {"classes.csv", "classes.json", "manifest.jsonl"} <= set(result)
    for product in (find_format("coco").product, find_format("yolo").product):
        assert any(name == product or name.startswith(f"{product}/") for name in result), product
    segmenter = Segmenter.load(bench.model, device="cpu")
    for name, data in files.items():
        expected = segmenter(read_image(data), classes=3, crf=False).labels
        assert np.array_equal(np.asarray(Image.open(BytesIO(result[f"labels/{name}"]))), expected)
    assert job.result_bytes == bench.service.result(job.id).stat().st_size
    assert {path.name for path in bench.folder(job).path.iterdir()} == {"result.zip", "lock"}


def test_no_more_wait_than_may_however_many_send_at_once(bench: Bench) -> None:
    service = JobService(bench.service.settings.model_copy(update={"waiting": 1}), bench.settings, bench.service.catalog)
    with service.incoming() as first, service.incoming() as second:
        for upload in (first, second):
            upload.write_bytes(archive(photos(1)))
        job = service.label(first, {})
        with pytest.raises(TooManyJobsError, match="1 jobs wait already"):
            service.label(second, {})
    assert [path.name for path in bench.data.jobs.iterdir()] == [job.id]
    assert list(bench.data.incoming.iterdir()) == []
    service.stop()


def test_images_that_fail_are_listed_and_the_others_are_done(bench: Bench) -> None:
    whole = photos(1)
    files = {**whole, "cut.png": whole["photo000.png"][:300], "empty.jpg": b"", "text.png": b"no image", "large.png": photo_of(200, 200)}
    job = bench.run(bench.submit(files))
    assert (job.state, job.done, job.failed) == ("done", 5, 4)
    reasons = dict(bench.service.store.failures(job.id, 100))
    assert set(reasons) == {"cut.png", "empty.jpg", "text.png", "large.png"}
    assert "truncated or damaged" in reasons["cut.png"]
    assert "pixels" in reasons["large.png"]
    result = contents(bench.service.result(job.id))
    rows = list(csv.reader(io.StringIO(result["failures.csv"].decode())))
    assert [row[0] for row in rows[1:]] == sorted(reasons)
    assert str(bench.data.path) not in result["failures.csv"].decode()
    assert {name for name in result if name.startswith("labels/")} == {f"labels/{name}" for name in whole}


def test_labelme_files_name_the_clients_own_images(bench: Bench) -> None:
    job = bench.run(bench.submit(photos(2), formats="labelme"))
    result = contents(bench.service.result(job.id))
    named = {name: json.loads(data)["imagePath"] for name, data in result.items() if name.startswith("labelme/") and name.endswith(".json")}
    assert named == {"labelme/photo000.json": "photo000.png", "labelme/more/photo001.json": "photo001.png"}
    assert not [name for name, data in result.items() if str(bench.data.path).encode() in data or b"input/" in data]


def photo_of(height: int, width: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("files", [{"a.png": b"x", "b.png": b"y"}, {"a.png": photo_of(200, 200)}])
def test_a_job_none_of_whose_images_can_be_used_fails(files: dict[str, bytes], bench: Bench) -> None:
    job = bench.run(bench.submit(files))
    assert (job.state, job.failed) == ("failed", len(files))
    assert job.error is not None
    assert f"none of the {len(files)} images could be used (first: a.png" in job.error
    assert not bench.folder(job).path.exists()
    with pytest.raises(NoResultError, match="the job is failed: none of"):
        bench.service.result(job.id)


def after(count: int, event: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Call ``event`` when ``count`` images are finished; the names of all images that are worked on from now on."""
    from stego_app.labelling import labeller, worker

    seen: list[str] = []
    original = worker.finish_task

    def finish(task: Any) -> Any:
        seen.append(task.label.name)
        outcome = original(task)
        if len(seen) == count:
            event()
        return outcome

    monkeypatch.setattr(worker, "finish_task", finish)
    monkeypatch.setattr(labeller, "FEW", 1000)  # in this process
    return seen


def interrupt() -> None:
    raise KeyboardInterrupt


def test_an_interrupted_job_goes_on_and_does_nothing_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    files = photos(6)
    job = bench.submit(files)
    with monkeypatch.context() as patched:
        first = after(3, interrupt, patched)
        job = bench.run(job)
    assert (job.state, job.runs, job.deaths) == ("queued", 1, 0)
    done_before = len((bench.folder(job).out / "manifest.jsonl").read_text().splitlines())
    assert done_before == 2
    with monkeypatch.context() as patched:
        second = after(99, interrupt, patched)
        job = bench.run(job)
    assert (job.state, job.done, job.runs) == ("done", 6, 2)
    assert len(second) == 6 - done_before
    assert set(first[:done_before]).isdisjoint(second)
    entries = contents(bench.service.result(job.id))["manifest.jsonl"].decode().splitlines()
    assert len(entries) == 6


def test_a_job_that_is_cancelled_while_it_runs_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = bench.submit(photos(6))

    def cancel() -> None:
        assert bench.service.cancel(job.id) == "running"
        raise KeyboardInterrupt  # what the worker's SIGTERM does

    after(2, cancel, monkeypatch)
    assert bench.run(job).state == "cancelled"
    assert not bench.folder(job).path.exists()


def test_a_full_disk_fails_the_job_in_one_line_and_frees_its_files(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = bench.submit(photos(3))

    def full(path: Path, _: bytes) -> None:
        from stego_app.atomic import output_error

        raise output_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    monkeypatch.setattr("stego_app.labelling.worker.write_bytes", full)
    job = bench.run(job)
    assert job.state == "failed"
    assert job.error is not None
    assert "no space left on the disk; send the job again once there is room" in job.error
    assert str(bench.data.path) not in job.error
    assert not bench.folder(job).path.exists()


def test_a_defect_is_told_without_its_traceback(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = bench.submit(photos(3))

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("api.jobs.label_job.write_result", broken)
    job = bench.run(job)
    assert job.state == "failed"
    assert job.error == f"the job failed on a defect of the service; its log has the reason under {job.id}"


def test_a_job_keeps_the_model_it_came_with(bench: Bench) -> None:
    first, second, third = (bench.submit(photos(2)) for _ in range(3))
    results = [contents(bench.service.result(bench.run(first).id))]
    segmenter = Segmenter.load(bench.model, device="cpu")
    edited = bench.model.with_name("edited.safetensors")
    segmenter.merge([segmenter.table().leaves_of(0), segmenter.table().leaves_of(1)]).save(edited)
    shutil.copyfile(edited, bench.model)  # as `cp` does: into the same file
    results.append(contents(bench.service.result(bench.run(second).id)))
    edited.replace(bench.model)
    bench.model.unlink()
    results.append(contents(bench.service.result(bench.run(third).id)))
    labels = [{name: data for name, data in result.items() if name.startswith("labels/")} for result in results]
    assert len(labels[0]) == 2
    assert labels[0] == labels[1] == labels[2]


def test_a_job_is_worked_on_by_one_process(bench: Bench) -> None:
    job = bench.submit(photos(2))
    with file_lock(bench.folder(job).lock) as held:
        assert held
        assert bench.run(job).state == "queued"
    assert bench.run(job).state == "done"
    assert bench.run(job).runs == 1


def test_a_job_whose_process_was_killed_waits_again_and_fails_in_the_end(bench: Bench) -> None:
    job = bench.submit(photos(2))
    runner = JobRunner(bench.settings)
    for count in range(1, bench.settings.jobs.attempts):
        assert bench.service.store.claim(job.id)  # and then dies
        runner.mend(patience=0)
        row = bench.service.find(job.id)
        assert (row.state, row.deaths) == ("queued", count)
    assert bench.service.store.claim(job.id)
    runner.mend(patience=0)
    row = bench.service.find(job.id)
    assert row.state == "failed"
    assert row.error == "its process died 5 times in a row; is there enough memory for these images?"
    assert not bench.folder(job).path.exists()


def test_a_job_that_is_worked_on_is_left_alone(bench: Bench) -> None:
    job = bench.submit(photos(2))
    runner = JobRunner(bench.settings)
    with file_lock(bench.folder(job).lock):
        assert bench.service.store.claim(job.id)
        runner.mend(patience=0)
        assert bench.service.find(job.id).state == "running"


def test_a_cancelled_job_whose_process_was_killed_is_cancelled(bench: Bench) -> None:
    job = bench.submit(photos(2))
    assert bench.service.store.claim(job.id)
    assert bench.service.cancel(job.id) == "running"
    JobRunner(bench.settings).mend(patience=0)
    assert bench.service.find(job.id).state == "cancelled"
    assert not bench.folder(job).path.exists()


def test_what_is_missing_in_the_queue_is_put_there(bench: Bench) -> None:
    job = bench.submit(photos(2))
    runner = JobRunner(bench.settings)
    assert runner.queue.huey.dequeue().args == [job.id]
    assert runner.queue.waiting() == set()
    runner.mend(patience=0)
    runner.mend(patience=0)
    assert runner.queue.waiting() == {job.id}
    assert runner.queue.huey.storage.queue_size() == 1


def test_a_job_whose_folder_was_removed_fails(bench: Bench) -> None:
    job = bench.submit(photos(2))
    bench.folder(job).remove()
    JobRunner(bench.settings).run(job.id)
    assert (bench.service.find(job.id).state, bench.service.find(job.id).error) == ("failed", "the job's files are gone")


def test_finished_jobs_are_removed_by_age_and_by_size(bench: Bench) -> None:
    jobs = [bench.run(bench.submit(photos(2))) for _ in range(3)]
    waiting = bench.submit(photos(2))
    (bench.data.incoming / "stale.zip").write_bytes(b"x")
    (bench.data.jobs / ("f" * 32)).mkdir()
    for path in (bench.data.incoming / "stale.zip", bench.data.jobs / ("f" * 32)):
        os.utime(path, (0, 0))
    store, settings = bench.service.store, bench.settings.jobs
    sweep(store, bench.data, settings)
    assert len(store.finished()) == 3
    assert list(bench.data.incoming.iterdir()) == []
    size = jobs[0].result_bytes
    assert size is not None
    sweep(store, bench.data, settings.model_copy(update={"keep_bytes": 2 * size + size // 2}))
    assert [job.id for job in store.finished()] == [job.id for job in jobs[1:]]
    sweep(store, bench.data, settings.model_copy(update={"keep_days": 1e-9}))
    assert store.finished() == []
    assert [path.name for path in bench.data.jobs.iterdir()] == [waiting.id]
    assert bench.service.find(waiting.id).state == "queued"


def test_models_that_were_never_finished_are_removed_after_a_day(bench: Bench) -> None:
    folder = bench.data.path / "models"
    folder.mkdir()
    ours = [
        ".5f1c0e92aa31b7d45f1c0e92aa31b7d4.stego-part",
        "..5f1c0e92.stego-part.k3_x81ab.part",
        ".mine.safetensors.k3_x81ab.part",
        ".7-9-0a0b0c0d.stego-part",
    ]
    others = ["mine.safetensors", "mine.part", ".hidden", ".mine.safetensors.lock", "counterpart"]
    for name in [*ours, *others, ".new.safetensors.k3_x81ab.part"]:
        (folder / name).write_bytes(b"x")
        if not name.startswith(".new"):
            os.utime(folder / name, (time.time() - 100_000,) * 2)
    sweep(bench.service.store, bench.data, bench.settings.jobs)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*others, ".new.safetensors.k3_x81ab.part"])


def test_a_message_in_the_queue_cannot_run_code(bench: Bench) -> None:
    runner = JobRunner(bench.settings)

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            return (os.mkdir, (str(bench.data.path / "evil"),))

    runner.queue.huey.storage.enqueue(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=r"."):
        runner.queue.huey.dequeue()
    assert not (bench.data.path / "evil").exists()
