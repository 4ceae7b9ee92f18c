"""Starting the service: what can be wrong is one line; the catalog; the access log."""

from __future__ import annotations

import json
import logging
import socket
from typing import Any

import httpx
import pytest
from fake_segmenter import FakeSegmenter
from fastapi import FastAPI
from live_server import running

from api import ServiceSettings, create_app, serve
from api.catalog import Catalog
from api.server import bind, listen
from models.errors import StegoError


def test_a_port_in_use_is_one_line() -> None:
    with bind("127.0.0.1", 0) as taken:
        listen(taken, ServiceSettings())
        port = taken.getsockname()[1]
        with pytest.raises(StegoError, match=rf"^--port {port}: cannot listen on 127\.0\.0\.1:{port} \(Address already in use\); choose another") as caught:
            serve(ServiceSettings(port=port))
    assert "\n" not in str(caught.value)


def test_an_address_of_another_machine_is_one_line() -> None:
    with pytest.raises(StegoError, match=r"cannot listen on 192\.0\.2\.1"):
        bind("192.0.2.1", 0)
    with pytest.raises(StegoError, match=r"--host no\.such\.host\.invalid: not an address"):
        bind("no.such.host.invalid", 0)


def test_a_missing_model_is_told_before_serving() -> None:
    with pytest.raises(StegoError, match=r"absent\.safetensors"):
        serve(ServiceSettings(models=("absent.safetensors",), port=0))


def test_connections_are_refused_until_the_models_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    with bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    refused: list[bool] = []

    def load(_: ServiceSettings) -> FastAPI:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            refused.append(True)
        raise StegoError("loaded no model")

    monkeypatch.setattr("api.server.create_app", load)
    with pytest.raises(StegoError, match="loaded no model"):
        serve(ServiceSettings(port=port))
    assert refused == [True]


def test_a_port_lost_while_the_models_were_loading_is_one_line() -> None:
    with bind("127.0.0.1", 0) as ours:
        port = ours.getsockname()[1]
        with bind("127.0.0.1", port) as theirs:
            listen(theirs, ServiceSettings(port=port))
            with pytest.raises(StegoError, match=rf"^--port {port}: cannot listen .*Address already in use"):
                listen(ours, ServiceSettings(port=port))


@pytest.mark.parametrize("provenance", ["a text", 7, None, [1, 2], {"score": float("nan")}, {"when": object()}])
def test_a_provenance_that_cannot_be_shown_is_told_before_serving(provenance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = FakeSegmenter()
    monkeypatch.setattr(odd, "info", lambda: {"name": "odd", "provenance": dict(provenance)})  # as the real segmenter has it
    with pytest.raises(StegoError, match=r"^--model odd: the segmenter's provenance cannot be shown") as caught:
        Catalog({"default": FakeSegmenter(), "odd": odd})
    assert "\n" not in str(caught.value)


def test_two_models_of_one_name() -> None:
    with pytest.raises(StegoError, match=r"--model elsewhere/default\.safetensors: another model is already served as 'default'"):
        create_app(ServiceSettings(models=("default", "elsewhere/default.safetensors"), ui=False))


def test_names_that_do_not_fit_a_url() -> None:
    with pytest.raises(StegoError, match="cannot be a model's name"):
        Catalog({"a/b": FakeSegmenter()})
    with pytest.raises(StegoError, match="at least one"):
        Catalog({})


def test_settings_out_of_range() -> None:
    for wrong in ({"port": 70000}, {"max_bytes": 0}, {"concurrency": 0}, {"models": ()}, {"unknown": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ServiceSettings.model_validate(wrong)


def test_the_access_log_has_one_json_line_a_request(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="stego.access"), running(create_app(ServiceSettings(ui=False), {"default": FakeSegmenter()})) as url:
        httpx.get(f"{url}/v1/models/no%0Asuch%22name", headers={"X-Request-ID": "me-1"})
    lines = [record.getMessage() for record in caplog.records if record.name == "stego.access"]
    assert len(lines) == 1
    entry = json.loads(lines[0])
    assert (entry["request_id"], entry["method"], entry["path"], entry["status"]) == ("me-1", "GET", '/v1/models/no\nsuch"name', 404)
    assert "\n" not in lines[0]
    assert entry["ms"] >= 0
    assert entry["bytes_out"] > 0
