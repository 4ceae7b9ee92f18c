"""Choosing the form of an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.negotiation import JSON, OVERLAY, PNG, Answer, choose


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("application/*", "json"),
        (JSON, "json"),
        (PNG, "index"),
        ("image/*", "index"),
        (OVERLAY, "overlay"),
        (f"{PNG};q=0.5, {OVERLAY}", "overlay"),
        (f"{PNG};q=0.5, {JSON};q=0.4", "index"),
        (f"{PNG}, {JSON}", "json"),
        ("image/png;q=0, image/*", "overlay"),
        ("application/json;q=0, */*;q=0.1", "index"),
        ("IMAGE/PNG ; Q=1", "index"),
        ("text/html, image/avif, */*;q=0.8", "json"),
        ("application/json; charset=utf-8", "json"),
    ],
)
def test_the_best_match_of_accept(accept: str | None, form: str) -> None:
    answer = choose(accept, None)
    assert answer is not None
    assert answer.form == form


@pytest.mark.parametrize("accept", ["text/html", "image/jpeg", "*/*;q=0", "application/json;q=much", "application/json;q=2", ",,"])
def test_nothing_on_offer(accept: str) -> None:
    assert choose(accept, None) is None


def test_a_named_format_wins() -> None:
    assert choose("text/html", "json") == Answer("json", JSON)
    assert choose(JSON, "index") == Answer("index", PNG)
    assert choose(JSON, "overlay") == Answer("overlay", PNG)


@given(st.text(max_size=60))
def test_any_header_is_survived(accept: str) -> None:
    answer = choose(accept, None)
    assert answer is None or (answer.form, answer.media_type) in {("json", JSON), ("index", PNG), ("overlay", OVERLAY)}
