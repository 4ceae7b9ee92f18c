"""Which comparisons a kept graph has behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.backbone import Backbone
from models.errors import StegoError
from stego_app.runtime import store


def test_each_reader_of_a_kept_graph_is_compared_with_torch_once(tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEGO_CACHE", str(tmp_path))
    monkeypatch.setattr(store, "write_graph", lambda _network, _outputs, _patch, part, _notes: part.write_bytes(b"graph"))
    compared: list[str] = []

    def compare(_network: Any, reader: str, _outputs: Any, _batches: Any) -> str:
        compared.append(reader)
        return reader

    def refuse(found: str, what: str) -> None:
        if found == "wrong":
            raise StegoError(f"{what} disagrees")

    monkeypatch.setattr(store, "compare", compare)
    monkeypatch.setattr(store, "refuse_disagreement", refuse)
    told: list[str] = []

    def graph(reader: str) -> Path:
        return store.backbone_graph(tiny_backbone, reader, lambda _path: reader, told.append)  # type: ignore[arg-type, return-value]

    path = graph("first")
    assert graph("first") == path
    assert (compared, len(told)) == (["first"], 1)
    assert graph("second") == graph("second") == path
    assert (compared, len(told)) == (["first", "second"], 1)
    for _ in range(2):  # one that disagrees is refused each time, also where the graph is there
        with pytest.raises(StegoError, match="as wrong runs it disagrees"):
            graph("wrong")
    assert path.read_bytes() == b"graph"
