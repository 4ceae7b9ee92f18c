"""The one training loop of all methods, as a Lightning module: schedules, seeds, teacher updates, and the checks of every step."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader

from models.errors import StegoError
from pretrain.across import share_batch_statistics
from pretrain.batches import Share
from pretrain.health import Health, collapsed, measure
from pretrain.material import MakeBatches, Material, Watched
from pretrain.methods.base import Pretext
from pretrain.methods.teacher import Teacher
from pretrain.optimiser import build_optimiser, set_rates
from pretrain.processes import view_workers
from pretrain.schedules import Clock, cosine, scaled_rate
from pretrain.settings import PretrainConfig
from pretrain.state import part_path


class Pretraining(lightning.LightningModule):  # type: ignore[misc] # lightning has no types here
    """Trains a `Pretext` on ``material``.

    Raises (in training):
        StegoError: the loss is no longer a finite number.
    """

    def __init__(self, method: Pretext, config: PretrainConfig, steps: int, material: Material) -> None:
        super().__init__()
        share_batch_statistics(method)
        self.method = method
        self.average = Teacher(method.encoder) if config.ema and not method.has_teacher else None
        self.config = config
        self.steps = steps
        self.material = material
        self.make_batches: MakeBatches = material.batches(method, steps)
        self.first_step = 0
        self.saved_step: int | None = None
        self.latest: dict[str, float] = {}
        self.seen = 0
        self._micro = 0

    @property
    def clock(self) -> Clock:
        """The optimiser step that is being taken."""
        return Clock(self.first_step + self.global_step, self.steps)

    @property
    def kept(self) -> Any:
        """The encoder that is watched and saved."""
        return self.average.module if self.average is not None else self.method.kept

    def train_dataloader(self) -> DataLoader[Any]:
        """This process's share of every step."""
        share = Share(self.trainer.global_rank, self.trainer.world_size, self.config.accumulate)
        workers = view_workers(self.config)
        return DataLoader(
            self.make_batches(self.first_step, share),
            batch_size=None,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context="fork" if workers else None,  # what has been read is shared with the workers, not sent to them
        )

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        """Set rates, and the generator that masks and stochastic depth draw from: functions of the step alone."""
        if self.global_rank == 0 and len(batch.unreadable):
            self.material.look_again(batch.unreadable.tolist())
        clock, defaults = self.clock, self.method.defaults
        self._micro = index % self.config.accumulate
        peak = scaled_rate(self.config.learning_rate or defaults.learning_rate, self.config.batch, defaults.batch)
        self.rate = self.method.learning_rate(clock, peak, self.config.warmup)
        decay = defaults.weight_decay if self.config.weight_decay is None else self.config.weight_decay
        last = decay if defaults.last_weight_decay is None or self.config.weight_decay is not None else defaults.last_weight_decay
        set_rates(self.optimizers(), self.rate, cosine(decay, last, clock.progress))
        drawn = int(np.random.SeedSequence((self.config.seed, 4, clock.step, self._micro, self.global_rank)).generate_state(1)[0])
        torch.manual_seed(drawn)
        random.seed(drawn)  # lightly's block masks draw from it

    def training_step(self, batch: Any, _index: int) -> torch.Tensor:
        """One micro-batch's loss; `latest` keeps what the logs show."""
        self.method.clock = self.clock
        step = self.method(batch)
        value = float(step.loss.detach())
        if not math.isfinite(value):
            raise StegoError(self._diverged(f"the loss of '{self.config.method}' is no longer a finite number"))
        self.latest = {"loss": value, **step.logs}
        self.seen += batch.size
        loss: torch.Tensor = step.loss
        return loss

    def _diverged(self, what: str) -> str:
        path = part_path(self.config.out)
        kept = "no checkpoint had been written yet" if self.saved_step is None else f"the last good checkpoint is {path} at step {self.saved_step}"
        return f"pretraining stopped at step {self.clock.step}: {what}; {kept}; try a smaller --learning-rate"

    def check_weights(self) -> None:
        """A loss can be finite while its gradient is not: no such weights are ever saved.

        Raises:
            StegoError: a weight is not a finite number.
        """
        for name, parameter in self.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise StegoError(self._diverged(f"the weights {name.removeprefix('method.')} are no longer finite numbers"))

    def on_before_optimizer_step(self, _optimiser: Any) -> None:
        """Let the method leave out gradients."""
        self.method.before_step()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The optimiser's step, then the teachers': here, since callbacks that save run before the module's own hook at the batch's end."""
        super().optimizer_step(*args, **kwargs)
        self.method.after_step()
        if self.average is not None:
            self.average.follow(self.method.encoder, self.config.ema)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; see `pretrain.optimiser`."""
        defaults = self.method.defaults
        return build_optimiser(
            self, self.method.encoder.depth, decay=self.config.layer_decay, rate=1e-3, weight_decay=defaults.weight_decay, betas=defaults.betas
        )

    @torch.no_grad()
    def represent(self, inputs: Sequence[Any]) -> torch.Tensor:
        """Vectors (N, C) float32, on the CPU, of the chunks of `Material.watched` by the kept encoder."""
        kept = self.kept
        training = kept.training
        kept.eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision.endswith("-mixed")):
            moved = (self.transfer_batch_to_device(chunk, self.device, 0) for chunk in inputs)
            parts = [self.material.represent(kept, chunk, self.method).float().cpu() for chunk in moved]
        kept.train(training)
        return torch.cat(parts)


class HealthWatch:
    """Checks the kept encoder on what is ``watched``; remembers the checks."""

    def __init__(self, watched: Watched, history: list[Health]) -> None:
        self.inputs, self.labels = watched
        self.history = history

    def check(self, module: Pretraining, step: int) -> Health:
        """Measure and remember."""
        latest = dict(module.latest)
        health = measure(module.represent(self.inputs), self.labels, step, latest.pop("loss", float("nan")), latest, module.method.items)
        self.history.append(health)
        return health

    def refuse_collapse(self, module: Pretraining, folder: Path) -> None:
        """Stop a run that has collapsed.

        Raises:
            StegoError: the last checks all found the same kind of trouble.
        """
        last = self.history[-1]
        problem = collapsed(self.history)
        if problem and last.step > module.config.warmup * module.steps:
            raise StegoError(
                f"pretraining stopped at step {last.step}: collapse: {problem}; see {folder / 'report.html'}. Try a smaller --learning-rate or a larger --batch"
            )


def log_values(module: Pretraining, rate: float) -> dict[str, float]:
    """What one log line holds."""
    decay = max(float(group["weight_decay"]) for group in module.optimizers().param_groups)
    return {**module.latest, "learning_rate": module.rate, "weight_decay": decay, f"{module.method.items}_per_second": rate}
