"""``stego probe`` on clips: what an attentive probe reads off the frozen tokens of an encoder of clips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.artifact import ArtifactError, read_header
from models.backbone import build_vit
from models.backbone_sources import RANDOM_PREFIX
from models.errors import StegoError
from pretrain.source import kinds_of
from pretrain.video.attentive_probe import accuracy, fit_probe
from pretrain.video.encoder import VideoEncoder
from pretrain.video.file import KIND, read_video_encoder
from pretrain.video.views import centre_clip
from pretrain.video.windows import ClipShape, Window, open_clips, read_window
from stego_app.atomic import write_bytes
from stego_app.data.dataset import evenly
from stego_app.features import device_of
from stego_app.progress import Progress, silent

FOLDS = 4
CLIPS_A_WINDOW = 3
ENCODED_TOGETHER = 16

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Clips:
    """Clips (N, T, 3, S, S) uint8, the ``video`` (N,) and the ``window`` (N,) each is of, counted from 0 within its video, and the videos' paths."""

    pixels: torch.Tensor
    video: Numbers
    window: Numbers
    paths: list[Path]


@dataclass(frozen=True)
class Answer:
    """One question to the tokens: the share of right answers and that of guessing, both in [0, 1], on ``scored`` clips that the probe did not learn from."""

    question: str
    accuracy: float
    chance: float
    scored: int
    how: str


@dataclass(frozen=True)
class ClipProbe:
    """Answers to all questions that the clips allow."""

    encoder: str
    answers: list[Answer]
    failures: list[tuple[str, str]] = field(default_factory=list)

    def as_markdown(self) -> str:
        """The table."""
        rows = [f"| {one.question} | {100 * one.accuracy:.1f} % | {100 * one.chance:.1f} % | {one.scored} | {one.how} |" for one in self.answers]
        return "\n".join([self.encoder, "", "| attentive probe | accuracy | by chance | clips | how |", "|---|---|---|---|---|", *rows])

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        failures = [{"file": name, "reason": reason} for name, reason in self.failures]
        return {"encoder": self.encoder, "answers": [asdict(answer) for answer in self.answers], "failures": failures}


def is_video_encoder(name: str) -> bool:
    """Whether ``name``, or what follows its ``random:``, is a file of an encoder of clips."""
    path = Path(name.removeprefix(RANDOM_PREFIX))
    try:
        return path.is_file() and read_header(path)["kind"] == KIND
    except ArtifactError:
        return False


def probe_clips(
    encoder: str,
    data: Path,
    out: Path | None,
    *,
    side: int | None = None,
    limit: int | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: Progress = silent,
) -> ClipProbe:
    """Ask frozen tokens of clips three things, as far as the clips allow; writes probe.json and probe.md to ``out``.

    Whether frames are in order or shuffled and, where each of several folders has two videos, in which folder they lie: learnt from some
    videos and scored on others, in `FOLDS` folds. Of which video a clip is: learnt from every other window of videos that have several,
    scored on those between.

    Args:
        encoder: a file of an encoder of clips; or ``random:`` and one, the same network before any training.
        data: a clip, or a folder that is searched.
        side: pixels of the clips' central square; what the encoder was trained at if None.
        limit: at most so many windows, evenly chosen.

    Raises:
        StegoError: an unusable encoder, no clip that can be read, or a folder that cannot be written.
    """
    network = load_encoder(encoder, seed)
    size = side or network.spec.grid * network.patch_size
    if size % network.patch_size:
        raise StegoError(f"--resolution {size}: expected a multiple of the patch of {network.patch_size} pixels")
    shape = network.video.clip
    source = open_clips([data], shape, progress)
    failures = [(str(path), reason) for path, reason in source.skipped.items()]
    clips = read_clips(evenly(source.windows, limit), shape, size, seed, failures, progress)
    asked = list(ask(network.to(device_of(device)), clips, seed, progress))
    if not asked:
        raise StegoError(f"{data}: expected at least {FOLDS} videos, or one that is long enough for several clips of {shape.seconds:.1f} s")
    found = ClipProbe(encoder, asked, failures)
    if out is not None:
        write_bytes(out / "probe.json", (json.dumps(found.as_dict(), indent=2) + "\n").encode())
        write_bytes(out / "probe.md", (found.as_markdown() + "\n").encode())
    return found


def load_encoder(name: str, seed: int) -> VideoEncoder:
    """An encoder of clips, trained or with random weights; see `probe_clips`.

    Raises:
        ArtifactError: see `read_video_encoder`.
    """
    trained = read_video_encoder(Path(name.removeprefix(RANDOM_PREFIX)))
    if not name.startswith(RANDOM_PREFIX):
        return trained
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VideoEncoder(build_vit(trained.spec), trained.video, inflate=False).eval()


def read_clips(windows: list[Window], shape: ClipShape, side: int, seed: int, failures: list[tuple[str, str]], progress: Progress = silent) -> Clips:
    """Up to `CLIPS_A_WINDOW` clips of each window, at random starts, central square; what cannot be read is added to ``failures``.

    Raises:
        StegoError: none can be read.
    """
    rng = np.random.default_rng(seed)
    paths: list[Path] = []
    pixels: list[torch.Tensor] = []
    video: list[int] = []
    part: list[int] = []
    for number, window in enumerate(windows, 1):
        try:
            frames = read_window(window, shape, round(1.15 * side))
        except StegoError as error:
            failures.append((window.name, str(error)))
            continue
        if window.video.path not in paths:
            paths.append(window.video.path)
        for start in sorted(rng.permutation(len(frames) - shape.frames + 1)[:CLIPS_A_WINDOW]):
            pixels.append(centre_clip(frames[start : start + shape.frames], shape.frames, side))
            video.append(paths.index(window.video.path))
            part.append(window.number)
        progress("reading clips", number, len(windows))
    if not pixels:
        raise StegoError(f"no clip can be read; the first: {failures[0][1]}")
    return Clips(torch.stack(pixels), np.array(video), np.array(part), paths)


def ask(encoder: VideoEncoder, clips: Clips, seed: int, progress: Progress = silent) -> Iterator[Answer]:
    """The answers that ``clips`` allow."""
    tokens = encode(encoder, clips.pixels, "tokens of clips", progress)
    count = len(clips.paths)
    if count >= FOLDS:
        shuffled = encode(encoder, shuffle(clips.pixels, seed), "tokens of shuffled clips", progress)
        both, labels = torch.cat([tokens, shuffled]), np.repeat([0, 1], len(tokens))
        share, scored = across_folds(both, labels, np.tile(clips.video % FOLDS, 2), seed)
        yield Answer("frames in order or shuffled", share, 0.5, scored, f"{FOLDS} folds of {count} videos")
    labels, kinds = kinds_of([str(path) for path in clips.paths])
    if len(kinds) > 1 and np.bincount(labels).min() > 1:
        nth = np.array([int((labels[:number] == labels[number]).sum()) for number in range(count)])  # so that each fold has of each folder
        folds = min(FOLDS, int(np.bincount(labels).min()))
        share, scored = across_folds(tokens, labels[clips.video], (nth % folds)[clips.video], seed)
        yield Answer("folder", share, _most_frequent(labels[clips.video]), scored, f"{folds} folds of {count} videos in {len(kinds)} folders")
    learnt, asked = clips.window % 2 == 0, clips.window % 2 == 1
    several = np.unique(clips.video[asked])
    if len(several) > 1:
        known = np.searchsorted(several, clips.video).clip(max=len(several) - 1)
        held = several[known] == clips.video
        share, scored = score(tokens, known, learnt & held, asked & held, len(several), seed)
        yield Answer("which video", share, _most_frequent(known[asked & held]), scored, f"{len(several)} videos, learnt from every other window")


def encode(encoder: VideoEncoder, pixels: torch.Tensor, what: str, progress: Progress = silent) -> torch.Tensor:
    """Tokens (N, L, C) of clips (N, T, 3, S, S), as half floats on the processor: they are many."""
    device = next(encoder.parameters()).device
    found = []
    for some in torch.split(pixels, ENCODED_TOGETHER):
        with torch.inference_mode():
            found.append(encoder(some.to(device)).half().cpu())
        progress(what, sum(map(len, found)), len(pixels))
    return torch.cat(found)


def shuffle(pixels: torch.Tensor, seed: int) -> torch.Tensor:
    """Clips (N, T, 3, S, S) with the frames of each in another order than theirs."""
    generator = torch.Generator().manual_seed(seed)
    frames = pixels.shape[1]
    mixed = []
    for clip in pixels:
        order = torch.randperm(frames, generator=generator)
        while frames > 1 and torch.equal(order, torch.arange(frames)):
            order = torch.randperm(frames, generator=generator)
        mixed.append(clip[order])
    return torch.stack(mixed)


def across_folds(tokens: torch.Tensor, labels: Numbers, fold: Numbers, seed: int) -> tuple[float, int]:
    """Share of right answers where each ``fold`` (N,) is scored by a probe of the others, and how many were scored."""
    right = [score(tokens, labels, fold != one, fold == one, int(labels.max()) + 1, seed) for one in np.unique(fold)]
    total = sum(count for _, count in right)
    return sum(share * count for share, count in right) / total, total


def score(tokens: torch.Tensor, labels: Numbers, learnt: npt.NDArray[np.bool_], asked: npt.NDArray[np.bool_], classes: int, seed: int) -> tuple[float, int]:
    """Share of right answers on the clips ``asked`` of a probe of those ``learnt``, and how many were asked."""
    wanted = torch.from_numpy(labels)
    probe = fit_probe(tokens[torch.from_numpy(learnt)].float(), wanted[torch.from_numpy(learnt)], classes, seed=seed)
    held = torch.from_numpy(asked)
    return accuracy(probe, tokens[held].float(), wanted[held]), int(asked.sum())


def _most_frequent(labels: Numbers) -> float:
    return float(np.bincount(labels).max() / len(labels))
