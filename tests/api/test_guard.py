"""Keys, scopes, rates, origins: who gets in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_segmenter import FakeSegmenter
from job_parts import archive, photos
from live_server import running
from sample_photo import photo

from api import ServiceSettings, create_app
from api.jobs.settings import JobSettings
from api.security.keys import ENVIRONMENT, KeyRing, load_keys, new_key
from api.security.rate import RateLimit
from api.security.scopes import scope_of
from models.errors import StegoError

SECRETS = {name: f"{name}-{'x' * 24}" for name in ("segment", "jobs", "models", "metrics", "admin")}
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with a key for each scope, each named after it."""
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    lines = [f'[keys.{name}]\nsha256 = "{hashlib.sha256(secret.encode()).hexdigest()}"\nscopes = ["{name}"]\n' for name, secret in SECRETS.items()]
    file.write_text("".join(lines))
    with running(create_app(ServiceSettings(ui=False, keys=file), {"default": FakeSegmenter()})) as url:
        yield url


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRETS[name]}"}


def test_a_key_sees_its_own_jobs_and_the_operator_sees_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {name: f"{name}-{'x' * 24}" for name in ("ada", "bob", "root")}
    scopes = {"ada": "jobs", "bob": "jobs+segment", "root": "admin"}
    monkeypatch.setenv(ENVIRONMENT, " ".join(f"{name}:{scopes[name]}:{secret}" for name, secret in secrets.items()))
    settings = ServiceSettings(ui=False, crf_workers=0, jobs=JobSettings(data=tmp_path, workers=0))
    with running(create_app(settings, {"default": FakeSegmenter()})) as url, httpx.Client(base_url=url, timeout=30) as client:

        def ask(name: str, method: str, path: str, **content: Any) -> httpx.Response:
            return client.request(method, path, headers={"X-API-Key": secrets[name]}, **content)

        jobs = {name: ask(name, "POST", "/v1/jobs", files={"images": ("a.zip", archive(photos(1)))}).json()["id"] for name in ("ada", "bob")}
        seen = {name: [job["id"] for job in ask(name, "GET", "/v1/jobs").json()["jobs"]] for name in secrets}
        assert seen == {"ada": [jobs["ada"]], "bob": [jobs["bob"]], "root": [jobs["bob"], jobs["ada"]]}
        for method, path in (("GET", "/v1/jobs/{}"), ("GET", "/v1/jobs/{}/result"), ("DELETE", "/v1/jobs/{}"), ("GET", "/v1/jobs?before={}")):
            assert ask("bob", method, path.format(jobs["ada"])).status_code == 404
        assert ask("ada", "GET", f"/v1/jobs/{jobs['ada']}").json()["state"] == "queued"
        assert ask("root", "DELETE", f"/v1/jobs/{jobs['ada']}").status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/segment", {"segment", "admin"}),
        ("POST", "/predict", {"segment", "admin"}),
        ("POST", "/label-studio/default/setup", {"segment", "admin"}),
        ("POST", "/v1/predict", {"segment", "admin"}),
        ("GET", "/xanylabeling/v1/models", {"segment", "admin"}),
        ("GET", "/v1/jobs", {"jobs", "admin"}),
        ("POST", "/v1/fit", {"jobs", "admin"}),
        ("GET", "/v1/models", set(SECRETS)),
        ("DELETE", "/v1/models/nope", {"models", "admin"}),
        ("PATCH", "/v1/models/nope", {"models", "admin"}),
        ("GET", "/metrics", {"metrics", "admin"}),
        ("GET", "/v2", set(SECRETS)),
        ("GET", "/v2/models/default", set(SECRETS)),
        ("GET", "/", {"admin"}),
        ("POST", "/anything", {"admin"}),
    ],
)
def test_each_path_needs_its_scope(guarded: str, method: str, path: str, allowed: set[str]) -> None:
    with httpx.Client(base_url=guarded, timeout=30) as client:
        for name in SECRETS:
            status = client.request(method, path, headers=bearer(name)).status_code
            assert (status not in (401, 403)) == (name in allowed), (name, status)
        refused = client.request(method, path)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer" if path not in ("/", "/anything") else "Basic")
        assert refused.json()["error"]["code"] == "unauthorized"
        assert client.request(method, path, headers={"Authorization": "Bearer wrong"}).status_code == 401


@pytest.mark.parametrize("path", ["/health", "/v2/health/live", "/v2/health/ready", "/openapi.json"])
def test_what_tells_nothing_needs_no_key(guarded: str, path: str) -> None:
    assert httpx.get(guarded + path).status_code == 200


def test_every_usual_way_to_send_a_key(guarded: str) -> None:
    secret = SECRETS["segment"]
    ways: list[dict] = [{"X-API-Key": secret}, {"Token": secret}, {"Authorization": f"Token {secret}"}, {"Authorization": f"bearer {secret}"}]
    for headers in ways:
        assert httpx.post(f"{guarded}/v1/segment", content=photo(), headers={**PNG, **headers}).status_code == 200, headers
    assert httpx.post(f"{guarded}/v1/segment", content=photo(), headers=PNG, auth=("anyone", secret)).status_code == 200
    for headers in (
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic"},
        {"Authorization": secret},
        {"X-API-Key": ""},
        {"Authorization": "Bearer é".encode()},
    ):
        assert httpx.post(f"{guarded}/v1/segment", content=photo(), headers={**PNG, **headers}).status_code == 401, headers


def test_a_large_upload_without_a_key_is_refused_and_told(guarded: str) -> None:
    answer = httpx.post(f"{guarded}/v1/segment", content=b"x" * 100_000, headers=PNG)
    assert answer.status_code == 401


def test_every_path_of_the_service_is_in_the_table(guarded: str) -> None:
    """A path that is new and not thought of needs admin; this says which ones do, and there should be none."""
    document = httpx.get(f"{guarded}/openapi.json").json()
    assert not [path for path, methods in document["paths"].items() for method in methods if scope_of(method.upper(), path) == "admin"]


def test_a_new_key_gets_in_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    secret, lines = new_key("annotation", ["segment", "models"])
    assert secret not in lines
    file = tmp_path / "keys.toml"
    file.write_text(lines)
    ring = load_keys(file, {})
    assert ring is not None
    found = ring.find(secret)
    assert found is not None
    assert (found.name, found.scopes) == ("annotation", {"segment", "models"})
    assert ring.find(secret[:-1]) is None
    assert ring.find("") is None
    assert new_key("annotation", ["segment"])[0] != secret


def test_keys_of_the_environment() -> None:
    ring = load_keys(None, {ENVIRONMENT: f"cam:segment+jobs:{'a' * 20} {'b' * 20}"})
    assert ring is not None
    first, second = ring.find("a" * 20), ring.find("b" * 20)
    assert first is not None
    assert second is not None
    assert (first.name, first.scopes) == ("cam", {"segment", "jobs"})
    assert second.allows("metrics")
    assert load_keys(None, {}) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no key"),
        ("short", "of 20 characters or more"),
        ("a:b:" + "c" * 20, "expected one or more of segment"),
        ("a b:segment:" + "c" * 20, "entry 1"),
        (f"a:segment:{'c' * 20} a:segment:{'d' * 20}", "two are called 'a'"),
    ],
)
def test_keys_of_the_environment_that_are_wrong(text: str, message: str) -> None:
    with pytest.raises(StegoError, match=message) as caught:
        load_keys(None, {ENVIRONMENT: text})
    assert "ccc" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not a file of keys"),
        ("[keys.a]\nsha256 = 'zz'\nscopes = ['segment']", "64 hex digits"),
        ("[keys.a]\nkey = 'secret secret secret'\nscopes = ['segment']", "and nothing else"),
        (f"[keys.a]\nsha256 = '{'0' * 64}'\nscopes = ['root']", "expected one or more of"),
        (f"[keys.'a b']\nsha256 = '{'0' * 64}'\nscopes = ['jobs']", "cannot be a key's name"),
        ("[other]\na = 1", "'other' is not known"),
        ("", "holds no key"),
    ],
)
def test_files_of_keys_that_are_wrong_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text)
    with pytest.raises(StegoError, match=message) as caught:
        load_keys(file, {})
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(StegoError, match="cannot be read"):
        load_keys(tmp_path / "absent.toml", {})


def test_a_bucket_fills_again() -> None:
    now = 100.0
    limit = RateLimit(60, clock=lambda: now)
    assert [limit.take("a") for _ in range(10)] == [0] * 10  # ten seconds' worth at once
    assert limit.take("a") == 1
    assert limit.take("b") == 0
    now += 1
    assert limit.take("a") == 0
    assert limit.take("a") == 1
    slow = RateLimit(2, clock=lambda: now)
    assert slow.take("a") == 0
    assert slow.take("a") == 30


def test_clients_that_come_and_go_do_not_fill_the_memory() -> None:
    limit = RateLimit(60)
    for number in range(25_000):
        limit.take(f"client {number}")
    assert len(limit._buckets) == 10_000


def test_too_many_requests_are_told_when_to_come_back() -> None:
    with running(create_app(ServiceSettings(ui=False, rate=12), {"default": FakeSegmenter()})) as url:
        answers = [httpx.post(f"{url}/v1/segment", content=photo(), headers=PNG) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        assert 1 <= int(answers[3].headers["retry-after"]) <= 5
        assert answers[3].json()["error"]["code"] == "too_many_requests"
        assert httpx.get(f"{url}/health").status_code == 200


def test_pages_of_other_origins() -> None:
    allowed = "https://label.example.org"
    with running(create_app(ServiceSettings(ui=False, cors_origins=(allowed,)), {"default": FakeSegmenter()})) as url:
        for origin, status in ((None, 200), (url, 200), (allowed, 200), ("https://evil.example", 403), ("null", 403)):
            headers = PNG if origin is None else {**PNG, "Origin": origin}
            answer = httpx.post(f"{url}/v1/segment", content=photo(), headers=headers)
            assert answer.status_code == status, origin
            assert answer.headers.get("access-control-allow-origin") == (allowed if origin == allowed else None)
        answer = httpx.get(f"{url}/v1/models/default", headers={"Origin": allowed})
        ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key, if-match"}
        assert httpx.options(f"{url}/v1/segment", headers={"Origin": allowed, **ask}).headers["access-control-allow-origin"] == allowed
        assert {"etag", "location"} <= set(answer.headers["access-control-expose-headers"].lower().split(", "))
        refused = httpx.options(f"{url}/v1/segment", headers={"Origin": "https://evil.example", **ask})
        assert "access-control-allow-origin" not in refused.headers


def test_no_origin_is_allowed_unless_told(client: httpx.Client) -> None:
    answer = client.options("/v1/segment", headers={"Origin": "https://label.example.org", "Access-Control-Request-Method": "POST"})
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", ["*", "example.org", "https://example.org/", "https://Example.org", "https://example.org/a"])
def test_origins_that_are_none(origin: str) -> None:
    with pytest.raises(StegoError, match="--cors"):
        create_app(ServiceSettings(ui=False, cors_origins=(origin,)), {"default": FakeSegmenter()})


def test_comparing_looks_at_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """No early end, whichever key it is."""
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    ring = load_keys(None, {ENVIRONMENT: " ".join(f"k{number}:segment:{str(number) * 20}" for number in range(5))})
    assert isinstance(ring, KeyRing)
    monkeypatch.setattr("api.security.keys.hmac.compare_digest", compare)
    for secret in ("0" * 20, "4" * 20, "nobody's"):
        compared.clear()
        ring.find(secret)
        assert len(compared) == len(ring) == 5
