"""Training a part of a backbone: what moves, what gradients and checkpoints hold, what is written, resumed runs, and bad input by name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from models.artifact import read_artifact, tensors_digest
from models.backbone import Backbone, BackboneSpec, build_vit, read_backbone, save_backbone
from models.errors import StegoError
from pretrain.encoder import Encoder, build_encoder
from pretrain.methods import load_method
from pretrain.methods.base import Setting
from pretrain.optimiser import parameter_groups
from pretrain.run import prepare, pretrain
from pretrain.schedules import Clock
from pretrain.settings import PretrainConfig, checked, make_pretrain_config
from pretrain.state import part_path
from pretrain.trainer import Pretraining
from pretrain.tuning import ADAPTER_RATE, RANK, Tune, merge_adapters, parse_tune
from stego_app.cli import main
from tests.pretrain.method_parts import random_batch

DEPTH, SIDE, PATCH = 3, 32, 8
SMALL: dict[str, Any] = {"hidden": 16, "projection": 8}
DINO: dict[str, Any] = {"hidden": 16, "bottleneck": 4, "prototypes": 8, "local_crops": 1}
METHODS: dict[str, dict[str, Any]] = {
    "simclr": SMALL, "byol": SMALL, "simsiam": {"projection": 8, "bottleneck": 4}, "barlow-twins": {"projection": 8}, "vicreg": {"projection": 8},
    "swav": {**SMALL, "prototypes": 5, "local_crops": 1}, "mae": {"width": 8, "heads": 2, "decoder_depth": 1}, "simmim": {"mask_unit": 8},
    "ijepa": {"predictor_depth": 1}, "dino": DINO, "ibot": DINO, "dinov2": DINO, "simclrv2": SMALL, "lejepa": {**SMALL, "local_crops": 1, "slices": 8},
    "neco": {"grid": 2},
}  # fmt: skip


def spec_of(block: int = DEPTH - 1) -> BackboneSpec:
    return BackboneSpec("vit_tiny_patch16_224", DEPTH, block, PATCH, 192, SIDE // PATCH, method="random")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    torch.manual_seed(0)
    save_backbone(path, Backbone(build_vit(spec_of()), spec_of()), precision="fp32")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for index in range(8):
        low = Image.fromarray(np.random.default_rng(index).integers(0, 256, (4, 5, 3), dtype=np.uint8))
        low.resize((40, 36), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def config(method: str, tune: str, start: Path | None, folder: Path, out: Path = Path("out.safetensors"), **changes: Any) -> PretrainConfig:
    fields: dict[str, Any] = {
        "method": method, "tune": tune, "data": (folder,), "out": out, "init": start and str(start), "image_size": SIDE, "steps": 4, "batch": 8,
        "checkpoint_every": 2, "health_every": 4, "log_every": 1, "accelerator": "cpu", "workers": 0, "file_precision": "fp32", "learning_rate": 0.03,
        "options": METHODS.get(method, {}),
    }  # fmt: skip
    return make_pretrain_config(**{**fields, **changes})


def encoder_of(tune: str, start: Path, **changes: Any) -> Encoder:
    return build_encoder(config("simclr", tune, start, Path("nowhere"), **changes))


def trained_names(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def test_what_the_words_say() -> None:
    assert [parse_tune(text) for text in ("all", "last:2", "lora", "lora:3")] == [Tune("all"), Tune("last", 2), Tune("lora", RANK), Tune("lora", 3)]


def test_last_trains_the_last_blocks_and_the_norm(start: Path) -> None:
    encoder = encoder_of("last:2", start)
    assert {name.split(".")[0] + name.split(".")[1] for name in trained_names(encoder.network)} == {"blocks1", "blocks2", "normweight", "normbias"}
    assert encoder.trunk == 1
    assert encoder_of("all", start).trunk == encoder_of("lora", start).trunk == 0


def test_adapters_start_at_nothing_and_are_the_product_of_two_matrices(start: Path) -> None:
    plain, adapted = encoder_of("all", start).eval(), encoder_of("lora:2", start).eval()
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    assert torch.equal(plain(images), adapted(images))
    names = trained_names(adapted.network)
    assert len(names) == DEPTH * 4 * 2
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    parts = dict(adapted.network.named_parameters())
    torch.manual_seed(0)
    for name, parameter in parts.items():
        if ".lora_B." in name:
            nn.init.normal_(parameter)
    changed = adapted.backbone("test", "test").network.state_dict()
    before = plain.network.state_dict()
    assert list(changed) == list(before)
    for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
        name = f"blocks.1.{layer}"
        first, second = (parts[f"{name}.lora_{letter}.default.weight"].detach().double().numpy() for letter in "AB")
        wanted = before[f"{name}.weight"].double().numpy() + second @ first
        np.testing.assert_allclose(changed[f"{name}.weight"].double().numpy(), wanted, atol=1e-6)
        assert torch.equal(changed[f"{name}.bias"], before[f"{name}.bias"])
    with torch.no_grad():
        merged = Encoder(adapted.backbone("test", "test").network, spec_of()).eval()(images)
        torch.testing.assert_close(merged, adapted(images), atol=2e-4, rtol=1e-4)
    assert not torch.allclose(merged, plain(images), atol=1e-2)
    assert any(".lora_A." in name for name in trained_names(adapted.network)), "what is saved is a copy; the run goes on with adapters"
    assert merge_adapters(plain.network) is plain.network


def test_adapters_are_the_same_for_a_seed_and_leave_other_draws_alone(start: Path) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (encoder_of("lora", start, seed=seed).network.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert tensors_digest(first) == tensors_digest(again) != tensors_digest(other)


def saved_bytes(encoder: Encoder, images: torch.Tensor) -> int:
    """Bytes that autograd keeps for the backward pass, parameters apart."""
    own = {parameter.data_ptr() for parameter in encoder.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        encoder(images).sum().backward()
    return sum(kept.values())


def test_frozen_blocks_keep_nothing_for_the_backward_pass(start: Path) -> None:
    images = torch.randint(0, 256, (4, 3, SIDE, SIDE), dtype=torch.uint8)
    whole, last = (saved_bytes(encoder_of(tune, start), images) for tune in ("all", "last:1"))
    assert last < 0.4 * whole
    assert encoder_of("last:1", start)._before_training(images, None, None).grad_fn is None


def test_a_student_and_its_copy_run_the_frozen_blocks_once(start: Path) -> None:
    student = encoder_of("last:1", start, drop_path=0.5)
    teacher = copy.deepcopy(student)
    calls: list[int] = []
    student.network.blocks[0].register_forward_hook(lambda *_: calls.append(1))
    teacher.network.blocks[0].register_forward_hook(lambda *_: calls.append(2))
    images, others = torch.randint(0, 256, (2, 4, 3, SIDE, SIDE), dtype=torch.uint8)
    teacher.eval()
    found, plain = teacher(images), encoder_of("all", start).eval()
    student(images)
    assert calls == [2]
    torch.testing.assert_close(found, plain(images))
    torch.testing.assert_close(teacher(others), plain(others))
    mask = torch.ones(4, 16, dtype=torch.bool)
    assert not torch.allclose(teacher(others, mask=mask), plain(others))
    assert calls == [2, 2, 2]


def test_checkpointing_gives_the_same_gradients(start: Path) -> None:
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    found = []
    for checkpointing in (False, True):
        encoder = encoder_of("last:2", start, checkpointing=checkpointing)
        encoder(images).square().sum().backward()
        found.append({name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.grad is not None})
    assert set(found[0]) == trained_names(encoder)
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient)


@pytest.mark.parametrize("tune", ["last:1", "lora:2"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_moves_only_what_is_trained(method: str, tune: str, start: Path) -> None:
    kind: Any = load_method(method)
    options = checked(kind.options, METHODS[method], "option")
    encoder = build_encoder(config(method, tune, start, Path("nowhere")))
    setting = Setting(config(method, tune, start, Path("nowhere"), patch_size=PATCH), options, 8, np.zeros(8, dtype=np.int64), 1, 10)
    torch.manual_seed(0)
    task = kind(encoder, setting).train()
    batch = random_batch(len(kind.plan(setting.config, options).crops), 2 if "local_crops" in METHODS[method] else 0)
    frozen = {id(parameter) for parameter in task.frozen}
    before = tensors_digest({str(number): parameter for number, parameter in enumerate(task.frozen)})
    kept = {name: parameter.clone() for name, parameter in task.kept.network.named_parameters()}
    optimiser = torch.optim.AdamW(parameter_groups(task, DEPTH, 1.0, 0.01), lr=0.01)
    for step in range(2):
        task.clock = Clock(step + 5, 10)
        torch.manual_seed(step)
        task(batch).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        task.after_step()
    moved = {name for name, parameter in task.kept.network.named_parameters() if not torch.equal(parameter, kept[name])}
    expected = trained_names(encoder.network)
    assert moved
    assert moved <= expected
    assert {name for name, parameter in task.kept.network.named_parameters() if id(parameter) in frozen} == set(kept) - expected
    assert tensors_digest({str(number): parameter for number, parameter in enumerate(task.frozen)}) == before


def test_adapters_learn_at_a_larger_rate(start: Path) -> None:
    groups = parameter_groups(encoder_of("lora:2", start), DEPTH, 0.5, 0.0)
    assert {round(group["scale"], 6) for group in groups} == {ADAPTER_RATE * 0.5, ADAPTER_RATE * 0.25, ADAPTER_RATE * 0.125}


class _Cut(BaseException):
    """Stands for kill -9: nothing catches it."""


def interrupted(run: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Pretraining.training_step

    def stop(self: Pretraining, batch: Any, index: int) -> torch.Tensor:
        if index == 3:
            raise _Cut
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "training_step", stop)
        with pytest.raises(_Cut):
            pretrain(run, say=lambda _: None)


@pytest.mark.parametrize(("method", "tune"), [("neco", "last:1"), ("dinov2", "lora:2")])
def test_a_cut_off_run_gives_the_same_plain_weights_from_a_small_checkpoint(
    method: str, tune: str, start: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"drop_path": 0.2, "learning_rate": 0.01}
    whole = pretrain(config(method, tune, start, folder, tmp_path / "whole.safetensors", **more), say=lambda _: None)
    run = config(method, tune, start, folder, tmp_path / "cut.safetensors", **more)
    interrupted(run, monkeypatch)
    tensors, header = read_artifact(part_path(run.out), "pretraining checkpoint")
    assert header["settings"]["tune"] == tune
    names = [name for name in tensors if name.startswith("module/") and "encoder.vit.vit." in name]
    assert names
    assert all(".lora_" in name or ".vit.blocks.2." in name or ".vit.norm." in name for name in names)
    lines: list[str] = []
    pretrain(run, say=lines.append)
    assert any("continuing from step 2" in line for line in lines)
    assert f"{tune}: " in lines[0]
    assert "million weights are trained" in lines[0]
    assert tensors_digest(read_artifact(run.out, "backbone")[0]) == tensors_digest(read_artifact(whole, "backbone")[0])
    before, after = read_backbone(start), read_backbone(run.out)
    state = after.network.state_dict()
    assert list(state) == list(before.network.state_dict())
    moved = {name for name, tensor in before.network.state_dict().items() if not torch.equal(tensor, state[name])}
    touched = ("blocks.2.", "norm.") if tune == "last:1" else ("blocks.",)
    assert moved
    assert all(name.startswith(touched) for name in moved)


def test_a_checkpoint_is_only_continued_by_the_same_tuning_of_the_same_backbone(
    start: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(start.read_bytes())
    run = config("neco", "last:1", mine, folder, tmp_path / "b.safetensors", learning_rate=0.01)
    interrupted(run, monkeypatch)
    with pytest.raises(StegoError, match="other settings \\(tune was last:1\\)"):
        pretrain(run.model_copy(update={"tune": "lora"}))
    torch.manual_seed(1)
    save_backbone(mine, Backbone(build_vit(spec_of()), spec_of()), precision="fp32")
    with pytest.raises(StegoError, match=r"the weights of --init .*mine.safetensors have changed since this checkpoint was written"):
        pretrain(run)


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ("lroa", "--tune lroa: expected all, last:N or lora[:RANK]; did you mean 'lora'? (known: all, last, lora)"),
        ("all:2", "--tune all:2: 'all' takes no number"),
        ("last", "--tune last: expected last:N with the number of blocks to train, 1 or more"),
        ("last:x", "--tune last:x: expected last:N"),
        ("last:-1", "--tune last:-1: expected last:N"),
        ("last:99", "--tune last:99: the backbone has 3 blocks; expected 1 to 3"),
        ("lora:0", "--tune lora:0: expected lora:RANK with the rank of the adapters, 1 or more"),
        ("lora:999", "--tune lora:999: the backbone is 192 channels wide; expected a rank of 1 to 192"),
    ],
)
def test_bad_tuning_by_name(tune: str, message: str, start: Path, folder: Path) -> None:
    with pytest.raises(StegoError) as caught:
        prepare(config("simclr", tune, start, folder))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_tuned(start: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StegoError, match="--tune lora: goes on from a trained backbone; name it with --init"):
        prepare(config("simclr", "lora", None, folder, patch_size=PATCH))
    with pytest.raises(StegoError, match="--tune last:1: only backbones of images can be adapted in part, and this method learns from scans"):
        prepare(config("also", "last:1", None, folder, options={}))
    early = tmp_path / "early.safetensors"
    save_backbone(early, Backbone(build_vit(spec_of(block=0)), spec_of(block=0)))
    with pytest.raises(StegoError, match="--tune last:2: features are taken after block 0 of 0 to 2; expected at least last:3"):
        prepare(config("simclr", "last:2", early, folder))
    monkeypatch.setattr("stego_app.runtime.extras.find_spec", lambda _: None)
    with pytest.raises(StegoError, match=r"peft is not installed; pip install 'stego-app\[adapt\]'"):
        prepare(config("simclr", "lora", start, folder))


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda *words: monkeypatch.setattr("sys.argv", ["stego", *map(str, words)])


def test_the_command_line_takes_it(start: Path, folder: Path, tmp_path: Path, arguments: Any, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--out", tmp_path / "b.safetensors", "--image-size", SIDE, "--steps", 1, "--batch", 4, "--accelerator", "cpu", "--set", "grid=2"]
    arguments("pretrain", "neco", folder, "--init", start, "--tune", "last:4", *common)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err == "stego: --tune last:4: the backbone has 3 blocks; expected 1 to 3\n"
    arguments("pretrain", "neco", folder, "--init", start, "--tune", "last:1", *common)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert "last:1: 0.45 of 1." in capsys.readouterr().out
