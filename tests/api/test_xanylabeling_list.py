"""X-AnyLabeling's list of models is made from the files' headers, and holds what can be read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from fake_segmenter import FakeSegmenter
from fastapi import FastAPI
from fastapi.testclient import TestClient
from model_file import write_model

from api.catalog import Catalog
from api.inference import Inference
from api.model_folder import ModelFolder
from api.routes.xanylabeling import xanylabeling_router
from models.backbone import Backbone


def test_no_weights_are_loaded_and_an_unreadable_file_is_left_out(tiny_backbone: Backbone, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    given = write_model(tmp_path / "given.safetensors", tiny_backbone)
    write_model(folder / "streets.safetensors", tiny_backbone)
    loaded: list[Path] = []

    def load(path: Path) -> FakeSegmenter:
        loaded.append(path)
        return FakeSegmenter()

    catalog = Catalog({"default": FakeSegmenter()}, files={"given": given}, folder=ModelFolder(folder), load=load)
    loaded.clear()
    app = FastAPI()
    app.include_router(xanylabeling_router(cast("Inference", SimpleNamespace(catalog=catalog))))
    client = TestClient(app)

    def classes() -> dict[str, Any]:
        answer = client.get("/xanylabeling/v1/models")
        assert answer.status_code == 200
        return {name: model["params"]["classes"] for name, model in answer.json()["data"].items()}

    assert classes() == {"default": 9, "given": 4, "streets": 4}
    given.write_bytes(b"damaged")
    (folder / "streets.safetensors").write_bytes(b"")
    assert classes() == {"default": 9}
    assert loaded == []
