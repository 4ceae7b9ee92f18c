"""What a recipe says: where the data come from, how they are checked, how they are trained on and scored."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import StegoError

FOLDER = Path(__file__).resolve().parent
DATASETS = ("cocostuff27", "cityscapes27", "potsdam3")
BACKBONES = {
    "vit-s8": "vit_small_patch8_224.dino",
    "vit-b8": "vit_base_patch8_224.dino",
    "dinov2-s14": "vit_small_patch14_dinov2.lvd142m",
    "dinov2-b14": "vit_base_patch14_dinov2.lvd142m",
}
"""Short names of the backbones of the published tables."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Files(_Frozen):
    """``count`` files that match the glob ``pattern`` must lie under ``folder``."""

    folder: str
    pattern: str
    count: int = Field(ge=1)


class ListFile(_Frozen):
    """A text file that must have ``lines`` lines that are not empty."""

    file: str
    lines: int = Field(ge=1)


class Unpack(_Frozen):
    """Members of an archive whose last two path components match ``match`` go to the folder ``into`` under their own file name."""

    match: str
    into: str


class Download(_Frozen):
    """A file that anyone may download from its authors; ``size`` in bytes and ``md5`` where they are known."""

    url: str
    file: str
    size: int | None = Field(default=None, ge=1)
    md5: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    unpack: tuple[Unpack, ...]


class AutoRun(_Frozen):
    """How the default, label-free objective is trained; everything else is the product's default."""

    crops: Literal["none", "five"] = "none"
    resolution: int = Field(ge=28)


class StegoRun(_Frozen):
    """How STEGO's own objective is trained.

    Attributes:
        crops, resolution: as published.
        steps, batch, code_dim: as in the reference's configuration file.
        shifts: the published set for this data set, by `stego_app.training.shifts`.
        shifts_small: the one for ViT-S, where another was published.
    """

    crops: Literal["none", "five"]
    resolution: int = Field(ge=28)
    steps: int = Field(ge=1)
    batch: int = Field(ge=2)
    code_dim: int = Field(ge=2)
    shifts: str
    shifts_small: str | None = None

    def shifts_for(self, backbone: str) -> str:
        """The set published for the size of ``backbone``."""
        return self.shifts_small if self.shifts_small and "small" in backbone else self.shifts


class Recipe(_Frozen):
    """One data set.

    Attributes:
        name, title: for folders and for tables.
        layout: of `stego_app.data.open_dataset`.
        classes: how many there are.
        train_split, val_split: as the layout names them.
        side: short side in pixels of the centre crop that is scored.
        probe_images: training images from which the linear probe's pixels are drawn.
        files, lists: what a complete copy holds.
        downloads: in order; none where an account is needed.
        how: what to do by hand, one step an entry.
        deviations: what differs from the published protocol.
        auto, stego: the two trainings.
    """

    name: str
    title: str
    layout: str
    classes: int = Field(ge=2)
    train_split: str
    val_split: str
    side: int = Field(ge=28)
    probe_images: int = Field(ge=1)
    files: tuple[Files, ...]
    lists: tuple[ListFile, ...] = ()
    downloads: tuple[Download, ...] = ()
    how: tuple[str, ...]
    deviations: tuple[str, ...]
    auto: AutoRun
    stego: StegoRun


class PublishedRow(_Frozen):
    """A published result in per cent; ``linear_*`` of its linear probe."""

    dataset: Literal["cocostuff27", "cityscapes27", "potsdam3"]
    method: str
    backbone: str
    accuracy: float | None = None
    miou: float | None = None
    linear_accuracy: float | None = None
    linear_miou: float | None = None


class _PublishedFile(_Frozen):
    row: tuple[PublishedRow, ...]


_Model = TypeVar("_Model", bound=BaseModel)


def load_recipe(name: str) -> Recipe:
    """The recipe of that name, or in that TOML file (a copy of ours with other addresses, say).

    Raises:
        StegoError: neither, or a field that is missing, unknown or out of range.
    """
    path = FOLDER / f"{name}.toml" if name in DATASETS else Path(name)
    if path.suffix != ".toml":
        raise StegoError(f"recipe '{name}': expected {', '.join(DATASETS)}, or a TOML file like those in {FOLDER}")
    return _read(Recipe, path)


def published_rows(dataset: str) -> list[PublishedRow]:
    """The published results on ``dataset``, in the order of the file."""
    return [row for row in _read(_PublishedFile, FOLDER / "published.toml").row if row.dataset == dataset]


def _read(kind: type[_Model], path: Path) -> _Model:
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StegoError(f"{path}: no such recipe file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StegoError(f"{path}: not a readable TOML file ({error})") from error
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise StegoError(f"{path}: '{'.'.join(str(part) for part in first['loc'])}': {first['msg']}") from error
