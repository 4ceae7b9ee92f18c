"""Every operation keeps to its description: whatever is sent, the status is one it names and the answer fits that status's schema."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fake_segmenter import FakeSegmenter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from json_schema import ANYTHING, Schemas
from live_server import running
from sample_photo import photo

from api import ServiceSettings, create_app
from api.description import as_text

DOCUMENT: dict[str, Any] = json.loads(as_text(create_app(ServiceSettings(ui=False), {"default": FakeSegmenter()})))
SCHEMAS = Schemas(DOCUMENT["components"]["schemas"])
OPERATIONS = [(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods]

TEXT = base64.b64encode(photo(12, 16)).decode()
INTERFACE = '<View><Image name="i" value="$image"/><BrushLabels name="b" toName="i"><Label value="class 0"/></BrushLabels></View>'
KNOWN: dict[str, list[Any]] = {
    "image": [TEXT, f"data:image/png;base64,{TEXT}"],
    "inputs": [TEXT],
    "url": ["http://10.0.0.1/a.png"],
    "model": ["default", None],
    "schema": [INTERFACE],
    "label_config": [INTERFACE],
    "data": [{"image": f"data:image/png;base64,{TEXT}"}],
}
ACCEPT = ["*/*", "application/json", "image/png", "image/*;q=0.5, application/vnd.stego.coco+json", "text/html", "application/vnd.stego.hf+json"]


@pytest.fixture(scope="module")
def service() -> Iterator[httpx.Client]:
    app = create_app(ServiceSettings(ui=False, max_bytes=100_000, max_pixels=40_000), {"default": FakeSegmenter()})
    with running(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


@st.composite
def requests(draw: st.DrawFn, method: str, path: str) -> dict[str, Any]:
    """A request to an operation, from its description: sound in form, or nearly."""
    operation = DOCUMENT["paths"][path][method]
    headers = {"Accept": draw(st.sampled_from(ACCEPT))}
    query: list[tuple[str, str]] = []
    for parameter in operation.get("parameters", ()):
        name, schema = parameter["name"], parameter["schema"]
        if parameter["in"] == "path":
            value = draw(st.sampled_from(["default", "nope", "..", "a b", "0" * 32]) | st.text(min_size=1, max_size=10))
            path = path.replace(f"{{{name}}}", quote(value, safe="") or "x")
        elif parameter["in"] == "query" and draw(st.integers(0, 3)) == 0:
            query.append((name, str(draw(SCHEMAS.values(schema) | st.text(max_size=6)))))
    request: dict[str, Any] = {"method": method.upper(), "url": path, "params": query, "headers": headers}
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        _add_body(draw, request, content)
    return request


def _add_body(draw: st.DrawFn, request: dict[str, Any], content: dict[str, Any]) -> None:
    kind = draw(st.sampled_from(sorted(content)))
    if kind == "application/json":
        body = draw(SCHEMAS.values(content[kind]["schema"], KNOWN) | ANYTHING)
        text = json.dumps(body).encode("utf-8", "surrogatepass")
        request["content"] = draw(st.sampled_from([text, text, text, text, text[:-1], b"\xff" + text, b"[" * 5000]))
        request["headers"]["Content-Type"] = kind
    elif kind == "multipart/form-data":
        names = sorted(content[kind]["schema"].get("properties", {"image": {}}))
        request["files"] = {draw(st.sampled_from(names)): ("a.png", draw(st.sampled_from([photo(12, 16), b"", b"x"])))}
        request["data"] = draw(st.dictionaries(st.sampled_from(names), st.text(max_size=6), max_size=2))
    else:
        request["content"] = draw(st.sampled_from([photo(12, 16), b"", b"text", photo(300, 300)]))
        request["headers"]["Content-Type"] = "image/png" if kind == "image/*" else kind


def check(answer: httpx.Response, method: str, path: str) -> None:
    described = DOCUMENT["paths"][path][method]["responses"]
    if answer.headers.get("allow") or (answer.status_code == 404 and answer.json()["error"]["code"] == "not_found"):
        return  # what stood for a name in the path has made it another path
    assert str(answer.status_code) in described, f"{answer.status_code} is not described: {answer.text[:200]}"
    assert answer.status_code != 500, answer.text
    content = described[str(answer.status_code)].get("content", {})
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    if not answer.content:
        return
    assert media_type in content, (media_type, sorted(content))
    if media_type.endswith("json"):
        problem = SCHEMAS.problem(answer.json(), content[media_type].get("schema", {}))
        assert problem is None, f"{problem}: {answer.text[:200]}"


def explore(service: httpx.Client, method: str, path: str, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(requests(method, path))
    def run(request: dict[str, Any]) -> None:
        answer = service.request(**request)
        if not {".", ".."} & set(request["url"].split("/")):  # the client makes another path of it before it is sent
            check(answer, method, path)

    run()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_operation_keeps_to_its_description(service: httpx.Client, method: str, path: str) -> None:
    explore(service, method, path, 12 if "requestBody" in DOCUMENT["paths"][path][method] else 4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_operation_keeps_to_its_description_for_long(service: httpx.Client, method: str, path: str) -> None:
    explore(service, method, path, 150)


def test_the_checker_finds_what_does_not_fit() -> None:
    schema = {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"type": "integer", "minimum": 1}, "b": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    }
    assert SCHEMAS.problem({"a": 1, "b": None, "c": 2}, schema) is None
    for wrong in ({}, {"a": 0}, {"a": "1"}, {"a": True}, {"a": 1, "b": 2}, [], {"a": None}):
        assert SCHEMAS.problem(wrong, schema), wrong
    assert SCHEMAS.problem(3, {"enum": [1, 2]})
    assert SCHEMAS.problem([1, "a"], {"type": "array", "items": {"type": "integer"}})
    assert SCHEMAS.problem("ab", {"type": "string", "pattern": "^[0-9]+$"})
