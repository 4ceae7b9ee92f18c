"""Labelling over a Ray cluster: the files of a run on one machine, also where a machine is lost midway or an image kills its worker."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from test_label_folder import BLUE, GREEN, RED, ColourSegmenter, halves
from typer.testing import CliRunner

from models.errors import StegoError
from stego_app.atomic import OutputError
from stego_app.cli import app
from stego_app.labelling import LabelSettings, label_folder, label_images
from stego_app.labelling.cluster import RayEngine, RayWorker, _connected, _Job, _plain, _plan
from stego_app.labelling.names import plan_folder

SETTINGS = LabelSettings(batch_size=2, overlays=True)
POISON = 1  # the height of an image that kills the process that looks at it


class SlowSegmenter(ColourSegmenter):
    """Says in ``log`` which machine looks at which image, known by its width; takes its time, and begins when ``machines`` of them are up."""

    def __init__(self, log: Path, seconds: float = 0.0, machines: int = 1) -> None:
        super().__init__()
        import ray

        self.log, self.seconds, self.machines = log, seconds, machines
        self.where = ray.get_runtime_context().get_node_id()
        with self.log.open("a") as file:
            file.write(f"{self.where} up\n")

    def class_probabilities(self, images: Sequence[npt.NDArray[np.uint8]], **seeing: Any) -> list[npt.NDArray[np.float32]]:
        while len({where for where, _ in lines(self.log)}) < self.machines:
            time.sleep(0.1)
        for image in images:
            if image.shape[0] == POISON:
                os._exit(1)
            time.sleep(self.seconds)
            with self.log.open("a") as file:
                file.write(f"{self.where} {image.shape[1]}\n")
        return super().class_probabilities(images, **seeing)


def lines(log: Path) -> list[tuple[str, str]]:
    """Machine, and width of the image or "up"."""
    return [(where, what) for where, what in map(str.split, log.read_text().splitlines())]


def photos(folder: Path, count: int) -> Path:
    """Images that differ in width, which tells them apart, and a file that is none."""
    folder.mkdir()
    for number in range(count):
        halves(folder / f"{number:02}.png", (RED, GREEN, BLUE)[number % 3], (BLUE, RED)[number % 2], size=(40, 64 + number))
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def files(out: Path) -> dict[str, bytes]:
    """What a run left that holds no order of work and no number of processes."""
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if name not in ("manifest.jsonl", "classes.json")}


def manifest(out: Path) -> dict[str, Any]:
    """The latest line of each image."""
    path = out / "manifest.jsonl"
    return {entry["image"]: entry for entry in map(json.loads, path.read_text().splitlines())} if path.exists() else {}


def _two_machines(make: Any, tries: int = 4) -> Any:
    """Ray gives a machine 30 seconds to start, which is little on a busy one."""
    small = {"num_cpus": 1, "object_store_memory": 100_000_000}
    made = make(initialize_head=False)
    try:
        made.add_node(include_dashboard=False, **small)
        made.second = made.add_node(**small)
    except Exception:
        made.shutdown()
        if tries == 1:
            raise
        return _two_machines(make, tries - 1)
    return made


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines of one core each, as far as Ray can tell."""
    ray = pytest.importorskip("ray", reason="needs the extra: uv sync --extra ray")
    from ray.cluster_utils import Cluster

    made = _two_machines(Cluster)
    here = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}  # where actors find the segmenters below
    ray.init(address=made.address, logging_level="ERROR", log_to_driver=False, runtime_env=here)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_lost_machine_costs_only_what_it_had_under_way(cluster: Any, tmp_path: Path) -> None:
    source, out, log = photos(tmp_path / "photos", 48), tmp_path / "out", tmp_path / "log.txt"
    segmenter = partial(SlowSegmenter, log, 0.25, 2)
    done_before: set[str] = set()
    ended = threading.Event()

    def lose_a_machine() -> None:
        end = time.monotonic() + 400
        while time.monotonic() < end and not ended.is_set():
            if len(manifest(out)) >= 16:
                done_before.update(manifest(out))
                cluster.remove_node(cluster.second, allow_graceful=False)
                return
            time.sleep(0.05)

    killer = threading.Thread(target=lose_a_machine)
    killer.start()
    try:
        summary = label_images(plan_folder(source, out), out, ColourSegmenter(), SETTINGS, engine=RayEngine(segmenter, gpus=False))
    finally:
        ended.set()
        killer.join()
    assert 16 <= len(done_before) < 40, "the machine was not lost midway"
    assert (summary.labelled, summary.failed) == (48, 1)
    looks = Counter(int(what) - 64 for _, what in lines(log) if what != "up")
    assert len({where for where, what in lines(log) if what != "up"}) == 2
    again = {f"{number:02}.png" for number, times in looks.items() if times > 1}
    assert set(looks) == set(range(48))
    assert again.isdisjoint(done_before)
    assert len(again) <= 2 * 8, "more was done again than the shares of one machine"

    label_images(plan_folder(source, tmp_path / "here"), tmp_path / "here", ColourSegmenter(), SETTINGS)
    assert files(out) == files(tmp_path / "here")
    known = {name: entry for name, entry in manifest(out).items() if entry["status"] == "done"}
    assert known == {name: entry for name, entry in manifest(tmp_path / "here").items() if entry["status"] == "done"}
    log.unlink()
    rerun = label_images(plan_folder(source, out), out, ColourSegmenter(), SETTINGS, engine=RayEngine(segmenter, gpus=False))
    assert (rerun.labelled, rerun.skipped, rerun.failed) == (0, 48, 1)
    assert not [what for _, what in lines(log) if what != "up"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_image_that_kills_its_worker_is_listed_and_the_others_are_labelled(cluster: Any, tmp_path: Path) -> None:
    source, out = photos(tmp_path / "photos", 10), tmp_path / "out"
    halves(source / "poison.png", RED, BLUE, size=(POISON, 90))
    segmenter = partial(SlowSegmenter, tmp_path / "log.txt")
    summary = label_images(plan_folder(source, out), out, ColourSegmenter(), SETTINGS, engine=RayEngine(segmenter, gpus=False))
    assert summary.labelled == 10
    assert dict(summary.failures)["poison.png"] == "a worker process died at this image"
    assert "broken.png" in dict(summary.failures)
    del cluster


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_model_that_a_machine_cannot_read_ends_the_run_with_one_line(cluster: Any, tmp_path: Path) -> None:
    source, out = photos(tmp_path / "photos", 2), tmp_path / "out"
    del cluster
    with pytest.raises(StegoError, match=r"the model is model-two on this machine; expected model-one"):
        label_images(plan_folder(source, out), out, ColourSegmenter(), SETTINGS, engine=RayEngine(partial(ColourSegmenter, "model-two"), gpus=False))


def job(tmp_path: Path, segmenter: Any = ColourSegmenter, **known: Any) -> _Job:
    """What an actor on this machine is told."""
    return _Job(segmenter, str(tmp_path / "out"), str(tmp_path), SETTINGS.model_copy(update={"jobs": 1}), known.pop("fingerprint", "model-one"))


def ask(worker: RayWorker, plans: Sequence[Any]) -> dict[str, Any]:
    """The answer of an actor to one share."""
    return json.loads(worker({"plans": np.array([json.dumps([_plain(plan) for plan in plans])])})["answer"][0])


def test_an_actor_labels_as_this_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source, out = photos(tmp_path / "photos", 5), tmp_path / "out"
    plans = plan_folder(source, out)
    noted: list[Any] = []

    def engine(left: Any, folder: Path, *_: Any) -> None:
        assert folder == out
        noted.extend(ask(RayWorker(job(tmp_path)), left)["noted"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label_images(plans, out, ColourSegmenter(), SETTINGS, engine=engine)
    label_folder(source, tmp_path / "here", ColourSegmenter(), SETTINGS)
    expected = manifest(tmp_path / "here")
    assert {entry["image"]: entry["status"] for entry, _ in noted} == {name: entry["status"] for name, entry in expected.items()}
    for name in expected:
        if expected[name]["status"] == "done":
            assert (out / expected[name]["label"]).read_bytes() == (tmp_path / "here" / expected[name]["label"]).read_bytes()


def test_plans_travel_whole(tmp_path: Path) -> None:
    for plan in plan_folder(photos(tmp_path / "photos", 2), tmp_path / "out"):
        assert _plan(json.loads(json.dumps(_plain(plan)))) == plan


def test_an_actor_tells_what_it_does_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"{tmp_path / 'out'}: not seen from this machine" in RayWorker(job(tmp_path)).problem
    (tmp_path / "out").mkdir()
    assert "not seen from this machine" in RayWorker(job(tmp_path)).problem, "a folder of that name that is not the one of this run"
    for name in ("manifest.2-of-3.jsonl", "manifest.jsonl"):  # of a part, of the whole
        (tmp_path / "out" / name).touch()
        assert RayWorker(job(tmp_path)).problem == ""
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / "manifest.jsonl").touch()
    assert "the model is model-one on this machine; expected another" in RayWorker(job(tmp_path, fingerprint="another")).problem


def test_a_full_disk_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plans = plan_folder(photos(tmp_path / "photos", 2), tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.jsonl").touch()
    worker = RayWorker(job(tmp_path))
    monkeypatch.setattr(worker.labeller, "label", lambda _: (_ for _ in ()).throw(OutputError("out: no space left on the disk")))
    answer = ask(worker, plans)
    assert (answer["full"], answer["problem"]) == ("out: no space left on the disk", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engine", "slurm"], "--engine slurm: expected local or ray"),
        (["--ray-address", "10.0.0.1:6379"], "--ray-address belongs to --engine ray"),
        (["--engine", "ray", "--fit"], "not with --fit (see `stego train`)"),
        (["--engine", "ray", "--watch"], "--watch or streams (-)"),
    ],
)
def test_requests_that_make_no_sense(tmp_path: Path, options: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["label", str(photos(tmp_path / "photos", 1)), str(tmp_path / "out"), *options])
    assert isinstance(result.exception, StegoError)
    assert said in str(result.exception)


def test_servers_of_a_cluster_that_did_not_start_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []

    def init(**_: object) -> None:
        raise RuntimeError("the node\ntimed out")

    fake, data = ModuleType("ray"), ModuleType("ray.data")
    vars(fake).update(is_initialized=lambda: False, init=init, shutdown=lambda: ended.append(True), data=data)
    for module in (fake, data):
        module.__spec__ = ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(StegoError, match=r"Ray cannot be started on this machine \(the node timed out\)"), _connected(None):
        pass
    assert ended == [True]


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stego_app.runtime.extras.find_spec", lambda _: None)
    result = CliRunner().invoke(app, ["label", str(photos(tmp_path / "photos", 1)), str(tmp_path / "out"), "--engine", "ray"])
    assert isinstance(result.exception, StegoError)
    assert str(result.exception).startswith("ray is not installed; pip install 'stego-app[ray]'")
