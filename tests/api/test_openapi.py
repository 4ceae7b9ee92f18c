"""The description of the service: complete, consistent with the service, and honest in its examples."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
from fake_segmenter import FakeSegmenter
from sample_photo import photo

from api import ServiceSettings, create_app
from api.description import as_text
from api.negotiation import OFFERS
from api.options import SegmentOptions
from api.schemas import ErrorBody, ModelDetail, ModelList, SegmentSummary
from api.security.scopes import scope_of


def description(client: httpx.Client) -> dict[str, Any]:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    result: dict[str, Any] = answer.json()
    return result


def test_every_path_and_every_form_is_described(client: httpx.Client) -> None:
    document = description(client)
    assert document["openapi"].startswith("3.1")
    assert {"/v1/segment", "/v1/models", "/v1/models/{name}", "/v2", "/v2/health/live", "/v2/health/ready", "/health", "/metrics"} <= set(document["paths"])
    operation = document["paths"]["/v1/segment"]["post"]
    assert {parameter["name"] for parameter in operation["parameters"]} == set(SegmentOptions.model_fields)
    assert all(parameter["description"] for parameter in operation["parameters"])
    assert set(operation["requestBody"]["content"]) == {"multipart/form-data", "application/json", "image/*", "application/octet-stream"}
    assert set(operation["responses"]["200"]["content"]) == {media_type for _, media_type in OFFERS}
    assert set(operation["responses"]) == {"200", "400", "401", "403", "404", "406", "408", "413", "415", "422", "429", "500", "502", "503", "504"}
    identifiers = [route[method]["operationId"] for route in document["paths"].values() for method in route]
    assert len(set(identifiers)) == len(identifiers)


def test_every_reference_leads_somewhere(client: httpx.Client) -> None:
    text = client.get("/openapi.json").text
    schemas = description(client)["components"]["schemas"]
    references = set(re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', text))
    assert references
    assert references <= set(schemas)


def test_examples_are_what_the_models_accept(client: httpx.Client) -> None:
    schemas = description(client)["components"]["schemas"]
    SegmentSummary.model_validate(schemas["SegmentSummary"]["example"], strict=True, extra="forbid")
    ErrorBody.model_validate(schemas["ErrorBody"]["example"], strict=True, extra="forbid")


def test_answers_are_what_is_described(client: httpx.Client) -> None:
    SegmentSummary.model_validate_json(client.post("/v1/segment", files={"image": photo()}).content, strict=True, extra="forbid")
    listed = ModelList.model_validate_json(client.get("/v1/models").content, strict=True, extra="forbid")
    assert [(entry.name, entry.default) for entry in listed.models] == [("default", True), ("fine", False)]
    detail = ModelDetail.model_validate_json(client.get("/v1/models/fine").content, strict=True, extra="forbid")
    assert (detail.name, detail.classes, detail.max_classes, len(detail.class_table)) == ("fine", 20, 27, 20)
    assert detail.info["backbone"] == {"name": "none"}
    ErrorBody.model_validate_json(client.get("/v1/models/nope").content, strict=True, extra="forbid")


def test_the_file_in_the_documentation_is_up_to_date() -> None:
    app = create_app(ServiceSettings(ui=False), {"default": FakeSegmenter()})
    kept = Path(__file__).parents[2] / "docs" / "openapi.json"
    assert json.loads(kept.read_text("utf-8")) == json.loads(as_text(app)), "the service has changed: stego openapi > docs/openapi.json"


def test_every_operation_tells_what_it_needs_and_how_it_refuses(client: httpx.Client) -> None:
    for path, operations in description(client)["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], path
            assert operation["description"], path
            needed = scope_of(method.upper(), path)
            assert operation.get("x-scope") == ("any key" if needed == "any" else needed)
            assert ({"401", "403", "429"} <= set(operation["responses"])) == (needed is not None), path


def test_every_json_body_and_answer_has_an_example(client: httpx.Client) -> None:
    document = description(client)
    schemas = document["components"]["schemas"]

    def has_example(content: dict[str, Any]) -> bool:
        schema = content.get("schema", {})
        if forms := schema.get("anyOf"):
            return all(has_example({"schema": form.get("items", form)}) for form in forms)
        named = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
        return bool({"example", "examples"} & (set(content) | set(named)))

    missing = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            success = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
            for kind, holder in (("body", operation.get("requestBody", {})), ("answer", success)):
                content = holder.get("content", {}).get("application/json")
                if content is not None and not has_example(content):
                    missing.append((method, path, kind))
    assert not missing


def test_no_page_of_others_is_served(client: httpx.Client) -> None:
    """FastAPI's own documentation pages load scripts from another host."""
    assert client.get("/docs").status_code == 404
    assert client.get("/redoc").status_code == 404
