"""Settings: file, options, overrides, in that order; errors name the field."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from models.errors import StegoError
from stego_app.settings import load_settings
from stego_app.training_run import TrainConfig


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: int = Field(default=5, ge=1)
    name: str = "a"


class Outer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    seed: int = 0
    inner: Inner = Inner()


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('seed = 1\n[inner]\nsteps = 2\nname = "b"\n')
    found = load_settings(Outer, file=file, overrides=["inner.steps=9"], fields={"seed": 3, "inner.name": None})
    assert found == Outer(seed=3, inner=Inner(steps=9, name="b"))


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["inner.steps=0"], "inner.steps"),
        (["inner.stepz=1"], "inner.stepz"),
        (["seed"], "name=value"),
        (["seed.deep=1", "seed=x"], "seed"),
    ],
)
def test_errors_name_the_field(overrides: list[str], text: str) -> None:
    with pytest.raises(StegoError, match=text):
        load_settings(Outer, file=None, overrides=overrides, fields={})


def test_a_field_of_several_kinds_is_named_as_people_know_it() -> None:
    with pytest.raises(StegoError, match=r"^setting 'classes': Input should be greater than or equal to 1 \(got 0\)$"):
        load_settings(TrainConfig, file=None, overrides=[], fields={"data": "photos", "classes": 0})


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(StegoError, match="no such settings file"):
        load_settings(Outer, file=tmp_path / "none.toml", overrides=[], fields={})
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = [")
    with pytest.raises(StegoError, match=r"broken\.toml"):
        load_settings(Outer, file=broken, overrides=[], fields={})
