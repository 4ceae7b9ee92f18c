"""`distill`: a folder of images and a teacher in, a backbone file out."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader

from models.backbone import Backbone, save_backbone
from models.backbone_sources import load_backbone
from models.errors import StegoError
from pretrain.checkpoint import extra_tensors, load_checkpoint, restore_module, save_checkpoint
from pretrain.config import DistillConfig
from pretrain.fitting import fit
from pretrain.loss import FeatureStatistics, tokens_of
from pretrain.module import Distillation, learning_rate, teacher_features
from pretrain.optimiser_state import restore_optimiser
from pretrain.precision import training_precision
from pretrain.student import random_student, student_of_blocks
from pretrain.views import ImageBank, ViewDataset, ViewSchedule, gather_images
from stego_app.atomic import refuse_folder, write_bytes
from stego_app.features import precision_of
from stego_app.progress import Progress, duration, silent

Say = Callable[[str], None]
STATISTICS_BATCHES = 8
HELD_OUT_IMAGES = 64
ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "gpu"}
LOG_EVERY = 20


def distill(config: DistillConfig, progress: Progress = silent, say: Say = print) -> Path:
    """Train a student on a frozen teacher's patch and CLS features and write it as a backbone file.

    An interrupted run continues from its last checkpoint, ``<out>.part``, when it is started again with the same
    settings, and then gives what it would have given without the interruption.

    Args:
        config: see `DistillConfig`.
        progress: called after every step.
        say: takes the lines meant for the user.

    Returns:
        ``config.out``. Beside it lies ``<out>.log.jsonl``: loss, cosine and rate of every 20th step, each once, also after an interruption.

    Raises:
        StegoError: settings that do not go together, no images, an unusable teacher, a diverging or collapsing run, or a full disk.
    """
    refuse_folder(config.out)
    if config.student is not None and "start" in config.model_fields_set:
        raise StegoError(
            "--start: says which of the teacher's blocks a student begins as, but one of --student begins from random weights; leave one of them out"
        )
    paths, held = gather_images(config.data, config.holdout_every)
    bank = ImageBank(paths, config.cache_side, config.memory_gb * 1e9)
    teacher = load_backbone(config.teacher, config.teacher_block)
    student = _new_student(config, teacher)
    schedule = ViewSchedule(len(bank), config.grids, config.tokens, config.seed)
    fingerprint = _run_fingerprint(config, teacher, paths)
    say(f"{len(paths)} images to train on, {len(held)} held out; teacher {config.teacher}, block {teacher.spec.block}; student of {config.depth} blocks")

    checkpoint = config.out.with_name(config.out.name + ".part")
    if checkpoint.exists():
        tensors, header = load_checkpoint(checkpoint, fingerprint)
        module = _module(student, teacher, config, extra_tensors(tensors))
        restore_module(tensors, module)
        module.first_step = int(header["step"])
        say(f"continuing from step {module.first_step} ({checkpoint})")
    else:
        tensors, header = {}, {"seconds": 0.0}
        views = ViewDataset(bank, schedule, student.patch_size, 0, STATISTICS_BATCHES)
        module = _module(student, teacher, config, _statistics(teacher, student.patch_size, views, config))

    keeper = _Keeper(checkpoint, tensors, fingerprint, float(header["seconds"]), progress, say)
    views = ViewDataset(bank, schedule, student.patch_size, module.first_step, config.steps)
    if module.first_step < config.steps:
        fit(_trainer(config, config.steps - module.first_step, keeper), module, DataLoader(views, batch_size=None))
    module.cpu().eval()
    held_out = _held_out_cosine(module, ImageBank(held, config.cache_side, 0))
    for reason in bank.skipped.values():
        say(f"skipped: {reason}")
    card = _card(config, teacher, held_out, len(paths) - len(bank.skipped), [str(path) for path in bank.skipped], keeper.seconds)
    save_backbone(config.out, module.student.eval(), precision=config.precision, card=card)
    checkpoint.unlink(missing_ok=True)
    told = f"cosine to the teacher on held-out images {held_out:.4f}" if math.isfinite(held_out) else "too few images for any to be held out and measured on"
    say(f"{config.out}: {config.out.stat().st_size / 1e6:.1f} MB; {told}")
    return config.out


def _new_student(config: DistillConfig, teacher: Backbone) -> Backbone:
    source = f"distilled from {teacher.spec.source or config.teacher}, block {teacher.spec.block}"
    if config.student is None:
        return student_of_blocks(teacher, config.depth, config.start, source)
    return random_student(config.student, config.depth, source, config.seed)


def _module(student: Backbone, teacher: Backbone, config: DistillConfig, stats: dict[str, torch.Tensor]) -> Distillation:
    patches = FeatureStatistics(stats["patch_mean"], stats["patch_std"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Distillation(student, teacher, patches, FeatureStatistics(stats["cls_mean"], stats["cls_std"]), config)


def _statistics(teacher: Backbone, student_patch: int, views: ViewDataset, config: DistillConfig) -> dict[str, torch.Tensor]:
    """Mean and deviation of the teacher's target channels over the first batches."""
    outputs = [teacher_features(teacher, views[step], student_patch, config.targets) for step in range(len(views))]
    patches = FeatureStatistics.of(torch.cat([tokens_of(output.patches) for output in outputs]))
    cls = FeatureStatistics.of(torch.cat([output.cls for output in outputs]))
    return {"patch_mean": patches.mean, "patch_std": patches.std, "cls_mean": cls.mean, "cls_std": cls.std}


def _run_fingerprint(config: DistillConfig, teacher: Backbone, paths: Sequence[Path]) -> str:
    names = "|".join(f"{path}:{path.stat().st_size}" for path in paths)
    # Names of files need not be valid text.
    return hashlib.sha256(f"{config.fingerprint}|{teacher.fingerprint}|{names}".encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _trainer(config: DistillConfig, steps: int, keeper: lightning.Callback) -> lightning.Trainer:
    return lightning.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator=ACCELERATORS[config.device],
        devices=1,
        precision=training_precision("auto", ACCELERATORS[config.device]),
        gradient_clip_val=1.0,
        callbacks=[keeper],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


class _Keeper(lightning.Callback):  # type: ignore[misc] # lightning has no types here
    """Restores the optimiser, shows progress, writes the log and the checkpoints."""

    def __init__(self, path: Path, tensors: dict[str, torch.Tensor], fingerprint: str, seconds: float, progress: Progress, say: Say) -> None:
        self.path = path
        self.tensors = tensors
        self.fingerprint = fingerprint
        self.before = seconds
        self.progress = progress
        self.say = say
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier runs included."""
        return self.before + time.monotonic() - self.started

    def on_train_start(self, trainer: Any, module: Distillation) -> None:
        if self.tensors:
            restore_optimiser(self.tensors, module, trainer.optimizers[0])
            self.tensors = {}
        log = log_of(module.config.out)
        lines = kept_lines(log, module.first_step)
        if lines or log.exists():
            write_bytes(log, lines)

    def on_train_batch_end(self, trainer: Any, module: Distillation, *_: Any) -> None:
        config = module.config
        done = module.first_step + trainer.global_step
        self.progress("distilling", done, config.steps)
        if done % LOG_EVERY == 0 or done == config.steps:
            self._log(module, done)
        if done % config.checkpoint_every == 0 and done < config.steps:
            extra = {name: getattr(module, name) for name in ("patch_mean", "patch_std", "cls_mean", "cls_std")}
            header = {"step": done, "seconds": self.seconds, "fingerprint": self.fingerprint}
            save_checkpoint(self.path, module, trainer.optimizers[0], extra=extra, header=header)

    def _log(self, module: Distillation, done: int) -> None:
        rate = (done - module.first_step) / (time.monotonic() - self.started)
        values = {name: round(value, 5) for name, value in module.latest.items()}
        line = {"step": done, **values, "learning_rate": learning_rate(done - 1, module.config), "steps_per_second": round(rate, 3)}
        log = log_of(module.config.out)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        left = (module.config.steps - done) / rate
        self.say(f"step {done}/{module.config.steps}  loss {values['loss']:.4f}  cosine {values['cosine']:.4f}  {rate:.2f} steps/s  {duration(left)} left")


def log_of(out: Path) -> Path:
    """The log beside the backbone file ``out``."""
    return out.with_name(out.name + ".log.jsonl")


def kept_lines(log: Path, first_step: int) -> bytes:
    """The lines of a log up to ``first_step``: later ones, of a run that was cut off, will be written again, and earlier runs are of no concern."""
    if not first_step or not log.is_file():
        return b""
    return b"".join(line + b"\n" for line in log.read_bytes().splitlines() if 0 < _step_of(line) <= first_step)


def _step_of(line: bytes) -> int:
    """The step of a line of the log; 0 where it was cut short."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return 0


def _held_out_cosine(module: Distillation, bank: ImageBank) -> float:
    """Mean cosine between standardised student and teacher patches, over whole held-out images of short side 224."""
    patch = module.student.patch_size
    lowered = precision_of("auto", torch.device("cpu")) == "bf16"
    cosines = []
    for index in range(min(len(bank), HELD_OUT_IMAGES)):
        pixels = bank.get(index)
        if pixels is None:
            continue
        image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255
        scale = 16 * patch / min(image.shape[-2:])
        size = [max(1, round(side * scale / patch)) * patch for side in image.shape[-2:]]
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=lowered):
            view = torch.nn.functional.interpolate(image, size=size, mode="bicubic", antialias=True).clamp(0, 1)
            cosines.append(float(module.compare(view)[1]))
    return float(np.mean(cosines)) if cosines else float("nan")


def _card(config: DistillConfig, teacher: Backbone, held_out: float, images: int, skipped: list[str], seconds: float) -> dict[str, Any]:
    return {
        "teacher": teacher.spec.source or config.teacher,
        "teacher_block": teacher.spec.block,
        "teacher_fingerprint": teacher.fingerprint,
        "data": [folder.name for folder in config.data],
        "images": images,
        "skipped": skipped,
        "settings": json.loads(config.model_dump_json(exclude={"data", "out", "teacher"})),
        "held_out_cosine": None if np.isnan(held_out) else round(held_out, 4),
        "hours": round(seconds / 3600, 2),
        "threads": torch.get_num_threads(),
    }
