"""Finds the runtime that is fastest on this machine among those that keep the labels, once for each model."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from models.errors import StegoError
from stego_app.atomic import write_text
from stego_app.runtime.check import example_batches
from stego_app.runtime.opening import available, open_tokens, runtime_precision
from stego_app.runtime.store import graph_folder
from stego_app.runtime.tokens import PatchTokens
from stego_app.segmenter_file import SegmenterModel

KEPT = 0.99
"""Share of patches whose class has to be that of torch in float32."""
KEPT_INT8 = 0.97
_ROUNDS = 3


@dataclass(frozen=True)
class Measured:
    """A runtime's seconds for the trial images together, and the share of their patches that got torch's class."""

    runtime: str
    seconds: float
    agreement: float

    @property
    def keeps_labels(self) -> bool:
        """Whether it may be chosen."""
        return self.agreement >= (KEPT_INT8 if self.runtime == "int8" else KEPT)


@dataclass(frozen=True)
class Choice:
    """What was chosen, and from what."""

    runtime: str
    measured: tuple[Measured, ...]

    def __str__(self) -> str:
        by_name = {each.runtime: each for each in self.measured}
        if self.runtime == "torch" or "torch" not in by_name:
            return f"runtime {self.runtime}: the fastest here of {', '.join(by_name) or self.runtime} that keeps the labels"
        chosen = by_name[self.runtime]
        ratio = by_name["torch"].seconds / max(chosen.seconds, 1e-9)
        return f"runtime {self.runtime}: {ratio:.1f} times as fast as torch in float32 here, {chosen.agreement:.2%} of its patches get the same class"


def choose(model: SegmenterModel, tell: Callable[[str], None]) -> Choice:
    """The fastest runtime that keeps the labels of ``model``, as remembered, or as measured now on a few photos.

    Args:
        model: its backbone on the CPU.
        tell: gets a line on what is chosen, and before on what takes long.

    Raises:
        StegoError: the choice cannot be written to the user's cache folder.
    """
    names = available()
    path = graph_folder() / f"choice-{_key(model, names)}.json"
    choice = _remembered(path)
    if choice is None:
        if len(names) > 1:
            tell(f"measuring {', '.join(names)} on a few photos, once for this model on this machine")
        choice = fastest(measure(model, names, tell)) if len(names) > 1 else Choice(names[0], ())
        write_text(path, json.dumps(asdict(choice), indent=1))
    tell(str(choice))
    return choice


def fastest(measured: Sequence[Measured]) -> Choice:
    """The choice among ``measured``, the first of which is torch in float32: it keeps its own labels, so there is always one."""
    return Choice(min((each for each in measured if each.keeps_labels), key=lambda each: each.seconds).runtime, tuple(measured))


def measure(model: SegmenterModel, names: Sequence[str], tell: Callable[[str], None]) -> list[Measured]:
    """Times and agreement of the runtimes ``names``, torch first; those that cannot be opened are told of and left out.

    The runtimes take turns, so that whatever else the machine does meets them alike; of each image the best of three turns counts.
    """
    device = next(model.backbone.parameters()).device
    sources: dict[str, PatchTokens] = {}
    for name in names:
        try:
            sources[name] = open_tokens(name, model.backbone, runtime_precision(name, "auto", device), tell)
        except StegoError as error:
            if name == "torch":
                raise
            tell(f"runtime {name} is left out: {error}")
    images = example_batches(model.backbone.patch_size, model.settings.resolution)
    labels = {name: [_classes(model, source(image)) for image in images] for name, source in sources.items()}
    best = {name: np.full(len(images), np.inf) for name in sources}
    for _ in range(_ROUNDS):
        for index, image in enumerate(images):
            for name, source in sources.items():
                begun = time.perf_counter()
                source(image)
                best[name][index] = min(best[name][index], time.perf_counter() - begun)
    same = {name: np.concatenate([a == b for a, b in zip(found, labels["torch"], strict=True)]).mean() for name, found in labels.items()}
    return [Measured(name, float(best[name].sum()), float(same[name])) for name in sources]


def _classes(model: SegmenterModel, tokens: torch.Tensor) -> npt.NDArray[np.int64]:
    """The class of each patch of one image (1, C, h, w)."""
    probabilities = model.clusters.class_probabilities(tokens[0].flatten(1).T.contiguous())
    return np.asarray(probabilities.argmax(dim=1).numpy(), dtype=np.int64)


def _key(model: SegmenterModel, names: Sequence[str]) -> str:
    """16 hex digits of all that times and labels depend on; edits of a person are not among it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.clusters.to_tensors().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    versions = {package: _version(package) for package in ("torch", "onnxruntime", "openvino")}
    machine = [sorted(torch.cpu.get_capabilities().items()), torch.get_num_threads()]
    facts = [model.backbone.fingerprint, model.clusters.classes, model.settings.model_dump(), list(names), versions, machine]
    digest.update(json.dumps(facts, default=str).encode())
    return digest.hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _remembered(path: Path) -> Choice | None:
    """The choice in ``path``; None where there is none, or none that can be read."""
    try:
        values = json.loads(path.read_bytes())
        return Choice(str(values["runtime"]), tuple(Measured(**each) for each in values["measured"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
