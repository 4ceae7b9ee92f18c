"""Steps of STEGO's head beside a plain implementation that decodes every token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from benchmarks.speed.row import Row, race
from models.backbone_sources import load_backbone
from models.correspondence import correspondence_loss
from models.head import SegmentationHead
from stego_app.training.points import derangement, random_positions
from stego_app.training.stego import StegoConfig, head_input, train_stego

IMAGES, SIDE, WIDTH, CLASSES = 32, 32, 384, 27
FEW, MANY = 5, 25
CONFIG = StegoConfig(shifts="cocostuff", precision="fp32")


@dataclass(frozen=True)
class Stored:
    """Random patch tokens in place of a `FeatureCache`."""

    images: list[npt.NDArray[np.float16]]
    pooled: npt.NDArray[np.float32]
    dim: int = WIDTH

    def __len__(self) -> int:
        return len(self.images)

    @property
    def keys(self) -> list[str]:
        """Names of the images."""
        return [str(number) for number in range(len(self))]

    def grid(self, _index: int) -> tuple[int, int]:
        """Rows and columns of patches."""
        return SIDE, SIDE

    def tokens(self, index: int) -> npt.NDArray[np.float16]:
        """(h · w, C) of one image."""
        return self.images[index]

    def sample(self, count: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Some tokens, and the images they are of."""
        images, places = np.random.default_rng(seed).integers(0, (len(self), SIDE * SIDE), (count, 2)).T
        return np.stack([self.images[image][place] for image, place in zip(images, places, strict=True)]).astype(np.float32), images


def stored() -> Stored:
    """`IMAGES` images of `SIDE`² patches."""
    rng = np.random.default_rng(0)
    images = [rng.standard_normal((SIDE * SIDE, WIDTH), np.float32).astype(np.float16) for _ in range(IMAGES)]
    pooled = np.stack([image.astype(np.float32).mean(0) for image in images])
    return Stored(images, pooled / np.linalg.norm(pooled, axis=1, keepdims=True))


class Plain:
    """Whole maps through the head, points sampled from the codes afterwards, as the paper's code does it (Hamilton et al., 2022, section 4).

    ``tokens`` gives the patch tokens (B, h · w, C) of images by their numbers (B,).
    """

    def __init__(self, tokens: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.tokens = tokens
        self.draw = torch.Generator().manual_seed(0)
        self.head = SegmentationHead(WIDTH, CONFIG.code_dim)
        self.clusters = torch.nn.Parameter(torch.randn(CLASSES, CONFIG.code_dim))
        self.optimiser = torch.optim.Adam([*self.head.parameters(), self.clusters], lr=CONFIG.head_rate)

    def maps(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, C, h, w) and codes (B, E, h, w)."""
        tokens = self.tokens(images)
        codes = self.head(functional.dropout(head_input(tokens), CONFIG.dropout))
        return tuple(one.transpose(1, 2).unflatten(2, (SIDE, SIDE)) for one in (tokens, codes))  # type: ignore[return-value]

    def step(self) -> float:
        """One optimiser step."""
        images = torch.randperm(IMAGES, generator=self.draw)[: CONFIG.batch]
        partners = images.roll(1)
        first_at, second_at = (random_positions(CONFIG.batch, CONFIG.side**2, self.draw) for _ in range(2))

        def at(maps: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
            return functional.normalize(functional.grid_sample(maps, places[:, :, None], align_corners=True)[..., 0], dim=1)

        (f, z), (f_near, z_near) = self.maps(images), self.maps(partners)
        first = at(f, first_at), at(z, first_at)
        terms = [(first, first), (first, (at(f_near, second_at), at(z_near, second_at)))]
        for _ in range(CONFIG.randoms):
            order = derangement(CONFIG.batch, self.draw)
            terms.append((first, (at(f[order], second_at), at(z[order], second_at))))
        loss = torch.stack([correspondence_loss(a[0], b[0], a[1], b[1], 0.1) for a, b in terms]).sum()
        probe = torch.einsum("behw,ke->bkhw", functional.normalize(z.detach(), dim=1), functional.normalize(self.clusters, dim=1))
        loss = loss - probe.amax(dim=1).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return float(loss.detach())


def head(images: Path | None, rounds: int) -> Row:  # noqa: ARG001 - random tokens do
    """The same cached tokens for both, so that only what is done with them differs."""
    cache = stored()

    def read(numbers: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.from_numpy(cache.tokens(int(number)).astype(np.float32)) for number in numbers])

    what = f"a step on {CONFIG.batch} images of {SIDE}² cached tokens / every token through the head"
    return beside("head", what, cache, Plain(read), 4, rounds)


def training(images: Path | None, rounds: int) -> Row:  # noqa: ARG001 - random pixels do
    """The published training also runs the frozen backbone in each step, on both images of each pair; ours has done so once an image, which is not counted."""
    backbone = load_backbone("default")
    side = SIDE * backbone.patch_size
    pixels = torch.rand(IMAGES, 3, side, side, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def extract(numbers: torch.Tensor) -> torch.Tensor:
        return backbone(pixels[numbers]).patches.float().flatten(2).transpose(1, 2)

    what = f"a step on {CONFIG.batch} images of {SIDE}² cached tokens / backbone and every token through the head in each step, as published"
    return beside("training", what, stored(), Plain(extract), 1, rounds)


def beside(name: str, what: str, cache: Stored, plain: Plain, steps: int, rounds: int) -> Row:
    """Ours is the difference of two runs of different lengths, so that calibration and neighbours do not count; ``steps`` of the plain one are a turn."""

    def run(steps: int) -> Any:
        return train_stego(cast(Any, cache), CLASSES, CONFIG.model_copy(update={"steps": steps}))

    laps = race({"few": lambda: run(FEW), "many": lambda: run(MANY), "plain": lambda: [plain.step() for _ in range(steps)]}, rounds, warm=False)
    ours = (laps["many"].processor - laps["few"].processor) / (MANY - FEW)
    return Row(name, what, ours, laps["plain"].processor / steps, 10, "same terms on the same number of points; equality of the loss is in the tests")
