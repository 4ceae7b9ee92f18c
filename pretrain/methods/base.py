"""What a method is: networks over an encoder, the views it wants, and one step's loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import nn

from models.errors import StegoError
from pretrain.batches import ViewPlan
from pretrain.encoder import Encoder, Pooling
from pretrain.image_material import ImageMaterial
from pretrain.material import Material
from pretrain.schedules import Clock, learning_rate
from pretrain.settings import PretrainConfig


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("expected the smaller number first")
    return pair


Shares = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]], AfterValidator(_rising)]
"""The smallest and the largest share of a whole, above 0 and at most 1."""
Aspects = Annotated[tuple[Annotated[float, Field(gt=0, le=100)], Annotated[float, Field(gt=0, le=100)]], AfterValidator(_rising)]
"""The smallest and the largest ratio of two sides."""


class Options(BaseModel):
    """A method's own options; each method extends it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Defaults:
    """The optimiser's settings unless others are given: the learning rate for ``batch`` items a step, which is also taken where none is given.

    Those that methods were published with, except that all of them run on AdamW, and that rates of methods published with thousands of items a step
    (MAE, SimMIM, I-JEPA, V-JEPA) are several times what the linear rule would make of them for 256, which is too little to learn from few steps.
    """

    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    last_weight_decay: float | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    batch: int = 256


class Setting(NamedTuple):
    """What a method may know when it is built. The configuration's patch size is the encoder's."""

    config: PretrainConfig
    options: Any
    images: int
    labels: npt.NDArray[np.int64]
    classes: int
    steps: int


class Step(NamedTuple):
    """One micro-batch's loss (a scalar in float32) and numbers to log."""

    loss: torch.Tensor
    logs: dict[str, float]


class Pretext(nn.Module, ABC):
    """A pretext task over an encoder, whatever it learns from: all that the training loop needs to know.

    Class attributes:
        name, paper: as the command line and the documentation call it.
        items: what it learns from, in the plural.
        minimum: the smallest micro-batch it can work with.
        options: the type of its options.
        defaults: its optimiser's settings.
        needs_init: whether it only goes on from a trained backbone.
        takes_pair: whether it can learn from two modalities.
        in_stages: whether some steps leave weights out that others train.
        material: the type of its data.
        has_teacher: whether `kept` is an average over the run, so that `ema` of the run's settings is not needed.

    Attributes:
        clock: the step that is being taken; the trainer sets it.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    items: ClassVar[str]
    material: ClassVar[Callable[[PretrainConfig, Any], Material]]
    minimum: ClassVar[int] = 2
    options: ClassVar[type[Options]] = Options
    defaults: ClassVar[Defaults] = Defaults()
    has_teacher: ClassVar[bool] = False
    needs_init: ClassVar[bool] = False
    takes_pair: ClassVar[bool] = False
    in_stages: bool = False

    def __init__(self, encoder: Any, setting: Setting) -> None:
        super().__init__()
        self.encoder = encoder
        self.clock = Clock(0, setting.steps)

    @abstractmethod
    def forward(self, batch: Any) -> Step:
        """One micro-batch's loss at `clock`."""

    def learning_rate(self, clock: Clock, peak: float, warmup: float) -> float:
        """The rate of the step at ``clock``: warm-up and a cosine, unless the method has another schedule."""
        return learning_rate(clock, peak, warmup)

    def before_step(self) -> None:
        """What is done to gradients before the optimiser step at `clock`, such as leaving out a layer."""
        return

    def after_step(self) -> None:
        """What follows the optimiser step at `clock`, such as moving a teacher."""
        return

    @property
    def kept(self) -> Any:
        """The encoder that is watched and saved."""
        return self.encoder

    @property
    def frozen(self) -> Sequence[nn.Parameter]:
        """Parameters as the run found them, which checkpoints leave out."""
        return ()


class Method(Pretext):
    """A pretraining method over an `Encoder` of images.

    Class attributes:
        pooling: the image vector it trains: what is watched and compared.
    """

    items: ClassVar[str] = "images"
    material: ClassVar[Callable[[PretrainConfig, Any], Material]] = ImageMaterial
    pooling: ClassVar[Pooling] = "mean"

    def __init__(self, encoder: Encoder, setting: Setting) -> None:
        super().__init__(encoder, setting)
        self.encoder: Encoder = encoder

    @classmethod
    @abstractmethod
    def plan(cls, config: PretrainConfig, options: Any) -> ViewPlan:
        """The views an image is given."""

    @classmethod
    def plan_at(cls, config: PretrainConfig, options: Any, clock: Clock) -> tuple[ViewPlan, int]:
        """The views of step ``clock`` and its images over all devices, for methods with stages."""
        del clock
        return cls.plan(config, options), config.batch

    def subset(self, clock: Clock) -> npt.NDArray[np.int64] | None:
        """The images step ``clock`` draws from; None is all."""
        del clock
        return None

    @property
    def kept(self) -> Encoder:
        """The encoder that is watched and saved."""
        return self.encoder

    @property
    def frozen(self) -> Sequence[nn.Parameter]:
        return self.encoder.frozen

    def represent(self, images: torch.Tensor) -> torch.Tensor:
        """Image vectors (B, C) of ``images`` (B, 3, S, S) uint8 by the kept encoder."""
        kept = self.kept
        return kept.pool(kept(images), self.pooling)

    def pooled(self, images: torch.Tensor) -> torch.Tensor:
        """Image vectors (B, C) by the trained encoder."""
        return self.encoder.pool(self.encoder(images), self.pooling)


@contextmanager
def full_precision(tensor: torch.Tensor) -> Iterator[None]:
    """Losses are computed outside autocast: exponentials and small differences need float32."""
    with torch.autocast(tensor.device.type, enabled=False):
        yield


def auto_prototypes(asked: int, images: int, largest: int) -> int:
    """``asked``, or for 0 a power of two near half the number of images, from 256 to ``largest``.

    Raises:
        StegoError: there would be one prototype.
    """
    if asked == 1:
        raise StegoError("option 'prototypes': 1 tells nothing apart; expected 2 or more, or 0 to choose by the number of images")
    if asked:
        return asked
    return int(max(256, min(largest, 2 ** round(float(np.log2(max(2, images / 2)))))))
