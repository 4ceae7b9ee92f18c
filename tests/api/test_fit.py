"""``POST /v1/fit`` as far as its job: a new model that REST, the command line and the page can use; names that are taken; killed runs."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job_parts import archive, photos, picture, write_model
from PIL import Image

from api.catalog import Catalog
from api.jobs.folder import DataFolder
from api.jobs.process import run_job
from api.jobs.service import JobService, make_job_service
from api.jobs.settings import JobSettings, WorkerSettings
from api.jobs.store import Job
from api.model_folder import ModelFolder
from api.settings import ServiceSettings
from models.backbone import Backbone, save_backbone
from models.errors import StegoError
from stego_app.images import read_image
from stego_app.segmenter import Segmenter


@dataclass
class Bench:
    """Fits without processes."""

    service: JobService
    settings: WorkerSettings
    models: Path
    data: DataFolder

    def submit(self, files: Mapping[str, bytes], **options: Any) -> Job:
        with self.service.incoming() as upload:
            upload.write_bytes(archive(files))
            return self.service.fit(upload, {"name": "mine", "method": "cluster", "seed": 0, "archive": "holiday", **options})

    def run(self, job: Job) -> Job:
        run_job(self.settings, job.id)
        return self.service.find(job.id)


@pytest.fixture
def bench(tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.chdir(tmp_path)  # a job's process stands in its folder
    jobs = JobSettings(data=tmp_path / "data", workers=0)
    catalog = Catalog({}, files={"tiny": write_model(tmp_path / "tiny.safetensors", tiny_backbone)}, folder=ModelFolder(tmp_path / "data" / "models"))
    service = make_job_service(ServiceSettings(jobs=jobs, device="cpu"), catalog)
    assert service is not None
    yield Bench(service, WorkerSettings(jobs=jobs, device="cpu"), tmp_path / "data" / "models", DataFolder(tmp_path / "data"))
    service.stop()


@pytest.fixture
def small(tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have fits use the tiny backbone in place of the embedded one."""
    save_backbone(tmp_path / "backbone.safetensors", tiny_backbone)
    monkeypatch.setattr(Segmenter, "fit", partial(Segmenter.fit, backbone=str(tmp_path / "backbone.safetensors")))


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_fit_makes_a_model_that_all_can_use(bench: Bench) -> None:
    files = photos(6)
    job = bench.run(bench.submit({**files, "broken.png": files["photo000.png"][:200]}, classes=3, resolution=64))
    assert (job.state, job.error, job.failed) == ("done", None, 1)
    assert bench.service.catalog.names() == ["tiny", "mine"]
    segmenter = bench.service.catalog.get("mine")
    assert segmenter.default_classes == 3
    labels = segmenter(read_image(files["photo000.png"]), crf=False).labels
    assert len(np.unique(labels)) > 1
    info = json.dumps(segmenter.info())
    assert str(bench.data.path) not in info
    assert segmenter.info()["provenance"]["config"]["data"] == "holiday"
    with zipfile.ZipFile(bench.service.result(job.id)) as result:
        assert result.namelist() == ["mine.safetensors"]
        assert result.read("mine.safetensors") == (bench.models / "mine.safetensors").read_bytes()
    assert dict(bench.service.store.failures(job.id, 9)).keys() == {"broken.png"}
    # A job that labels with it.
    with bench.service.incoming() as upload:
        upload.write_bytes(archive(photos(2)))
        labelled = bench.run(bench.service.label(upload, {"model": "mine", "crf": False, "overlays": False}))
    assert labelled.state == "done"
    with zipfile.ZipFile(bench.service.result(labelled.id)) as result:
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(result.read("labels/photo000.png")))), labels)


def fake_fit(monkeypatch: pytest.MonkeyPatch, backbone: Backbone, seed: int) -> list[int]:
    """Have a fit write a given model at once; how often it was asked to."""
    calls: list[int] = []

    def cluster(_work: Any, folder: Path, made: Path) -> None:
        calls.append(len(list(folder.rglob("*.png"))))
        write_model(made, backbone, seed)

    monkeypatch.setattr("api.jobs.fit_job._cluster", cluster)
    return calls


def test_a_fit_killed_after_publishing_makes_nothing_twice(bench: Bench, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_fit(monkeypatch, tiny_backbone, 1)
    job = bench.submit(photos(3))

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("api.jobs.fit_job.write_result", die)
        assert bench.run(job).state == "queued"
    published = (bench.models / "mine.safetensors").read_bytes()
    assert bench.run(job).state == "done"
    assert calls == [3]
    assert (bench.models / "mine.safetensors").read_bytes() == published
    assert [path.name for path in bench.models.iterdir()] == ["mine.safetensors"]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_fit_interrupted_in_a_stage_of_few_steps_still_knows_its_images(
    stage: int, bench: Bench, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bench.submit({**photos(3), "broken.png": picture(0)[:100], "torn.png": picture(1)[:100]})

    def stop(work: Any, *_: Any) -> None:
        work.report("deciding", 0, stage)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("api.jobs.fit_job._cluster", stop)
        assert bench.run(job).state == "queued"
    calls = fake_fit(monkeypatch, tiny_backbone, 1)
    job = bench.run(job)
    assert (job.state, job.error, job.failed, calls) == ("done", None, 2, [3])


def test_a_name_taken_while_the_fit_ran_is_not_overwritten(bench: Bench, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_fit(monkeypatch, tiny_backbone, 1)
    job = bench.submit(photos(3))
    bench.models.mkdir(exist_ok=True)
    other = write_model(bench.models / "mine.safetensors", tiny_backbone, 2).read_bytes()
    job = bench.run(job)
    assert (job.state, job.error) == ("failed", "name: there is a model 'mine' already; choose another name, or remove that model first")
    assert (bench.models / "mine.safetensors").read_bytes() == other


def test_a_fit_of_nothing_readable_fails(bench: Bench) -> None:
    job = bench.run(bench.submit({"a.png": b"x", "b.png": picture(0)[:100]}))
    assert job.state == "failed"
    assert job.error is not None
    assert "none of the 2 images could be used" in job.error
    assert bench.service.catalog.names() == ["tiny"]


def test_a_model_that_was_made_is_listed_and_downloaded(bench: Bench, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_fit(monkeypatch, tiny_backbone, 1)
    files = photos(3)
    job = bench.run(bench.submit({**files, "broken.png": files["photo000.png"][:200], "note.txt": b"x"}))
    assert (job.state, job.error, job.failed, calls) == ("done", None, 1, [3])
    assert dict(bench.service.store.failures(job.id, 9)).keys() == {"broken.png"}
    assert bench.service.catalog.names() == ["tiny", "mine"]
    assert bench.service.catalog.get("mine").default_classes == 4
    with zipfile.ZipFile(bench.service.result(job.id)) as result:
        assert result.namelist() == ["mine.safetensors"]
        assert result.read("mine.safetensors") == (bench.models / "mine.safetensors").read_bytes()
    assert {path.name for path in bench.data.job(job.id).path.iterdir()} == {"result.zip", "lock"}


def test_what_a_fit_refuses_is_one_line_without_places(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(images: list[Path], **options: Any) -> None:
        raise StegoError(f"{images[0].parent}: 255 classes asked for,\nbut {len(images)} images; see {options['cache']}")

    monkeypatch.setattr(Segmenter, "fit", refuse)
    job = bench.run(bench.submit(photos(2), classes=255))
    assert job.state == "failed"
    assert job.error is not None
    assert "255 classes asked for, but 2 images" in job.error
    assert str(bench.data.path) not in job.error


@pytest.mark.slow
def test_training_makes_a_model_and_a_report(bench: Bench) -> None:
    job = bench.run(bench.submit(photos(12), method="train", classes=3, resolution=112))
    assert (job.state, job.error) == ("done", None)
    with zipfile.ZipFile(bench.service.result(job.id)) as result:
        assert {"mine.safetensors", "report/report.html", "report/findings.json"} <= set(result.namelist())
        page = result.read("report/report.html").decode()
    assert "Classes of holiday" in page
    assert str(bench.data.path) not in page
    assert bench.service.catalog.get("mine").default_classes == 3
