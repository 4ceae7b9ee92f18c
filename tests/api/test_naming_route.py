"""``POST /v1/models/{name}/names``: words in, named classes in the model's file, and the problems in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from job_parts import write_model
from live_server import running
from torch.nn.functional import normalize

import api.naming
from api import ServiceSettings, create_app
from api.jobs.settings import JobSettings
from models.backbone import Backbone
from models.text.bridge import Bridge, Calibration
from stego_app.naming.bridge_tower import BridgeTower
from stego_app.segmenter import Segmenter
from stego_app.segmenter_file import read_segmenter, save_segmenter

WORDS = ["road", "tree", "sky"]


class Fixed:
    """A sentence model: the n-th of `WORDS` is the n-th axis."""

    fingerprint = "fixed"

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.eye(self.width)[[WORDS.index(text) if text in WORDS else -1 for text in texts]]


@pytest.fixture
def served(tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[httpx.Client, Path]]:
    width = tiny_backbone.dim
    (tmp_path / "models").mkdir()
    old = write_model(tmp_path / "models" / "old.safetensors", tiny_backbone)
    model = read_segmenter(old)
    # Every cluster looks like a tree.
    prototypes = np.zeros((len(model.shares), width), np.float32)
    prototypes[:, 1] = 0.5
    save_segmenter(tmp_path / "models" / "plants.safetensors", replace(model, prototypes=prototypes))
    anchor = normalize(torch.ones(1, width), dim=1)
    zeros = torch.zeros(width)
    bridge = Bridge("any", "fixed", ("{}",), zeros, torch.eye(width), zeros, anchor, anchor, 1, Calibration(0.2, 0.5, 0.8, 0.5))
    monkeypatch.setattr(api.naming, "_tower", lambda _fingerprint: BridgeTower(bridge, Fixed(width)))
    settings = ServiceSettings(models=("default",), device="cpu", ui=False, crf_workers=0, jobs=JobSettings(models=tmp_path / "models"))
    with running(create_app(settings)) as url, httpx.Client(base_url=url, timeout=120) as client:
        yield client, tmp_path / "models"


def test_classes_are_named_and_the_names_can_be_undone(served: tuple[httpx.Client, Path]) -> None:
    client, folder = served
    dry = client.post("/v1/models/plants/names", json={"words": WORDS, "dry_run": True})
    assert (dry.status_code, dry.json()["changed"]) == (200, False)
    assert {entry["name"] for entry in dry.json()["names"]} == {"tree"}
    assert "tree" not in str(Segmenter.load(folder / "plants.safetensors").class_names())
    answer = client.post("/v1/models/plants/names", json={"words": WORDS}, headers={"If-Match": dry.headers["ETag"]})
    assert answer.status_code == 200, answer.text
    names = Segmenter.load(folder / "plants.safetensors").class_names()
    assert names == [f"tree {number}" for number in range(1, len(names) + 1)]
    assert [entry["name"] for entry in client.get("/v1/models/plants").json()["class_table"]] == names
    assert client.post("/v1/models/plants/names", json={"words": WORDS}, headers={"If-Match": dry.headers["ETag"]}).status_code == 412
    undone = client.post("/v1/models/plants/edits", json={"undo": len(names)})
    assert undone.json()["class_table"][0]["name"] == "class 0"
    saved = client.post("/v1/models/plants/names", json={"words": WORDS, "save_as": "forest"})
    assert (saved.status_code, saved.headers["Location"]) == (201, "/v1/models/forest")


def test_problems_are_one_line(served: tuple[httpx.Client, Path]) -> None:
    client, _ = served
    for name, body, status, said in [
        ("plants", {"words": ["road"]}, 422, "words: only one word; expected 2 or more"),
        ("plants", {"words": ["road", "tree", "Road"]}, 422, "words, entry 3: 'Road' is there already, in entry 1"),
        ("plants", {"words": []}, 422, "words"),
        ("old", {"words": WORDS}, 422, "made before segmenters kept what their classes look like"),
        ("nowhere", {"words": WORDS}, 404, "no model of that name"),
    ]:
        answer = client.post(f"/v1/models/{name}/names", json=body)
        assert answer.status_code == status, answer.text
        assert said in answer.json()["error"]["message"]
