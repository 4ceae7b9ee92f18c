"""Makes a segmenter of an archive of images, and puts it into the folder of models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.jobs.result import write_result
from api.jobs.work import Done, NothingUsableError, Work
from api.model_folder import ModelFolder
from models.errors import StegoError
from stego_app.atomic import write_bytes, write_text
from stego_app.images import find_images, read_image

if TYPE_CHECKING:
    from stego_app.segmenter_file import SegmenterModel


def run_fit(work: Work) -> Done:
    """Cluster the job's images, or train on them; the new segmenter goes into the folder of models and into the result.

    Raises:
        NothingUsableError: no image could be read.
        StegoError: too few images for the classes asked for, a name that is taken by now, a folder that cannot be written to.
    """
    models = work.settings.jobs.models_folder
    if models is None:
        raise StegoError("no folder of models is set")
    # The archive's name is what the record and the report of the segmenter call its images.
    archive = str(work.job.options.get("archive") or "images")
    refused = work.unpacked(archive)
    images = work.folder.input / archive
    failures = sorted([*refused, *_unreadable(work, images)])
    if not _holds_files(images):
        raise NothingUsableError(failures)
    name = f"{work.job.model}.safetensors"
    if not work.folder.model.exists():
        made = work.folder.path / name
        fit = _train if work.job.options.get("method") == "train" else _cluster
        fit(work, images, made)
        made.replace(work.folder.model)  # under this name it is complete, and a later run only has to publish it
    work.report("publishing", 0, 1)
    ModelFolder(models).add(work.job.model, work.folder.model)
    write_bytes(work.folder.out / name, work.folder.model.read_bytes())
    return Done(failures, write_result(work.folder.out, work.folder.result))


def _unreadable(work: Work, folder: Path) -> list[tuple[str, str]]:
    """Images that cannot be decoded, and why; they are removed, since neither way of fitting lists them by itself."""
    listed = work.folder.unreadable
    failures: dict[str, str] = json.loads(listed.read_bytes()) if listed.exists() else {}
    paths = find_images(folder) if _holds_files(folder) else []
    for number, path in enumerate(paths):
        name = path.relative_to(folder).as_posix()
        try:
            read_image(path, name=name, max_pixels=work.settings.max_pixels)
        except StegoError as error:
            failures[name] = str(error)
            # Listed before it is removed, so that a run that is killed here forgets none.
            write_text(listed, json.dumps(failures))
            path.unlink()
        work.report("reading", number + 1, len(paths))
    return list(failures.items())


def _holds_files(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))


def _cluster(work: Work, folder: Path, made: Path) -> None:
    from stego_app.segmenter import Segmenter
    from stego_app.segmenter_file import save_segmenter

    options = work.job.options
    fitted = Segmenter.fit(
        find_images(folder),
        classes=options.get("classes"),
        resolution=options.get("resolution"),
        device=work.settings.device,
        cache=work.folder.cache,
        seed=options.get("seed") or 0,
        progress=work.report,
    )
    save_segmenter(made, _without_places(fitted.model, folder.name))


def _train(work: Work, folder: Path, made: Path) -> None:
    from stego_app.segmenter_file import read_segmenter, save_segmenter
    from stego_app.settings import load_settings
    from stego_app.training_run import TrainConfig, train_segmenter

    options = work.job.options
    # Relative, as the report shows them to the client; the process works in the job's folder.
    given: dict[str, Any] = {"data": folder.relative_to(work.folder.path), "cache": work.folder.cache.relative_to(work.folder.path)}
    given |= {name: options.get(name) for name in ("classes", "resolution", "seed")}
    config = load_settings(TrainConfig, file=None, overrides=[], fields={**given, "layout": "folder", "device": work.settings.device})
    train_segmenter(config, made, report=work.folder.out / "report", progress=work.report)
    save_segmenter(made, _without_places(read_segmenter(made), folder.name))


def _without_places(model: SegmenterModel, archive: str) -> SegmenterModel:
    """``model`` whose record names the archive in place of folders of this machine."""
    config = {**model.provenance.get("config", {}), "data": archive, "cache": None}
    return replace(model, provenance={**model.provenance, "config": config})
