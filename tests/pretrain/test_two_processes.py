"""Two processes that share a step's batch learn what one process learns from the whole of it, by Lightning's launcher and by torchrun."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import distributed, nn

from models.artifact import read_artifact
from pretrain.across import SharedBatchNorm, share_batch_statistics, whole_batch

SHAPE = ["--architecture", "vit_tiny_patch16_224", "--image-size", "16", "--patch-size", "8", "--depth", "1", "--batch", "8", "--workers", "0"]
EXACT = ["--precision", "32-true", "--file-precision", "fp32", "--accelerator", "cpu", "--set", "projection=16"]
RATE = ["--learning-rate", "0.02"]
TWO = ["--devices", "2", "--strategy", "ddp"]
STEPS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty small pictures."""
    folder = tmp_path_factory.mktemp("images")
    for index in range(20):
        low = Image.fromarray(np.random.default_rng(index).integers(0, 256, (4, 5, 3), dtype=np.uint8))
        low.resize((40, 32), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def weights(start: list[str], folder: Path, out: Path, method: str, *options: str) -> dict[str, torch.Tensor]:
    """The tensors of the backbone that a command leaves."""
    command = [*start, "pretrain", method, str(folder), "--out", str(out), "--steps", str(STEPS), *SHAPE, *EXACT, *RATE, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return read_artifact(out, "backbone")[0]


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Length of the difference of all weight matrices. Biases are left out: the gradient of some is zero but for rounding, which AdamW blows up."""
    matrices = [name for name in one if name.endswith("weight") and one[name].ndim > 1]
    return float(sum((one[name].double() - other[name].double()).square().sum() for name in matrices)) ** 0.5


PROGRAM = [sys.executable, "-m", "stego_app.cli"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29641", "-m", "stego_app.cli"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("method", "options", "start"),
    [
        ("simclr", ["--set", "hidden=32"], PROGRAM),
        ("barlow-twins", [], PROGRAM),
        ("vicreg", [], TORCHRUN),
        ("swav", ["--set", "hidden=32", "--set", "prototypes=12", "--set", "local_crops=0", "--set", "frozen=0"], PROGRAM),
        ("swav", ["--set", "hidden=32", "--set", "prototypes=12", "--set", "local_crops=0", "--set", "queue=24", "--set", "queue_from=0"], PROGRAM),
    ],
)
def test_two_processes_learn_what_one_learns(folder: Path, tmp_path: Path, method: str, options: list[str], start: list[str]) -> None:
    alone = weights(PROGRAM, folder, tmp_path / "one.safetensors", method, *options)
    before = weights(PROGRAM, folder, tmp_path / "before.safetensors", method, *options, "--learning-rate", "1e-12")
    together = weights(start, folder, tmp_path / "two.safetensors", method, *options, *TWO)
    learnt = apart(alone, before)
    assert learnt > 0.05
    assert apart(alone, together) < 0.005 * learnt


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)])
def test_a_batch_norm_alone_is_torchs(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(5, 5) if len(shape) == 2 else nn.Identity(), nn.BatchNorm1d(5))
    shared = nn.Sequential(*copy.deepcopy(head))
    share_batch_statistics(shared)
    assert isinstance(shared[1], SharedBatchNorm)
    assert list(shared.state_dict()) == list(head.state_dict())
    rows = torch.randn(shape)
    for training in (True, False):
        torch.testing.assert_close(shared.train(training)(rows), head.train(training)(rows), rtol=0, atol=0)
    torch.testing.assert_close(shared.state_dict(), head.state_dict(), rtol=0, atol=0)
    assert whole_batch(rows) is rows


def norm_of_a_half(rank: int, file: str, rows: torch.Tensor, wanted: dict[str, torch.Tensor]) -> None:
    """In one of two processes: values, gradient of the mean over processes, and running statistics are those of the whole batch."""
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    head = nn.Sequential(nn.BatchNorm1d(rows.shape[1]))
    share_batch_statistics(head)
    own = rows.chunk(2)[rank].clone().requires_grad_()
    found = whole_batch(head(own))
    torch.testing.assert_close(found.detach(), wanted["values"])
    (found.cumsum(0).square().mean() / 2).backward()  # as DDP: each process's loss counts for a half
    torch.testing.assert_close(own.grad, wanted["gradient"].chunk(2)[rank])
    torch.testing.assert_close(head[0].running_mean, wanted["mean"])
    torch.testing.assert_close(head[0].running_var, wanted["variance"])
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(10, 4), (10, 4, 3)])
def test_two_processes_normalise_by_the_whole_batch(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rows = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 5).requires_grad_()
    norm = nn.BatchNorm1d(shape[1])
    values = norm(rows)
    values.cumsum(0).square().mean().backward()
    assert rows.grad is not None
    wanted = {"values": values.detach(), "gradient": rows.grad, "mean": norm.running_mean, "variance": norm.running_var}
    torch.multiprocessing.spawn(norm_of_a_half, (str(tmp_path / "meet"), rows.detach(), wanted), nprocs=2)
