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

from models.artifact import is_artifact
from models.backbone import build_vit
from models.backbone_sources import RANDOM_PREFIX
from models.errors import StegoError
from pretrain.augment import simclr_crop
from pretrain.source import kinds_of
from pretrain.video.attentive_probe import accuracy, fit_probe
from pretrain.video.encoder import VideoEncoder
from pretrain.video.file import KIND, read_video_encoder
from pretrain.video.views import centre_clip, coloured_view
from pretrain.video.windows import Window, open_clips, read_window
from stego_app.atomic import write_text
from stego_app.data.dataset import evenly
from stego_app.features import device_of
from stego_app.progress import Progress, silent

FOLDS = 4
CLIPS_A_WINDOW = 3
VIEWS = 3
VIEW_SCALE = (0.3, 1.0)
WINDOWS = 200
"""Windows that are looked at unless another number is asked for, spread evenly."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """What the encoder says of clips.

    Attributes:
        tokens: (N, L, C) half floats.
        shuffled: the same of the clips with their frames in another order; None where there are too few videos to ask for the order.
        video: (N,) the video of each clip.
        paths: of the videos.
        early, late: (M, L, C) half floats each: `VIEWS` views, in other crops and colours, of the first and of the second half of each window that
            has room for two clips.
        viewed: (M,) the video of each of these.
    """

    tokens: torch.Tensor
    shuffled: torch.Tensor | None
    video: Numbers
    paths: list[Path]
    early: torch.Tensor
    late: torch.Tensor
    viewed: Numbers


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
    return is_artifact(Path(name.removeprefix(RANDOM_PREFIX)), KIND)


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
    videos and scored on others, in `FOLDS` folds. Of which video a clip is: learnt from the first half of each window, in crops, mirrored and in
    changed colours, and scored on its second half in others; as they are, clips of a video are so alike that random weights tell them apart.

    Args:
        encoder: a file of an encoder of clips; or ``random:`` and one, the same network before any training.
        data: a clip, or a folder that is searched.
        side: pixels of the clips' central square; what the encoder was trained at if None.
        limit: at most so many windows, evenly chosen; `WINDOWS` if None. Memory grows with their number.

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
    seen = see(network.to(device_of(device)), evenly(source.windows, limit or WINDOWS), size, seed, failures, progress)
    asked = list(ask(seen, seed, progress))
    if not asked:
        raise StegoError(f"{data}: expected at least {FOLDS} videos, or one that is long enough for several clips of {shape.seconds:.1f} s")
    found = ClipProbe(encoder, asked, failures)
    if out is not None:
        write_text(out / "probe.json", json.dumps(found.as_dict(), indent=2) + "\n")
        write_text(out / "probe.md", found.as_markdown() + "\n")
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


def see(encoder: VideoEncoder, windows: list[Window], side: int, seed: int, failures: list[tuple[str, str]], progress: Progress = silent) -> Seen:
    """Tokens of up to `CLIPS_A_WINDOW` clips of each window, at random starts, central square; what cannot be read is added to ``failures``.

    Only tokens are kept, as half floats on the processor: they are many.

    Raises:
        StegoError: none can be read.
    """
    shape, rng = encoder.video.clip, np.random.default_rng(seed)
    many = len({window.video.path for window in windows}) >= FOLDS
    paths: list[Path] = []
    tokens: list[torch.Tensor] = []
    shuffled: list[torch.Tensor] = []
    video: list[int] = []
    halves: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    viewed: list[int] = []
    for number, window in enumerate(windows, 1):
        try:
            frames = read_window(window, shape, round(1.15 * side))
        except StegoError as error:
            failures.append((window.name, str(error)))
            continue
        if window.video.path not in paths:
            paths.append(window.video.path)
        starts = sorted(rng.permutation(len(frames) - shape.frames + 1)[:CLIPS_A_WINDOW])
        clips = torch.stack([centre_clip(frames[start : start + shape.frames], shape.frames, side) for start in starts])
        tokens.append(encode(encoder, clips))
        if many:
            shuffled.append(encode(encoder, shuffle(clips, rng)))
        video += [paths.index(window.video.path)] * len(clips)
        if len(frames) >= 2 * shape.frames:
            middle = len(frames) // 2
            for half, part in zip(halves, (frames[:middle], frames[middle:]), strict=True):
                views = [coloured_view(part, shape.frames, simclr_crop(side, VIEW_SCALE), rng) for _ in range(VIEWS)]
                half.append(encode(encoder, torch.stack(views)))
            viewed += [video[-1]] * VIEWS
        progress("tokens of clips", number, len(windows))
    if not tokens:
        raise StegoError(f"no clip can be read; the first: {failures[0][1]}")
    early, late = (torch.cat(half) if half else tokens[0][:0] for half in halves)
    return Seen(torch.cat(tokens), torch.cat(shuffled) if many else None, np.array(video), paths, early, late, np.array(viewed, dtype=np.int64))


def ask(seen: Seen, seed: int, progress: Progress = silent) -> Iterator[Answer]:
    """The answers that what was ``seen`` allows."""
    tokens, count = seen.tokens, len(seen.paths)
    if seen.shuffled is not None and count >= FOLDS:
        both, labels = torch.cat([tokens, seen.shuffled]), np.repeat([0, 1], len(tokens))
        share, scored = across_folds(both, labels, np.tile(seen.video % FOLDS, 2), seed, progress)
        yield Answer("frames in order or shuffled", share, 0.5, scored, f"{FOLDS} folds of {count} videos")
    labels, kinds = kinds_of([str(path) for path in seen.paths])
    if len(kinds) > 1 and np.bincount(labels).min() > 1:
        nth = np.array([int((labels[:number] == labels[number]).sum()) for number in range(count)])  # so that each fold has of each folder
        folds = min(FOLDS, int(np.bincount(labels).min()))
        share, scored = across_folds(tokens, labels[seen.video], (nth % folds)[seen.video], seed, progress)
        yield Answer("folder", share, _most_frequent(labels[seen.video]), scored, f"{folds} folds of {count} videos in {len(kinds)} folders")
    several, number = np.unique(seen.viewed, return_inverse=True)
    if len(several) > 1:
        half = np.repeat([0, 1], len(number))
        share, scored = score(torch.cat([seen.early, seen.late]), np.tile(number, 2), half == 0, half == 1, len(several), seed)
        how = f"{len(several)} videos, learnt from first halves, asked of second ones, in other crops and colours"
        yield Answer("which video", share, _most_frequent(number), scored, how)


def encode(encoder: VideoEncoder, clips: torch.Tensor) -> torch.Tensor:
    """Tokens (N, L, C) of clips (N, T, 3, S, S)."""
    with torch.inference_mode():
        tokens: torch.Tensor = encoder(clips.to(next(encoder.parameters()).device)).half().cpu()
    return tokens


def shuffle(clips: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Clips (N, T, 3, S, S) with the frames of each in another order than theirs."""
    frames = clips.shape[1]
    mixed = []
    for clip in clips:
        order = rng.permutation(frames)
        while frames > 1 and (order == np.arange(frames)).all():
            order = rng.permutation(frames)
        mixed.append(clip[torch.from_numpy(order)])
    return torch.stack(mixed)


def across_folds(tokens: torch.Tensor, labels: Numbers, fold: Numbers, seed: int, progress: Progress = silent) -> tuple[float, int]:
    """Share of right answers where each ``fold`` (N,) is scored by a probe of the others, and how many were scored."""
    right = []
    for number, one in enumerate(folds := np.unique(fold), 1):
        right.append(score(tokens, labels, fold != one, fold == one, int(labels.max()) + 1, seed))
        progress("probing", number, len(folds))
    total = sum(count for _, count in right)
    return sum(share * count for share, count in right) / total, total


def score(tokens: torch.Tensor, labels: Numbers, learnt: npt.NDArray[np.bool_], asked: npt.NDArray[np.bool_], classes: int, seed: int) -> tuple[float, int]:
    """Share of right answers on the clips ``asked`` of a probe of those ``learnt``, and how many were asked."""
    wanted = torch.from_numpy(labels)
    known, held = torch.from_numpy(learnt), torch.from_numpy(asked)
    probe = fit_probe(tokens[known], wanted[known], classes, seed=seed)
    return accuracy(probe, tokens[held], wanted[held]), int(asked.sum())


def _most_frequent(labels: Numbers) -> float:
    return float(np.bincount(labels).max() / len(labels))
