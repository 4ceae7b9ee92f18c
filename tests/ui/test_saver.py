"""Edited segmenters kept on the server by the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_segmenter import FakeSegmenter

from api.catalog import Catalog
from api.model_folder import ModelFolder, NameTakenError
from models.errors import StegoError


def test_a_name_is_given_once_and_leads_nowhere_else(tmp_path: Path) -> None:
    models = tmp_path / "models"
    save = Catalog({"default": FakeSegmenter()}, folder=ModelFolder(models)).save_new
    edited = FakeSegmenter().rename((0,), "sky")
    save("garden", edited)
    assert [edit["name"] for edit in json.loads((models / "garden.safetensors").read_text())] == ["sky"]
    with pytest.raises(NameTakenError, match="'garden' already"):
        save("garden", edited.rename((1,), "grass"))
    with pytest.raises(NameTakenError, match="'default' already"):
        save("default", edited)
    for name in ("../outside", "", "a/b", ".hidden", "x" * 65):
        with pytest.raises(StegoError, match="no model can have that name"):
            save(name, edited)
    assert [path.name for path in tmp_path.rglob("*")] == ["models", "garden.safetensors"]
