"""``/v1/jobs`` over a socket, without a worker: what is taken, what is refused and how, and that the service stays up."""

from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_segmenter import FakeSegmenter
from job_parts import archive, photos, picture
from live_server import running

from api import ServiceSettings, create_app
from api.jobs.folder import DataFolder
from api.jobs.queue import JobQueue
from api.jobs.service import JobService
from api.jobs.settings import JobSettings
from api.jobs.store import JobStore, JobStoreError
from api.schemas import ErrorBody
from api.schemas_jobs import JobList, JobStatus

LIMITS: dict[str, Any] = {"workers": 0, "archive_bytes": 300_000, "archive_files": 20, "expanded_bytes": 500_000, "waiting": 30}
GOOD = archive(photos(3))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def served(data: Path) -> Iterator[httpx.Client]:
    settings = ServiceSettings(ui=False, crf_workers=0, jobs=JobSettings(data=data, **LIMITS))
    models = {"default": FakeSegmenter(), "other": FakeSegmenter()}
    with running(create_app(settings, models)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test: no upload under way, no folder without a job, no job without a folder, and the service answers."""
    yield
    if "served" in request.fixturenames:
        folder, client = DataFolder(request.getfixturevalue("data")), request.getfixturevalue("served")
        assert list(folder.incoming.iterdir()) == []
        store = JobStore(folder.database)
        waiting = {job.id for job in store.latest(100) if job.state != "cancelled"}
        store.close()
        assert {path.name for path in folder.jobs.iterdir()} == waiting
        assert client.get("/v1/models").status_code == 200


def post(client: httpx.Client, data: bytes = GOOD, path: str = "/v1/jobs", **fields: str) -> httpx.Response:
    return client.post(path, files={"images": ("photos of May.zip", data, "application/zip")}, data=fields)


def problem(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = ErrorBody.model_validate_json(answer.content, strict=True, extra="forbid").error
    assert "\n" not in error.message
    return answer.status_code, error.code, error.field


def test_a_job_is_accepted_and_told_of(served: httpx.Client, data: Path) -> None:
    answer = post(served, classes="5", crf="false")
    assert answer.status_code == 202
    job = JobStatus.model_validate_json(answer.content, strict=True, extra="forbid")
    assert answer.headers["location"] == f"/v1/jobs/{job.id}"
    assert (job.state, job.kind, job.model, job.progress.total, job.ahead) == ("queued", "label", "default", 3, 0)
    assert job.options == {"classes": 5, "crf": False, "flip": False, "overlays": True, "confidence": False, "archive": "photos-of-May"}
    again = JobStatus.model_validate_json(served.get(answer.headers["location"]).content, strict=True, extra="forbid")
    assert again == job
    assert JobQueue(JobSettings(data=data), DataFolder(data), print).waiting() >= {job.id}
    assert zipfile.is_zipfile(data / "jobs" / job.id / "upload.zip")


def test_raw_bytes_with_options_in_the_query(served: httpx.Client) -> None:
    answer = served.post("/v1/jobs?classes=3", content=GOOD, headers={"Content-Type": "application/zip"})
    assert (answer.status_code, answer.json()["options"]["classes"], answer.json()["options"]["archive"]) == (202, 3, "images")


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("not a zip", b"something else" * 30, (415, "not_a_zip", "images")),
        ("a picture", picture(0), (415, "not_a_zip", "images")),
        ("cut short", GOOD[:-30], (415, "not_a_zip", "images")),
        ("nothing", b"", (400, "empty_archive", "images")),
        ("an empty zip", archive({}), (422, "no_images", "images")),
        ("no image", archive({"a.txt": b"x"}), (422, "no_images", "images")),
        ("climbing out", archive({"../../evil.png": picture(0), "a.png": picture(1)}), (422, "unsafe_path", "images")),
        ("an absolute path", archive({"/root/evil.png": picture(0)}), (422, "unsafe_path", "images")),
        ("a bomb", archive({"a.bmp": b"\0" * 600_000}), (413, "expands_too_far", "images")),
        ("too many files", archive({f"{number}.png": b"x" for number in range(21)}), (413, "too_many_files", "images")),
        ("too large", os.urandom(400_000), (413, "too_large", "images")),
    ],
)
def test_bad_archives(name: str, body: bytes, expected: tuple[int, str, str], served: httpx.Client) -> None:
    assert problem(post(served, body)) == expected, name
    assert problem(post(served, body, "/v1/fit", name="never")) == expected, name
    if body:
        assert problem(served.post("/v1/jobs", content=body, headers={"Content-Type": "application/zip"})) == expected, name


def test_bad_requests(served: httpx.Client) -> None:
    zipped = {"images": ("a.zip", GOOD, "application/zip")}
    assert problem(served.post("/v1/jobs", files={"image": GOOD})) == (422, "unknown_field", "image")
    assert problem(served.post("/v1/jobs", files={"other": (None, b"x")})) == (400, "missing_archive", "images")
    assert problem(served.post("/v1/jobs", files={"images": (None, b"x")})) == (422, "not_a_file", "images")
    assert problem(served.post("/v1/jobs", files=[("images", zipped["images"]), ("images", zipped["images"])])) == (422, "unknown_field", "images")
    assert problem(served.post("/v1/jobs", content=b"x", headers={"Content-Type": "text/plain"})) == (415, "unsupported_media_type", None)
    assert problem(served.post("/v1/jobs", content=b"x", headers={"Content-Type": "multipart/form-data"})) == (415, "unsupported_media_type", None)
    bounded = {"Content-Type": "multipart/form-data; boundary=x"}
    assert problem(served.post("/v1/jobs", content=b"--x\r\nnonsense", headers=bounded)) == (400, "bad_multipart", None)
    assert problem(served.post("/v1/jobs", content=GOOD, headers={"Content-Type": "application/zip", "Content-Encoding": "gzip"}))[1] == "unsupported_encoding"
    assert problem(post(served, classes="0")) == (422, "invalid_option", "classes")
    assert problem(post(served, classes="28")) == (422, "invalid_option", "classes")
    assert problem(post(served, formats="coco,nope")) == (422, "invalid_option", "formats")
    assert problem(post(served, formats="../x")) == (422, "invalid_option", "formats")
    assert problem(post(served, colour="red")) == (422, "unknown_option", "colour")
    assert problem(served.post("/v1/jobs?classes=3", files=zipped, data={"classes": "4"})) == (422, "invalid_option", "classes")
    assert problem(post(served, model="nope")) == (404, "unknown_model", "model")
    assert problem(post(served, model="../../etc/passwd")) == (404, "unknown_model", "model")
    assert problem(post(served, model="other")) == (409, "fixed_model", "model")
    assert problem(post(served, path="/v1/fit")) == (422, "invalid_option", "name")
    assert problem(post(served, path="/v1/fit", name="../evil")) == (422, "invalid_option", "name")
    assert problem(post(served, path="/v1/fit", name="default")) == (409, "name_taken", "name")


@pytest.mark.parametrize("name", ["nope", "0" * 32, "..%2f..%2fetc", "%00", "x" * 5000])
def test_ids_that_are_none(name: str, served: httpx.Client) -> None:
    for answer in (served.get(f"/v1/jobs/{name}"), served.delete(f"/v1/jobs/{name}"), served.get(f"/v1/jobs/{name}/result")):
        assert problem(answer)[0] == 404


def test_a_job_that_waits_is_cancelled_and_then_removed(served: httpx.Client, data: Path) -> None:
    place = post(served).headers["location"]
    assert problem(served.get(f"{place}/result")) == (409, "no_result", None)
    cancelled = served.delete(place)
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert not (data / "jobs" / place.rpartition("/")[2]).exists()
    assert served.get(place).json()["finished"] is not None
    assert served.delete(place).status_code == 204
    assert served.get(place).status_code == 404


def test_a_job_that_is_over_is_removed_from_a_full_disk(served: httpx.Client, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = post(served).headers["location"]
    folder = data / "jobs" / place.rpartition("/")[2]
    assert served.delete(place).status_code == 202
    folder.mkdir()
    (folder / "result.zip").write_bytes(GOOD)
    remove = JobStore.remove

    def needs_room(self: JobStore, job: str) -> None:
        if folder.exists():
            raise JobStoreError("the table of jobs cannot be used (database or disk is full)")
        remove(self, job)

    monkeypatch.setattr(JobStore, "remove", needs_room)
    assert served.delete(place).status_code == 204
    assert served.get(place).status_code == 404


def test_a_result_is_fetched_whole_or_by_ranges(served: httpx.Client, data: Path) -> None:
    place = post(served).headers["location"]
    job = place.rpartition("/")[2]
    (data / "jobs" / job / "result.zip").write_bytes(GOOD)
    store = JobStore(DataFolder(data).database)
    assert store.finish(job, "done", result_bytes=len(GOOD))
    store.close()
    whole = served.get(f"{place}/result")
    assert (whole.status_code, whole.content, whole.headers["content-disposition"]) == (200, GOOD, 'attachment; filename="photos-of-May-labels.zip"')
    assert served.head(f"{place}/result").headers["content-length"] == str(len(GOOD))
    part = served.get(f"{place}/result", headers={"Range": "bytes=10-"})
    assert (part.status_code, part.content) == (206, GOOD[10:])
    beyond = served.get(f"{place}/result", headers={"Range": f"bytes={len(GOOD)}-"})
    assert problem(beyond) == (416, "range_not_satisfiable", "Range")
    assert beyond.headers["content-range"] == f"bytes */{len(GOOD)}"
    assert problem(served.get(f"{place}/result", headers={"Range": "lines=1-2"})) == (400, "bad_range", "Range")
    with pytest.MonkeyPatch.context() as patched:  # removed between the look for it and its sending
        patched.setattr(JobService, "result", lambda *_: data / "gone.zip")
        assert problem(served.get(f"{place}/result")) == (409, "no_result", None)
    (data / "jobs" / job / "result.zip").unlink()
    assert problem(served.get(f"{place}/result")) == (409, "no_result", None)
    assert served.delete(place).status_code == 204


def test_lists_in_pages(served: httpx.Client) -> None:
    made = [post(served).json()["id"] for _ in range(3)]
    first = JobList.model_validate_json(served.get("/v1/jobs?limit=2&state=queued").content, strict=True, extra="forbid")
    assert [job.id for job in first.jobs] == made[:0:-1]
    assert first.before == made[1]
    second = served.get(f"/v1/jobs?limit=1&before={first.before}").json()
    assert [job["id"] for job in second["jobs"]] == made[:1]
    assert problem(served.get("/v1/jobs?limit=0")) == (422, "invalid_option", "limit")
    assert problem(served.get("/v1/jobs?state=odd")) == (422, "invalid_option", "state")
    assert problem(served.get("/v1/jobs?stat=done")) == (422, "unknown_option", "stat")
    assert problem(served.get(f"/v1/jobs?before={'0' * 32}"))[0] == 404


def test_two_fits_of_one_name(served: httpx.Client) -> None:
    first = post(served, path="/v1/fit", name="mine", classes="3")
    assert (first.status_code, first.json()["kind"], first.json()["model"]) == (202, "fit", "mine")
    assert problem(post(served, path="/v1/fit", name="mine")) == (409, "name_taken", "name")
    served.delete(first.headers["location"])
    again = post(served, path="/v1/fit", name="mine")
    assert again.status_code == 202
    served.delete(again.headers["location"])


def test_a_client_that_leaves_in_the_middle_of_its_upload(served: httpx.Client) -> None:
    def half() -> Iterator[bytes]:
        yield GOOD[:100]
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        served.post("/v1/jobs", content=half(), headers={"Content-Type": "application/zip"})
    assert served.get("/v1/jobs").status_code == 200


class _Full(BytesIO):
    def write(self, _: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_and_the_service_stays_up(served: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda *_, **__: _Full())
        answer = post(served)
    assert problem(answer) == (507, "disk_full", None)
    assert answer.headers["retry-after"] == "60"
    accepted = post(served)
    assert accepted.status_code == 202


def test_a_data_folder_that_may_only_be_read(served: httpx.Client, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", refuse)
        answer = post(served)
    assert problem(answer) == (507, "storage_unavailable", None)
    assert str(data) not in answer.text


def test_a_queue_that_cannot_be_written_loses_no_job(served: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "gone")

    with monkeypatch.context() as patched:
        patched.setattr("huey.storage.SqliteStorage.enqueue", refuse)
        answer = post(served)
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")


def test_no_more_wait_than_may(tmp_path: Path) -> None:
    settings = ServiceSettings(ui=False, crf_workers=0, jobs=JobSettings(data=tmp_path, **{**LIMITS, "waiting": 2}))
    with running(create_app(settings, {"default": FakeSegmenter()})) as url, httpx.Client(base_url=url) as client:
        assert [post(client).status_code for _ in range(2)] == [202, 202]
        refused = post(client)
        assert problem(refused) == (503, "busy", None)
        assert refused.headers["retry-after"] == "30"


def test_a_restart_forgets_no_job(tmp_path: Path) -> None:
    settings = ServiceSettings(ui=False, crf_workers=0, jobs=JobSettings(data=tmp_path, **LIMITS))
    with running(create_app(settings, {"default": FakeSegmenter()})) as url:
        before = httpx.post(f"{url}/v1/jobs", files={"images": GOOD}).json()
    with running(create_app(settings, {"default": FakeSegmenter()})) as url:
        assert httpx.get(f"{url}/v1/jobs").json()["jobs"] == [before]


def test_a_service_without_a_data_folder_says_so() -> None:
    with running(create_app(ServiceSettings(ui=False, crf_workers=0), {"default": FakeSegmenter()})) as url, httpx.Client(base_url=url) as client:
        for answer in (post(client), post(client, path="/v1/fit", name="a"), client.get("/v1/jobs"), client.get(f"/v1/jobs/{'0' * 32}")):
            assert problem(answer) == (503, "jobs_off", None)
            assert "--data" in answer.json()["error"]["message"]
