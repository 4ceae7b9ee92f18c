"""What several processes share: memory, unreadable files, a step's batch."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.artifact import read_header
from models.errors import StegoError
from pretrain import processes
from pretrain.augment import plain_crop
from pretrain.batches import PretrainViews, Share, ViewPlan, replaced
from pretrain.records import write_report
from pretrain.run import prepare, pretrain
from pretrain.settings import PretrainConfig, make_pretrain_config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for index in range(8):
        (folder / f"kind{index % 2}").mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(index).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"kind{index % 2}" / f"{index}.png")
    return folder


def config(folder: Path, **changes: Any) -> PretrainConfig:
    fields: dict[str, Any] = {
        "method": "simclr", "data": (folder,), "out": folder.parent / "b.safetensors", "architecture": "vit_tiny_patch16_224", "image_size": 16,
        "patch_size": 8, "depth": 1, "steps": 4, "batch": 4, "accelerator": "cpu", "workers": 0, "options": {"hidden": 16, "projection": 8},
    }  # fmt: skip
    return make_pretrain_config(**{**fields, **changes})


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_told_whichever_process_met_them(folder: Path, workers: int) -> None:
    broken = folder / "kind0" / "2.png"
    shutil.copy(folder / "kind0" / "0.png", broken)
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])  # its header is whole, so only reading it tells
    lines: list[str] = []
    out = pretrain(config(folder, workers=workers), say=lines.append)
    assert read_header(out)["card"]["skipped"] == [str(broken)]
    assert [line for line in lines if line.startswith("skipped: ")] == [line for line in lines if "2.png" in line]


def test_which_items_were_replaced() -> None:
    assert replaced([4, 7, 9], [4, 1, 9]).tolist() == [7]
    assert replaced([4], [4]).tolist() == []


def test_a_replacement_is_drawn_from_what_the_step_may_see() -> None:
    """Else labels beyond the allowed ones would be used."""

    class Bank:
        def __init__(self) -> None:
            self.skipped = {Path("odd"): "cannot be read"}

        def __len__(self) -> int:
            return 50

        def get(self, index: int) -> np.ndarray | None:
            return None if index == 3 else np.full((8, 8, 3), index, np.uint8)

    allowed = np.array([3, 11, 23])
    views = PretrainViews([Bank()], np.arange(50), lambda _: (ViewPlan((plain_crop(8),)), 3), lambda _: allowed, seed=0, start=0, steps=30, share=Share())  # type: ignore[list-item]
    for step in range(30):
        batch = views[step]
        assert set(batch.labels.tolist()) <= {11, 23}
        assert batch.unreadable.tolist() == [3]


def test_memory_is_for_all_processes_of_the_machine_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    made = config(folder, memory_gb=4.0)
    cases = {
        (None, "cpu", "1"): 4e9,
        (None, "auto", "1"): 0.5e9,
        (2, "gpu", "3"): 4e9 / 6,
        (0, "gpu", "-1"): 1e9,
        (0, "gpu", "0,2"): 2e9,
        (0, "cpu", "auto"): 4e9,
    }
    for (workers, accelerator, devices), kept in cases.items():
        asked = made.model_copy(update={"workers": workers, "accelerator": accelerator, "devices": devices})
        assert processes.bytes_to_keep(asked) == pytest.approx(kept), (workers, accelerator, devices)


def test_too_many_processes_for_a_batch_or_for_stages_are_refused(folder: Path) -> None:
    method = SimpleNamespace(minimum=2, items="images", in_stages=False)
    processes.check_shares(config(folder), method, 2)
    with pytest.raises(StegoError, match="--batch 4 for 3 processes: 'simclr' needs at least 2 images in each"):
        processes.check_shares(config(folder), method, 3)
    staged = prepare(config(folder, method="simclrv2", options={"hidden": 16, "projection": 8, "label_fraction": 0.5})).module.method
    with pytest.raises(StegoError, match="--strategy ddp: 'simclrv2' trains other weights in each of its stages"):
        processes.check_shares(config(folder, method="simclrv2", strategy="ddp"), staged, 2)
    processes.check_shares(config(folder, method="simclrv2", strategy="ddp_find_unused_parameters_true"), staged, 2)


def test_a_run_that_was_stopped_before_its_first_check_leaves_a_page(tmp_path: Path) -> None:
    assert write_report(tmp_path, "Pretraining", {}, [], "Nothing yet").is_file()
