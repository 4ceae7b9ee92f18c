"""``/v1/models``: one file, seen alike by the command line, REST and the page; names that cannot lead anywhere else."""

from __future__ import annotations

import gc
import shutil
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from job_parts import write_model
from live_server import running

from api import ServiceSettings, create_app
from api.catalog import Catalog, UnknownModelError
from api.jobs.settings import JobSettings
from api.model_folder import ModelFolder
from api.schemas import ErrorBody, ModelDetail
from models.backbone import Backbone
from models.errors import StegoError
from stego_app.cli import app as command_line
from stego_app.segmenter import Segmenter
from ui.contract import SegmenterLike


@pytest.fixture(scope="session")
def first_model(tiny_backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_model(tmp_path_factory.mktemp("model") / "m.safetensors", tiny_backbone).read_bytes()


@pytest.fixture(scope="module")
def served(first_model: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    """A service that was started with one model and has a folder for others."""
    root = tmp_path_factory.mktemp("service")
    (root / "main.safetensors").write_bytes(first_model)
    settings = ServiceSettings(models=(str(root / "main.safetensors"),), device="cpu", ui=False, crf_workers=0, jobs=JobSettings(models=root / "models"))
    with running(create_app(settings)) as url, httpx.Client(base_url=url, timeout=120) as opened:
        yield opened, root / "models"


@pytest.fixture
def folder(first_model: bytes, served: tuple[httpx.Client, Path]) -> Path:
    """The folder of models with two in it; each test gets it fresh."""
    path = served[1]
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    for name in (path / "fields.safetensors", path / "streets.safetensors", path.parent / "main.safetensors"):
        name.write_bytes(first_model)
    return path


@pytest.fixture
def client(served: tuple[httpx.Client, Path], folder: Path) -> httpx.Client:
    assert folder.is_dir()
    return served[0]


def problem(answer: httpx.Response) -> tuple[int, str]:
    error = ErrorBody.model_validate_json(answer.content, strict=True, extra="forbid").error
    assert "\n" not in error.message
    return answer.status_code, error.code


def names(client: httpx.Client) -> list[str]:
    return [entry["name"] for entry in client.get("/v1/models").json()["models"]]


def edit(client: httpx.Client, name: str, *edits: dict[str, Any], **more: Any) -> httpx.Response:
    return client.post(f"/v1/models/{name}/edits", json={"edits": edits, **more})


def test_models_of_the_folder_are_listed_after_the_given_ones(client: httpx.Client, folder: Path, first_model: bytes) -> None:
    assert names(client) == ["main", "fields", "streets"]
    entries = {entry["name"]: entry for entry in client.get("/v1/models").json()["models"]}
    assert (entries["main"]["default"], entries["main"]["editable"], entries["main"]["removable"]) == (True, True, False)
    assert (entries["fields"]["default"], entries["fields"]["classes"], entries["fields"]["max_classes"], entries["fields"]["removable"]) == (False, 4, 6, True)
    (folder / "new.safetensors").write_bytes(first_model)
    (folder / "broken.safetensors").write_bytes(first_model[:500])
    (folder / "not a name.safetensors").write_bytes(first_model)
    (folder / "notes.txt").write_text("x")
    assert names(client) == ["main", "fields", "new", "streets"]
    assert client.get("/v1/models/new").status_code == 200
    assert problem(client.get("/v1/models/broken")) == (404, "unknown_model")
    (folder / "new.safetensors").unlink()
    assert names(client) == ["main", "fields", "streets"]
    assert problem(client.get("/v1/models/new")) == (404, "unknown_model")


@pytest.mark.parametrize("body", [b"{", b'{"edits": [}', b"\xff\xfe", b"[" * 100_000, b""])
def test_a_body_that_is_no_json(body: bytes, client: httpx.Client) -> None:
    for method, path in (("POST", "/v1/models/fields/edits"), ("POST", "/v1/models/fields/names"), ("PATCH", "/v1/models/fields")):
        answer = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
        assert problem(answer) == ((400, "bad_json") if body else (422, "invalid_option")), answer.text
        assert (answer.json()["error"]["field"] is None) == bool(body)


def test_edits_are_seen_by_the_command_line_and_the_page(client: httpx.Client, folder: Path) -> None:
    before = client.get("/v1/models/fields").json()["class_table"]
    answer = edit(client, "fields", {"op": "rename", "id": 0, "name": "wheat"}, {"op": "colour", "id": 1, "color": "#FF0010"}, {"op": "merge", "ids": [2, 3]})
    assert answer.status_code == 200
    detail = ModelDetail.model_validate_json(answer.content, strict=True, extra="forbid")
    assert detail.class_table[0].name == "wheat"
    assert (detail.class_table[1].color, len(detail.class_table), len(before)) == ("#ff0010", 3, 4)
    assert detail.info["edits"] == 3
    segmenter = Segmenter.load(folder / "fields.safetensors", device="cpu")
    assert segmenter.class_names()[0] == "wheat"
    assert len(segmenter.edits) == 3
    # The page asks the same catalog.
    assert Catalog({}, files={"fields": folder / "fields.safetensors"}).get("fields").table().names[0] == "wheat"


def test_edits_of_the_command_line_are_seen_by_rest(client: httpx.Client, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tag = client.get("/v1/models/streets").headers["etag"]
    command_line(["classes", str(folder / "streets.safetensors"), "--rename", "0=road", "--ignore", "3"], standalone_mode=False)
    assert "road" in capsys.readouterr().out
    answer = client.get("/v1/models/streets")
    assert answer.json()["class_table"][0]["name"] == "road"
    assert len(answer.json()["class_table"]) == 3
    assert answer.headers["etag"] != tag


def test_undo_and_a_granularity(client: httpx.Client) -> None:
    assert edit(client, "fields", {"op": "split", "id": 1}, classes=2).status_code == 200
    assert edit(client, "fields", {"op": "ignore", "id": 1}).json()["info"]["edits"] == 2
    assert edit(client, "fields", undo=2).json()["info"]["edits"] == 0
    assert problem(edit(client, "fields", undo=1)) == (422, "invalid_request")


def test_the_edit_that_is_wrong_is_named_by_its_place(client: httpx.Client) -> None:
    good = {"op": "rename", "id": 0, "name": "a"}
    unknown = edit(client, "fields", good, {"op": "explode", "id": 0}).json()["error"]
    assert unknown["field"] == "edits.1"
    assert unknown["message"].startswith("edits.1: ")
    assert edit(client, "fields", {"op": "colour", "id": 0, "color": "red"}).json()["error"]["field"] == "edits.0.colour.color"


def test_an_edit_in_vain_changes_nothing(client: httpx.Client, folder: Path) -> None:
    before = (folder / "fields.safetensors").read_bytes()
    assert problem(edit(client, "fields")) == (422, "invalid_request")
    assert problem(edit(client, "fields", {"op": "rename", "id": 0, "name": "a"}, {"op": "rename", "id": 99, "name": "b"})) == (422, "invalid_request")
    assert problem(edit(client, "fields", {"op": "merge", "ids": [1, 1]})) == (422, "invalid_request")
    assert problem(edit(client, "fields", {"op": "rename", "id": 0, "name": "\n"})) == (422, "invalid_request")
    assert problem(edit(client, "fields", {"op": "explode", "id": 0})) == (422, "invalid_option")
    assert problem(edit(client, "fields", {"op": "colour", "id": 0, "color": "red"})) == (422, "invalid_option")
    assert problem(edit(client, "fields", {"op": "ignore", "id": 0}, classes=200)) == (422, "invalid_request")
    assert problem(client.post("/v1/models/fields/edits", content=b"{", headers={"Content-Type": "application/json"})) == (400, "bad_json")
    assert problem(edit(client, "nope", undo=1)) == (404, "unknown_model")
    assert (folder / "fields.safetensors").read_bytes() == before
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_options_in_the_query_are_not_passed_over(client: httpx.Client, folder: Path) -> None:
    before = (folder / "fields.safetensors").read_bytes()
    body = {"edits": [{"op": "rename", "id": 0, "name": "wheat"}]}
    assert problem(client.post("/v1/models/fields/edits?save_as=farms", json=body)) == (422, "unknown_option")
    assert problem(client.post("/v1/models/fields/names?dry_run=true", json={"words": ["a", "b"]})) == (422, "unknown_option")
    assert problem(client.patch("/v1/models/fields?dry_run=true", json={"name": "farms"})) == (422, "unknown_option")
    assert problem(client.delete("/v1/models/fields?dry_run=true")) == (422, "unknown_option")
    assert (folder / "fields.safetensors").read_bytes() == before


def test_an_edit_of_what_has_changed_since_is_refused(client: httpx.Client) -> None:
    tag = client.get("/v1/models/fields").headers["etag"]
    body = {"edits": [{"op": "rename", "id": 0, "name": "mine"}]}
    first = client.post("/v1/models/fields/edits", json=body, headers={"If-Match": tag})
    assert first.status_code == 200
    assert problem(client.post("/v1/models/fields/edits", json=body, headers={"If-Match": tag})) == (412, "changed_since")
    assert client.post("/v1/models/fields/edits", json=body, headers={"If-Match": first.headers["etag"]}).status_code == 200
    assert client.post("/v1/models/fields/edits", json=body, headers={"If-Match": "*"}).status_code == 200


def test_a_model_that_has_changed_since_is_neither_renamed_nor_removed(client: httpx.Client) -> None:
    tag = client.get("/v1/models/fields").headers["etag"]
    assert edit(client, "fields", {"op": "rename", "id": 0, "name": "wheat"}).status_code == 200
    assert problem(client.patch("/v1/models/fields", json={"name": "farms"}, headers={"If-Match": tag})) == (412, "changed_since")
    assert problem(client.delete("/v1/models/fields", headers={"If-Match": tag})) == (412, "changed_since")
    now = client.get("/v1/models/fields").headers["etag"]
    renamed = client.patch("/v1/models/fields", json={"name": "farms"}, headers={"If-Match": now})
    assert renamed.status_code == 200
    assert client.delete("/v1/models/farms", headers={"If-Match": renamed.headers["etag"]}).status_code == 204


@pytest.mark.parametrize("meanwhile", ["remove", "rename"])
def test_a_model_removed_or_renamed_while_it_is_edited_does_not_come_back(meanwhile: str, folder: Path) -> None:
    catalog = Catalog({}, files={"main": folder.parent / "main.safetensors"}, folder=ModelFolder(folder))
    change = partial(catalog.remove, "fields") if meanwhile == "remove" else partial(catalog.rename, "fields", "farms")
    other = threading.Thread(target=change)

    def slowly(segmenter: SegmenterLike) -> SegmenterLike:
        other.start()
        other.join(0.3)
        return segmenter.rename(segmenter.table().leaves_of(0), "wheat")

    catalog.edit("fields", slowly)
    other.join()
    assert catalog.names() == (["main", "streets"] if meanwhile == "remove" else ["main", "farms", "streets"])
    if meanwhile == "rename":
        assert catalog.get("farms").table().names[0] == "wheat"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_names_that_are_asked_for_in_vain_are_not_remembered(folder: Path) -> None:
    catalog = Catalog({}, files={"main": folder.parent / "main.safetensors"}, folder=ModelFolder(folder))

    def ask(numbers: range) -> None:
        for number in numbers:
            with suppress(UnknownModelError):
                catalog.get(f"nothing-is-called-{number:040}")

    tracemalloc.start()
    try:
        ask(range(100))
        before = tracemalloc.get_traced_memory()[0]
        ask(range(100, 4000))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 3900 * 100
    finally:
        tracemalloc.stop()


def test_an_edited_model_under_a_new_name(client: httpx.Client, folder: Path) -> None:
    answer = edit(client, "main", {"op": "rename", "id": 0, "name": "sea"}, save_as="coast")
    assert (answer.status_code, answer.headers["location"], answer.json()["name"]) == (201, "/v1/models/coast", "coast")
    assert client.get("/v1/models/main").json()["class_table"][0]["name"] != "sea"
    assert Segmenter.load(folder / "coast.safetensors", device="cpu").class_names()[0] == "sea"
    assert problem(edit(client, "main", save_as="coast")) == (409, "name_taken")
    assert problem(edit(client, "main", save_as="main")) == (409, "name_taken")
    assert problem(edit(client, "main", save_as="../coast")) == (422, "invalid_option")


def test_renaming_and_removing(client: httpx.Client, folder: Path) -> None:
    edit(client, "fields", {"op": "rename", "id": 0, "name": "wheat"})
    renamed = client.patch("/v1/models/fields", json={"name": "farms"})
    assert (renamed.status_code, renamed.headers["location"], renamed.json()["class_table"][0]["name"]) == (200, "/v1/models/farms", "wheat")
    assert names(client) == ["main", "farms", "streets"]
    assert problem(client.patch("/v1/models/farms", json={"name": "streets"})) == (409, "name_taken")
    assert problem(client.patch("/v1/models/farms", json={"name": "main"})) == (409, "name_taken")
    assert problem(client.patch("/v1/models/nope", json={"name": "some"})) == (404, "unknown_model")
    assert problem(client.patch("/v1/models/main", json={"name": "some"})) == (409, "fixed_model")
    assert problem(client.delete("/v1/models/main")) == (409, "fixed_model")
    assert client.delete("/v1/models/farms").status_code == 204
    assert problem(client.delete("/v1/models/farms")) == (404, "unknown_model")
    assert sorted(path.name for path in folder.iterdir()) == ["streets.safetensors"]


@pytest.mark.parametrize("name", ["../main", "..%2fmain", "%2e%2e%2fmain", ".hidden", "a/b", "a b", "%00", "x" * 65, "é", "-a"])
def test_names_that_lead_elsewhere(name: str, client: httpx.Client, folder: Path) -> None:
    files = sorted(path.relative_to(folder.parent) for path in folder.parent.rglob("*"))
    for answer in (client.get(f"/v1/models/{name}"), client.delete(f"/v1/models/{name}"), edit(client, name, undo=1), edit(client, name, save_as="fine")):
        assert answer.status_code in (404, 405), name
    assert problem(client.patch("/v1/models/fields", json={"name": name})) == (422, "invalid_option")
    assert sorted(path.relative_to(folder.parent) for path in folder.parent.rglob("*")) == files


def test_a_file_that_is_gone_is_told_and_the_service_stays_up(client: httpx.Client, folder: Path, first_model: bytes) -> None:
    path = folder.parent / "main.safetensors"
    path.unlink()
    answer = client.get("/v1/models/main")
    assert problem(answer) == (404, "unknown_model")
    assert "its file is gone (main.safetensors)" in answer.json()["error"]["message"]
    assert str(folder.parent) not in answer.text
    assert client.get("/v1/models/streets").status_code == 200
    listed = [entry["name"] for entry in client.get("/v1/models").json()["models"]]
    assert "main" not in listed
    assert "streets" in listed
    assert client.get("/v2/health/live").status_code == 200
    path.write_bytes(first_model)
    assert client.get("/v1/models/main").status_code == 200


def test_a_folder_that_may_only_be_read(client: httpx.Client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    before = (folder / "fields.safetensors").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("models.tensor_file.save_file", refuse)
        patched.setattr(Path, "unlink", refuse)
        patched.setattr("os.link", refuse)
        answers = [edit(client, "fields", {"op": "ignore", "id": 0}), client.delete("/v1/models/fields")]
    for answer in answers:
        assert problem(answer) == (507, "storage_unavailable")
        assert str(folder) not in answer.text
    assert (folder / "fields.safetensors").read_bytes() == before
    assert edit(client, "fields", {"op": "ignore", "id": 0}).status_code == 200


def test_few_of_many_are_held(folder: Path, first_model: bytes) -> None:
    for number in range(6):
        (folder / f"m{number}.safetensors").write_bytes(first_model)
    loads: list[str] = []

    def load(path: Path) -> Segmenter:
        loads.append(path.stem)
        return Segmenter.load(path, device="cpu")

    catalog = Catalog({}, files={"main": folder.parent / "main.safetensors"}, folder=ModelFolder(folder), load=load, loaded=2)
    for name in ("m0", "m1", "m0", "m2", "m0", "m1", "main", "m1"):
        catalog.get(name)
    assert loads == ["main", "m0", "m1", "m2", "m1"]


def test_a_model_that_is_missing_at_the_start_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StegoError, match=r"^--model .*absent\.safetensors: no such file$"):
        create_app(ServiceSettings(models=(str(tmp_path / "absent.safetensors"),), ui=False))
