"""Labels an archive of images: batch labelling of a folder, which resumes from its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from api.jobs.result import write_result
from api.jobs.work import Done, NothingUsableError, Work
from stego_app.labelling import LabelSettings, label_images
from stego_app.labelling.manifest import NAME as MANIFEST
from stego_app.labelling.names import plan_folder
from stego_app.labelling.summary import write_failures


def label_settings(options: Mapping[str, Any]) -> LabelSettings:
    """Settings of labelling for a job's options."""
    given = {name: value for name, value in options.items() if name in LabelSettings.model_fields and name != "formats" and value is not None}
    return LabelSettings(**given, formats=asked_formats(options))


def asked_formats(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the formats that a job's options ask for."""
    return tuple(str(options["formats"]).split(",")) if options.get("formats") else ()


def manifest_of(out: Path) -> Path:
    """Where the progress of labelling into ``out`` is recorded."""
    return out / MANIFEST


def run_label(work: Work) -> Done:
    """Label the job's images and write its result.

    Raises:
        NothingUsableError: no image could be labelled.
        StegoError: a model that cannot be loaded, options that it refuses, or a folder that cannot be written to.
    """
    from stego_app.segmenter import Segmenter  # torch takes seconds to import

    refused = work.unpacked()
    if len(refused) == work.job.total:
        raise NothingUsableError(refused)
    work.report("loading the model", 0, 1)
    segmenter = Segmenter.load(work.folder.model if work.folder.model.exists() else "default", device=work.settings.device, runtime=work.settings.runtime)
    out = work.folder.out
    # The client has its own images; where this machine keeps their copies is not for the result.
    plans = [replace(plan, image=replace(plan.image, private=True)) for plan in plan_folder(work.folder.input, out)]
    summary = label_images(plans, out, segmenter, label_settings(work.job.options), work.report)
    failures = sorted([*refused, *((name, reason if name in reason else f"{name}: {reason}") for name, reason in summary.failures)])
    if summary.total == summary.failed:
        raise NothingUsableError(failures)
    write_failures(out, failures)
    work.report("writing the result", 0, 1)
    return Done(failures, write_result(out, work.folder.result))
