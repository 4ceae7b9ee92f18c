"""Crop pairs are collected once for each thing that they depend on."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from models.backbone import Backbone
from models.errors import StegoError
from stego_app.discovery import pair_cache
from stego_app.discovery.crop_pairs import CropPairs
from stego_app.discovery.pair_cache import cached_crop_pairs

Calls = list[dict[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What `collect_crop_pairs` was asked for; it gives the number of the call."""
    made: Calls = []

    def collect(_paths: list[Path], _backbone: Backbone, **options: Any) -> CropPairs:
        made.append(options)
        return CropPairs(torch.full((2, 3), float(len(made))), torch.full((2, 3), 0.1))

    monkeypatch.setattr(pair_cache, "collect_crop_pairs", collect)
    return made


def get(folder: Path, backbone: Backbone, keys: list[str] | None = None, **options: Any) -> CropPairs:
    return cached_crop_pairs(folder, keys or ["a", "b"], [Path("a"), Path("b")], backbone, **{"resolution": 48, "seed": 0, "device": "cpu", **options})


def test_the_same_is_collected_once_and_gives_the_same_bits(calls: Calls, tiny_backbone: Backbone, tmp_path: Path) -> None:
    first, again = get(tmp_path, tiny_backbone), get(tmp_path, tiny_backbone)
    assert len(calls) == 1
    assert torch.equal(first.first, again.first)
    assert torch.equal(first.second, again.second)


def test_whatever_the_pairs_depend_on_is_in_the_name(calls: Calls, tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    get(tmp_path, tiny_backbone, precision="fp32")
    changes: list[dict[str, Any]] = [{"resolution": 64}, {"seed": 1}, {"limit": 7}, {"precision": "bf16"}, {"brighten": True}, {"keys": ["a", "c"]}]
    for options in changes:
        before = len(calls)
        get(tmp_path, tiny_backbone, **{"precision": "fp32", **options})
        get(tmp_path, tiny_backbone, **{"precision": "fp32", **options})
        assert len(calls) == before + 1, options
    monkeypatch.setattr(pair_cache, "_VERSION", -1)
    before = len(calls)
    get(tmp_path, tiny_backbone, precision="fp32")
    assert len(calls) == before + 1


@pytest.mark.parametrize("resolved", ["fp32", "bf16"])
def test_auto_is_kept_as_the_precision_it_comes_to(
    resolved: str, calls: Calls, tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_cache, "precision_of", lambda name, _device: resolved if name == "auto" else name)
    get(tmp_path, tiny_backbone, precision="auto")
    get(tmp_path, tiny_backbone, precision=resolved)
    assert [call["precision"] for call in calls] == [resolved]


@pytest.mark.usefixtures("calls")
def test_damaged_files_are_collected_anew_and_stale_parts_removed(tiny_backbone: Backbone, tmp_path: Path) -> None:
    get(tmp_path, tiny_backbone)
    [path] = (tmp_path / "pairs").iterdir()
    path.write_bytes(b"junk")
    stale, fresh = path.with_suffix(".99.part"), path.with_name(".98-1.stego-part")
    for part in (stale, fresh):
        part.write_bytes(b"half")
    os.utime(stale, (0, time.time() - 2 * 24 * 3600))
    assert float(get(tmp_path, tiny_backbone).first[0, 0]) == 2
    assert sorted((tmp_path / "pairs").iterdir()) == sorted([fresh, path])


@pytest.mark.usefixtures("calls")
def test_a_full_disk_is_one_line_and_leaves_nothing(tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_tensors: Any, path: str, **_options: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("models.tensor_file.save_file", full)
    with pytest.raises(StegoError, match=r"cannot be written .*--cache"):
        get(tmp_path, tiny_backbone)
    assert list((tmp_path / "pairs").iterdir()) == []
