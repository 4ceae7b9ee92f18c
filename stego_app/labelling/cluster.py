"""Labelling over the machines of a Ray cluster: actors hold the model, Ray Data deals them images, and this process keeps the one manifest."""

from __future__ import annotations

import json
import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.errors import StegoError
from stego_app.atomic import OutputError
from stego_app.crf import CrfPool
from stego_app.formats.image_file import ImageFile
from stego_app.labelling.labeller import Labeller, Record
from stego_app.labelling.manifest import NAMES, Entry
from stego_app.labelling.names import Plan
from stego_app.labelling.segmenter import LabellingSegmenter
from stego_app.labelling.settings import LabelSettings
from stego_app.progress import Progress, silent
from stego_app.runtime.extras import require

SHARE = 4
"""Batches that an actor is given at a time: what a lost machine had under way is done again, and the next share comes while this one is worked on."""


@dataclass(frozen=True)
class RayEngine:
    """The `stego_app.labelling.labeller.Engine` of a cluster. Images, ``out`` and the model must lie where every machine sees them under the same path.

    An actor takes ``settings.jobs`` cores (one if not given) and, with ``gpus``, a GPU where the cluster has any. The pool of actors grows to
    what the cluster has, and with it. What a lost machine had under way is given to another, once; an image at which a worker dies
    again when it has that image alone is recorded as failed.

    Attributes:
        open_segmenter: makes the segmenter in each actor; a function at the top level of a module, or a `functools.partial` of one.
        address: of a running cluster; None for the one that ``RAY_ADDRESS`` names, or else one of this machine's cores, started for this run.
        gpus: whether actors want a GPU.
    """

    open_segmenter: Callable[[], LabellingSegmenter]
    address: str | None = None
    gpus: bool = True

    def __call__(self, plans: Sequence[Plan], out: Path, segmenter: LabellingSegmenter, settings: LabelSettings, record: Record, progress: Progress) -> None:
        """Label ``plans`` into ``out``, recording each image when its share is done.

        Raises:
            StegoError: Ray is not installed or not to be reached, or a machine does not see the files.
            OutputError: the output folder cannot be written to.
        """
        del progress  # a raster's rows and a clip's frames go on elsewhere
        left = {plan.name: plan for plan in plans}

        def take(entry: Entry, told: str) -> None:
            left.pop(entry.image, None)
            record(entry, told)

        job = _Job(self.open_segmenter, str(out.resolve()), str(Path.cwd()), settings.model_copy(update={"jobs": settings.jobs or 1}), segmenter.fingerprint)
        with _connected(self.address) as ray:
            gpus = 1 if self.gpus and ray.cluster_resources().get("GPU") else 0
            for size in (SHARE * settings.batch_size, 1):
                if left:
                    self._pass(ray, list(left.values()), size, job, gpus, take)
        for plan in left.values():
            record(Entry(plan.name, plan.image.digest(), segmenter.fingerprint, settings.digest(), "failed", reason="a worker process died at this image"), "")

    def _pass(self, ray: Any, plans: Sequence[Plan], size: int, job: _Job, gpus: int, take: Record) -> None:
        """Deal ``plans`` in shares of ``size``. A share whose worker died twice gives no answer."""
        shares = [{"plans": json.dumps([_plain(plan) for plan in plans[start : start + size]])} for start in range(0, len(plans), size)]
        with warnings.catch_warnings():
            # The limit of retries, which Ray Data is to lose; pyproject.toml holds it to releases that have it.
            warnings.filterwarnings("ignore", "`ray_remote_args")
            data = ray.data.from_items(shares, override_num_blocks=len(shares)).map_batches(
                RayWorker,
                fn_constructor_args=(job,),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=_room(ray, job.settings.jobs or 1, gpus, len(shares))),
                num_cpus=job.settings.jobs,
                num_gpus=gpus,
                max_task_retries=1,
            )
        # No prefetching: an answer that lies ready is recorded before the next one is waited for.
        for answer in data.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            for text in answer["answer"]:
                _take(json.loads(text), take)


@dataclass(frozen=True)
class _Job:
    """What every actor is told. ``here``: the folder that relative paths are meant from."""

    open_segmenter: Callable[[], LabellingSegmenter]
    out: str
    here: str
    settings: LabelSettings
    fingerprint: str


class RayWorker:
    """An actor: holds the model, and labels one share of images after another."""

    def __init__(self, job: _Job) -> None:
        self.job = job
        # Told with the first share: what an actor's start raises, Ray tries again without end.
        self.problem = ""
        try:
            self.labeller = self._labeller()
        except StegoError as error:
            self.problem = f"{socket.gethostname()}: {error}"

    def _labeller(self) -> Labeller:
        for folder, sign in ((self.job.here, None), (self.job.out, NAMES)):  # a run has a manifest in OUT before actors start
            if not Path(folder).is_dir() or (sign and not any(Path(folder).glob(sign))):
                raise StegoError(
                    f"{folder}: not seen from this machine; --engine ray needs images, OUT and the folder it is called in where all machines see them"
                )
        os.chdir(self.job.here)
        segmenter = self.job.open_segmenter()
        if segmenter.fingerprint != self.job.fingerprint:
            raise StegoError(f"the model is {segmenter.fingerprint} on this machine; expected {self.job.fingerprint}, the one it is where the run was started")
        jobs = self.job.settings.jobs
        pool = CrfPool(jobs) if jobs and jobs > 1 else None  # with one core, a second process would only wait for it
        return Labeller(Path(self.job.out), segmenter, self.job.settings, self._note, silent, pool)

    def _note(self, entry: Entry, told: str) -> None:
        self.noted.append((asdict(entry), told))

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """``plans``, a list in JSON for each share, to ``answer``: what was noted of each image, and what ends the run."""
        return {"answer": [json.dumps(self._answer(json.loads(text))) for text in batch["plans"]]}

    def _answer(self, plans: Sequence[dict[str, str]]) -> dict[str, Any]:
        self.noted: list[tuple[dict[str, Any], str]] = []
        problem, full = self.problem, ""
        if not problem:
            try:
                self.labeller.label([_plan(values) for values in plans])
            except OutputError as error:
                full = str(error)
        return {"noted": self.noted, "problem": problem, "full": full}


def _room(ray: Any, cpus: int, gpus: int, most: int) -> int:
    """How many actors the cluster has room for now, from 1 to ``most``. The pool begins with them: to let it grow from one takes minutes."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fitting = [min(int(has.get("CPU", 0) / cpus), int(has.get("GPU", 0) / gpus) if gpus else most) for has in machines]
    return max(1, min(sum(fitting), most))


def _take(answer: Mapping[str, Any], take: Record) -> None:
    for entry, told in answer["noted"]:
        take(Entry(**entry), told)
    if answer["full"]:
        raise OutputError(answer["full"])
    if answer["problem"]:
        raise StegoError(answer["problem"])


def _plain(plan: Plan) -> dict[str, str]:
    return {**asdict(plan), "image": str(plan.image.path), "member": plan.image.member}


def _plan(values: Mapping[str, str]) -> Plan:
    fields = dict(values)
    return Plan(ImageFile(Path(fields.pop("image")), fields.pop("member")), **fields)


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster and quiet; a cluster that was started for this run ends with it.

    Raises:
        StegoError: Ray is not installed, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray = require("ray", extra="ray")
    require("ray.data", extra="ray")
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # its log files, in /tmp/ray, stay
            handler.setLevel(logging.CRITICAL)
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=address, logging_level="ERROR", log_to_driver=False, include_dashboard=False if address is None else None)
        except Exception as error:  # Ray raises plain ones too, such as for a machine too busy to start in time
            ray.shutdown()  # of a node that was given up, some servers run already
            wanted = f"--ray-address {address}: no Ray cluster answers" if address else "Ray cannot be started on this machine"
            raise StegoError(f"{wanted} ({' '.join(str(error).split())[:200]})") from error
    context = ray.data.DataContext.get_current()
    before = context.max_errored_blocks, context.enable_progress_bars
    context.max_errored_blocks, context.enable_progress_bars = -1, False
    try:
        yield ray
    finally:
        context.max_errored_blocks, context.enable_progress_bars = before
        if ours:
            ray.shutdown()
