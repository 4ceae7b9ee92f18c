"""``POST /v1/models/{name}/names``: words in, named classes in the model's file, and the problems in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from job_parts import write_model
from known_words import WORDS, KnownSentences, known_bridge, write_trees
from live_server import running

from api import ServiceSettings, create_app
from api.jobs.settings import JobSettings
from api.schemas_jobs import FoundName, NameRequest
from models.backbone import Backbone
from stego_app.naming.bridge_tower import BridgeTower
from stego_app.segmenter import Segmenter


@pytest.fixture
def served(tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[httpx.Client, Path]]:
    width = tiny_backbone.dim
    (tmp_path / "models").mkdir()
    write_model(tmp_path / "models" / "old.safetensors", tiny_backbone)
    write_trees(tmp_path / "models" / "plants.safetensors", tiny_backbone)
    tower = BridgeTower(known_bridge("any", width), KnownSentences(width))
    monkeypatch.setattr("stego_app.naming.offline.embedded_tower", lambda _fingerprint: tower)
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


def test_a_model_that_is_edited_meanwhile_is_looked_at_again(served: tuple[httpx.Client, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a word would go to the class that now has the id of the one it was meant for."""
    client, folder = served
    counts: list[int] = []

    def last_is_tree(segmenter: Segmenter, _: NameRequest) -> list[FoundName]:
        counts.append(len(segmenter.class_names()))
        if len(counts) == 1:
            assert client.post("/v1/models/plants/edits", json={"edits": [{"op": "merge", "ids": [0, 1]}]}).status_code == 200
        return [FoundName(id=counts[-1] - 1, name="tree", confidence=0.9, candidates=[])]

    monkeypatch.setattr("api.routes.models.found_names", last_is_tree)
    answer = client.post("/v1/models/plants/names", json={"words": WORDS})
    assert answer.status_code == 200, answer.text
    assert counts == [counts[0], counts[0] - 1]
    names = Segmenter.load(folder / "plants.safetensors").class_names()
    assert [entry["id"] for entry in answer.json()["names"]] == [names.index("tree")] == [len(names) - 1]


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
