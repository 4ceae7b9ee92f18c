"""Which segmenters the settings name: their files are looked for before torch is imported, which takes many seconds."""

from __future__ import annotations

from pathlib import Path

from api.catalog import Catalog
from api.model_folder import ModelFolder
from api.settings import ServiceSettings
from models.errors import StegoError


def load_catalog(settings: ServiceSettings) -> Catalog:
    """Every segmenter named in ``settings``, and the folder of models.

    Raises:
        StegoError: no such file, one that cannot be read as a segmenter, or two files with the same stem.
    """
    files = model_files(settings.models)
    from stego_app.segmenter import Segmenter  # imports torch

    segmenters = {name: Segmenter.load("default", device=settings.device, runtime=settings.runtime) for name, file in files.items() if file is None}
    return Catalog(
        segmenters,
        files={name: file for name, file in files.items() if file is not None},
        folder=model_folder(settings),
        load=lambda path: Segmenter.load(path, device=settings.device, runtime=settings.runtime),
        loaded=settings.jobs.loaded,
        order=tuple(files),
    )


def model_files(sources: tuple[str, ...]) -> dict[str, Path | None]:
    """The name and file of each of ``sources``, in their order; no file for the embedded default.

    Raises:
        StegoError: no such file, or two with the same stem.
    """
    files: dict[str, Path | None] = {}
    for source in sources:
        path = Path(source).absolute()
        if path.stem in files:
            raise StegoError(f"--model {source}: another model is already served as '{path.stem}'; rename one of the files")
        if source != "default" and not path.is_file():
            raise StegoError(f"--model {path}: no such file")
        files[path.stem] = None if source == "default" else path
    return files


def model_folder(settings: ServiceSettings) -> ModelFolder | None:
    """The folder of models, if there is to be one."""
    folder = settings.jobs.models_folder
    return None if folder is None else ModelFolder(folder.expanduser().absolute())
