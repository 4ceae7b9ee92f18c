"""`pretrain`: data and a method in, a backbone file out."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from models.errors import StegoError
from pretrain.fitting import fit, quiet_lightning
from pretrain.health import Health
from pretrain.material import Material
from pretrain.methods import load_method
from pretrain.methods.base import Pretext, Setting
from pretrain.optimiser_state import restore_optimiser
from pretrain.processes import check_shares
from pretrain.records import Records, check_name, write_report
from pretrain.settings import PretrainConfig, checked
from pretrain.state import frozen_digest, load_state, part_path, restore_module, save_state
from pretrain.trainer import HealthWatch, Pretraining, log_values
from pretrain.tuning import check_tune
from stego_app.atomic import refuse_folder
from stego_app.progress import Progress, duration, silent

Say = Callable[[str], None]
DEFAULT_EPOCHS = 100.0

CHECKED = 512
"""Between two checks at least as many items are trained on, so that checks cost little of a run."""


@dataclass(frozen=True)
class Prepared:
    """A run before its first step."""

    module: Pretraining
    material: Material
    steps: int


def pretrain(config: PretrainConfig, progress: Progress = silent, say: Say = print) -> Path:
    """Pretrain a backbone and write it to ``config.out``.

    An interrupted run continues from its last checkpoint, ``<out>.part``, when it is started again with the same settings, and then
    gives what it would have given without the interruption. Logs (``metrics.csv``, TensorBoard events) and ``report.html`` lie in ``<out>.logs``.

    Raises:
        StegoError: bad settings, data or checkpoint; a run that diverges or collapses; a full disk.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":  # Lightning starts the command again for every further device
        progress, say = silent, lambda _line: None
    prepared = prepare(config, progress)
    module, folder = prepared.module, config.out.with_name(config.out.name + ".logs")
    data, frozen = prepared.material.fingerprint, frozen_digest(module.method.frozen)
    tensors: dict[str, torch.Tensor] = {}
    header: dict[str, Any] = {"seconds": 0.0, "history": [], "step": 0}
    if part_path(config.out).exists():
        tensors, header = load_state(part_path(config.out), config, data, frozen)
        restore_module(tensors, module, module.method.frozen)
        module.first_step = module.saved_step = int(header["step"])
    say(_opening(prepared, config))
    if module.first_step:
        say(f"continuing from step {module.first_step} ({part_path(config.out)})")
    watch = HealthWatch(prepared.material.watched(), [Health(**check) for check in header["history"]])
    about = {"data": data, "frozen": frozen, "images": len(prepared.material), "items": module.method.items}
    keeper = Keeper(module, watch, folder, tensors, about, float(header["seconds"]), progress, say)
    try:
        if module.first_step < prepared.steps:
            trainer = _trainer(config, prepared.steps - module.first_step, keeper)
            check_shares(config, module.method, trainer.world_size)
            fit(trainer, module)
    finally:
        keeper.report(prepared)
    if module.global_rank == 0:
        _save(prepared, config, keeper)
        part_path(config.out).unlink(missing_ok=True)
        if prepared.material.skipped:
            say(_skipped(list(prepared.material.skipped.values())))
        say(f"{config.out}: {config.out.stat().st_size / 1e6:.1f} MB; {watch.history[-1].line()}; report {folder / 'report.html'}")
    return config.out


def prepare(config: PretrainConfig, progress: Progress = silent) -> Prepared:
    """Everything checked and built.

    Raises:
        StegoError: see `pretrain`.
    """
    kind = load_method(config.method)
    options = checked(kind.options, config.options, f"option of '{config.method}'")
    if kind.needs_init and config.init is None:
        raise StegoError(f"'{config.method}' goes on from a trained backbone; name it with --init")
    check_tune(config.tune, config.init, kind.items)
    if config.pair and not kind.takes_pair:
        raise StegoError(f"--pair {config.pair}: '{config.method}' learns from one modality; only vicreg learns from two")
    if config.ema and kind.has_teacher:
        raise StegoError(f"--ema {config.ema:g}: '{config.method}' keeps its teacher, which is an average already; leave it out")
    refuse_folder(config.out)
    check_name(config.out)
    material = kind.material(config, options)
    micro = config.batch // config.accumulate
    if config.batch % config.accumulate or micro < kind.minimum:
        raise StegoError(
            f"--batch {config.batch} in {config.accumulate} parts: '{config.method}' needs micro-batches of one size and at least {kind.minimum} {kind.items}"
        )
    if len(material) < micro:
        raise StegoError(f"{len(material)} {kind.items} are fewer than a micro-batch of {micro}; choose a smaller --batch")
    steps = config.steps or max(1, math.ceil((config.epochs or DEFAULT_EPOCHS) * len(material) / config.batch))
    encoder = material.build_encoder()
    material.prepare(kind, steps, progress)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        method: Pretext = kind(encoder, Setting(material.config, options, len(material), material.labels, len(material.kinds), steps))
    return Prepared(Pretraining(method, config, steps, material), material, steps)


def _skipped(reasons: Sequence[str]) -> str:
    """A line on what could not be read."""
    others = f" (and {len(reasons) - 1} others, listed in the file's card)" if len(reasons) > 1 else ""
    return f"skipped: {reasons[0]}{others}"


def _opening(prepared: Prepared, config: PretrainConfig) -> str:
    start = f"from {config.init}" if config.init else "from random weights"
    what = f"{len(prepared.material)} {prepared.module.method.items}, {prepared.steps} steps of {config.batch}"
    return f"{config.method}: {what}; {prepared.material.describe(prepared.module.method.encoder)}, {start}"


def _trainer(config: PretrainConfig, steps: int, keeper: lightning.Callback) -> lightning.Trainer:
    devices: int | str = int(config.devices) if config.devices.lstrip("-").isdigit() else config.devices
    try:
        with quiet_lightning():
            return lightning.Trainer(
                max_steps=steps,
                max_epochs=-1,
                accelerator=config.accelerator,
                devices=devices,
                num_nodes=config.num_nodes,
                strategy=config.strategy,
                precision=config.precision,
                accumulate_grad_batches=config.accumulate,
                gradient_clip_val=config.clip or None,
                use_distributed_sampler=False,
                callbacks=[keeper],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
    except (ValueError, RuntimeError, ImportError, TypeError, MisconfigurationException) as error:  # what Lightning says of flags it cannot take
        raise StegoError(f"--accelerator, --devices, --strategy or --precision: {' '.join(str(error).split())}") from error


class Keeper(lightning.Callback):  # type: ignore[misc] # lightning has no types here
    """Restores the optimiser, shows progress and health, writes logs and checkpoints."""

    def __init__(
        self, module: Pretraining, watch: HealthWatch, folder: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any], seconds: float,
        progress: Progress, say: Say,
    ) -> None:  # fmt: skip
        self.module = module
        self.config = module.config
        self.watch = watch
        self.folder = folder
        self.tensors = tensors
        self.header = header
        self.before = seconds
        self.progress = progress
        self.say = say
        self.started = time.monotonic()
        self.records: Records | None = None
        # A check looks at up to CHECKED items once; a step at each of its own several times, and back.
        self.health_every = self.config.health_every or max(module.steps // 20, math.ceil(min(CHECKED, header["images"]) / self.config.batch))

    @property
    def seconds(self) -> float:
        """Seconds so far, earlier runs included."""
        return self.before + time.monotonic() - self.started

    def on_train_start(self, trainer: Any, module: Pretraining) -> None:
        if self.tensors:
            restore_optimiser(self.tensors, module, trainer.optimizers[0])
            self.tensors = {}
        self.started = time.monotonic()
        if trainer.is_global_zero:
            self.records = Records(self.folder, module.first_step)
            if not module.first_step:
                self.watch.check(module, 0)

    def on_train_batch_end(self, trainer: Any, module: Pretraining, _outputs: Any, _batch: Any, index: int) -> None:
        if (index + 1) % self.config.accumulate or not trainer.is_global_zero:
            return
        done = module.first_step + trainer.global_step
        rate = module.seen * trainer.world_size / max(1e-9, time.monotonic() - self.started)
        self.progress(f"pretraining ({self.config.method})", done, module.steps)
        last = done == module.steps
        if (done % self.config.log_every == 0 or last) and self.records is not None:
            self.records.log(done, log_values(module, rate))
        if done % self.health_every == 0 or last:
            self._check(module, done, rate)
        if done % self.config.checkpoint_every == 0 and not last:
            self.save(trainer, module, done)
        if last:
            module.check_weights()

    def _check(self, module: Pretraining, done: int, rate: float) -> None:
        module.check_weights()  # features of such weights would be taken for collapse, or stop the check itself
        health = self.watch.check(module, done)
        left = (module.steps - done) * self.config.batch / rate
        self.say(f"step {done}/{module.steps}  {health.line()}  {rate:.2f} {module.method.items}/s  {duration(left)} left")
        problem = health.problem()
        if problem:
            self.say(f"warning: step {done}: collapse: {problem}")
        if self.records is not None:
            values = {name: value for name, value in asdict(health).items() if value is not None and name not in {"step", "loss", "full_rank", "items"}}
            self.records.log(done, {f"health/{name}": value for name, value in values.items()})
        self.watch.refuse_collapse(module, self.folder)

    def save(self, trainer: Any, module: Pretraining, done: int) -> None:
        """Write the checkpoint of ``done`` steps."""
        module.check_weights()
        settings = json.loads(json.dumps(self.config.hashed))
        history = [asdict(check) for check in self.watch.history]
        save_state(
            part_path(self.config.out),
            module,
            module.method.frozen,
            trainer.optimizers[0],
            {**self.header, "step": done, "seconds": self.seconds, "settings": settings, "history": history},
        )
        module.saved_step = done

    def report(self, prepared: Prepared) -> None:
        """Write the page, whatever became of the run."""
        if self.records is None:
            return
        self.records.close()
        history = self.watch.history
        problem = history[-1].problem() if history else None
        verdict = f"Collapse: {problem}" if problem else "No collapse was seen."
        settings = {name: value for name, value in self.config.hashed.items() if value is not None}
        facts = {self.module.method.items: len(prepared.material), "steps": prepared.steps, "seconds": round(self.seconds, 1), **settings}
        write_report(self.folder, f"Pretraining: {self.config.method}", facts, history, verdict)


def _save(prepared: Prepared, config: PretrainConfig, keeper: Keeper) -> None:
    module = prepared.module.cpu()
    names = ", ".join(path.name for path in config.data)
    source = f"{config.method} on {names}" + (f", from {Path(config.init).name}" if config.init else "")
    card = {
        "method": config.method,
        "paper": module.method.paper,
        "data": [path.name for path in config.data],
        module.method.items: len(prepared.material),
        "skipped": sorted(map(str, prepared.material.skipped)),
        "settings": json.loads(json.dumps({name: value for name, value in config.hashed.items() if name not in {"data", "init"}})),
        "steps": prepared.steps,
        "seconds": round(keeper.seconds, 1),
        "health": asdict(keeper.watch.history[-1]),
    }
    prepared.material.save(config.out, module.kept, source, card)
