"""Edits travel through a file unchanged; anything else in a file is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import StegoError
from stego_app.edits import Edit, Ignore, Merge, Recolour, Rename, Split, checked_name, edits_from_json, edits_to_json, parse_color

leaves = st.lists(st.integers(0, 9), min_size=1, max_size=5).map(tuple)
byte = st.integers(0, 255)
edits = st.one_of(
    st.builds(Rename, leaves, st.sampled_from(["road", "ciel bleu", "木"])),
    st.builds(Recolour, leaves, st.tuples(byte, byte, byte)),
    st.builds(Merge, leaves),
    st.builds(Split, st.tuples(leaves, leaves)),
    st.builds(Ignore, leaves),
)


@given(st.lists(edits, max_size=5))
def test_round_trip(items: list[Edit]) -> None:
    import json

    assert edits_from_json(json.loads(json.dumps(edits_to_json(items))), 10) == tuple(items)


@pytest.mark.parametrize(
    "item",
    [
        {"op": "explode", "leaves": [1]},
        {"op": "merge"},
        {"op": "merge", "leaves": [1, 99]},
        {"op": "merge", "leaves": []},
        {"op": "rename", "leaves": [1], "name": " "},
        {"op": "rename", "leaves": [1], "name": "a\nb"},
        {"op": "recolour", "leaves": [1], "color": [1, 2]},
        {"op": "split", "parts": [[1], [2], [3]]},
    ],
)
def test_a_bad_edit_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(StegoError):
        edits_from_json([item], 10)


@pytest.mark.parametrize("text", ["red", "#12345", "#gg0000", "", "#+12345", "0x1234", "#1_2_34"])
def test_bad_colour(text: str) -> None:
    with pytest.raises(StegoError, match="expected #rrggbb"):
        parse_color(text)


def test_colour_and_name() -> None:
    assert parse_color("#0a10ff") == (10, 16, 255)
    assert checked_name("  road ") == "road"
