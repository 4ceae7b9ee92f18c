"""Prometheus metrics, read by its own parser; metadata of the Open Inference Protocol."""

from __future__ import annotations

import httpx
import pytest
from fake_segmenter import FakeSegmenter
from live_server import running
from prometheus_client.parser import text_string_to_metric_families
from sample_photo import photo

from api import ServiceSettings, create_app
from api.schemas import ModelReady, OipModel, OipServer

PNG = {"Content-Type": "image/png"}


def numbers(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = httpx.get(f"{url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def test_what_happened_is_counted_once_and_by_the_route() -> None:
    with running(create_app(ServiceSettings(ui=False, max_bytes=50_000), {"default": FakeSegmenter()})) as url:
        for _ in range(3):
            assert httpx.post(f"{url}/v1/segment", content=photo(), headers=PNG).status_code == 200
        httpx.post(f"{url}/v1/segment", content=b"x" * 200_000, headers=PNG)
        for number in range(5):
            httpx.get(f"{url}/v1/models/made-up-{number}")
            httpx.get(f"{url}/v1/made-up-{number}")
            httpx.request("BREW", f"{url}/v1/segment")
        found = numbers(url)
    requests = {key[1]: value for key, value in found.items() if key[0] == "stego_requests_total"}
    assert requests[("method", "POST"), ("route", "/v1/segment"), ("status", "200")] == 3
    assert requests[("method", "POST"), ("route", "/v1/segment"), ("status", "413")] == 1
    assert requests[("method", "GET"), ("route", "/v1/models/{name}"), ("status", "404")] == 5
    assert requests[("method", "GET"), ("route", "other"), ("status", "404")] == 5
    assert not [key for key in found if "made-up" in str(key) or "BREW" in str(key)]
    assert found["stego_images_total", (("model", "default"),)] == 3
    assert found["stego_rejections_total", (("reason", "too_large"),)] == 1
    assert found["stego_rejections_total", (("reason", "busy"),)] == 0
    assert found["stego_batch_size_count", ()] == 3
    assert found["stego_batch_size_sum", ()] == 3
    assert found["stego_request_seconds_count", (("route", "/v1/segment"),)] >= 4
    assert found["stego_queue_depth", ()] == 0
    assert found["stego_pixels_in_work", ()] == 0
    assert ("process_resident_memory_bytes", ()) in found


def test_two_services_in_one_process_do_not_mix() -> None:
    first = create_app(ServiceSettings(ui=False), {"default": FakeSegmenter()})
    second = create_app(ServiceSettings(ui=False), {"default": FakeSegmenter()})
    with running(first) as one, running(second) as other:
        httpx.post(f"{one}/v1/segment", content=photo(), headers=PNG)
        assert ("stego_images_total", (("model", "default"),)) not in numbers(other)


def test_metadata_of_the_open_inference_protocol(client: httpx.Client) -> None:
    server = OipServer.model_validate_json(client.get("/v2").content, strict=True, extra="forbid")
    assert server.name == "stego"
    model = OipModel.model_validate_json(client.get("/v2/models/fine").content, strict=True, extra="forbid")
    assert (model.name, model.inputs[0].datatype, model.inputs[0].shape) == ("fine", "UINT8", [-1, -1, 3])
    assert ModelReady.model_validate_json(client.get("/v2/models/fine/ready").content, strict=True, extra="forbid").ready
    assert client.get("/v2/health/live").json() == {"status": "live"}


@pytest.mark.parametrize("path", ["/v2/models/nope", "/v2/models/nope/ready"])
def test_a_model_that_is_not_there(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_model")
