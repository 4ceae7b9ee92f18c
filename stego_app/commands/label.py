"""``stego label``: images in, label maps out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import StegoError
from stego_app import LARGEST_SEED
from stego_app.commands.runtime_option import RUNTIME

if TYPE_CHECKING:
    from stego_app.labelling import LabelSettings
    from stego_app.labelling.labeller import Engine
    from stego_app.labelling.segmenter import LabellingSegmenter
    from stego_app.progress import Progress
    from stego_app.segmenter import Segmenter
    from stego_app.shard import Shard

_IN = "Folders (sub-folders are followed), images, clips, zips of images, quoted patterns such as 'a/**/*.jpg', @list.txt (one image a line), or - for stdin."
_OUT = " Last: the folder for results, OUT/labels/<same sub-path>.png (of a clip, a folder of its frames); or - for stdout."
_FORMAT = "Also write voc, cvat-mask, cvat, coco, coco-instances, yolo, labelme, label-studio, geotiff or overlay. Repeatable."


def label(
    paths: Annotated[list[str], typer.Argument(metavar="IN... OUT", help=_IN + _OUT, show_default=False)],
    formats: Annotated[list[str] | None, typer.Option("--format", "-f", help=_FORMAT)] = None,
    lists: Annotated[list[Path] | None, typer.Option("--list", help="A text file that names one image a line; the same as @FILE. Repeatable.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A segmenter file, or 'default', which is meant if not given.")] = None,
    fit: Annotated[bool, typer.Option(help="Find the classes in these images themselves, then label them (no segmenter needed).")] = False,
    classes: Annotated[int | None, typer.Option("--classes", "-k", min=1, max=255, help="How many classes; the model's own number if not given.")] = None,
    crf: Annotated[bool, typer.Option(help="Refine edges with a dense CRF.")] = True,
    flip: Annotated[bool, typer.Option(help="Average with the mirrored image: twice the time, slightly better.")] = False,
    overlays: Annotated[bool, typer.Option(help="Also write the colours over the pictures, to OUT/overlays/.")] = False,
    confidence: Annotated[bool, typer.Option(help="Also write the confidence of each pixel, to OUT/confidence/ (8-bit, white = sure).")] = False,
    abstain: Annotated[float | None, typer.Option(help="Give no class (255) where confidence is below this, 0 to 1; 0.7 is a sensible start.")] = None,
    resolution: Annotated[int | None, typer.Option(min=28, max=4096, help="Short side for the backbone in pixels; the model's own if not given.")] = None,
    window: Annotated[int | None, typer.Option(min=0, max=4096, help="Side of overlapping windows in pixels, for fine detail in large images.")] = None,
    tile: Annotated[int | None, typer.Option(min=0, help="Side of a large TIFF's tiles, each seen as an image; 1024 above 64 million pixels; 0 never.")] = None,
    steady: Annotated[float, typer.Option(min=0, max=60, help="Seconds over which a clip's classes are averaged along its motion; 0: frame by frame.")] = 0.3,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 4,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes for the CRF and the formats; one per core if not given.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    runtime: Annotated[str | None, typer.Option(help=RUNTIME)] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=LARGEST_SEED, help="Seed of --fit; 0 if not given.")] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="Classes from words: 'road', or 'road: street, asphalt'; 255 where none fits. Repeatable.")] = None,
    tower: Annotated[str | None, typer.Option(help="For --prompt: bridge (offline; the default), a bridge file, or clip:NAME of open_clip.")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: over the machines of a Ray cluster; see docs/scale.md.")] = "local",
    ray_address: Annotated[str | None, typer.Option(help="For --engine ray: HOST:PORT of a cluster; one of this machine's cores if not given.")] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Part I of N, beside others; then once without it, for the lists. See docs/scale.md.")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Also remove what OUT holds of images that are not among IN any more.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would be done; write nothing.")] = False,
    watch: Annotated[bool, typer.Option(help="Go on labelling what comes into the folders, until Ctrl-C.")] = False,
) -> None:
    """Label images and video clips. Run it again after an interruption: only what is left is done."""
    from stego_app.labelling import LabelSettings
    from stego_app.labelling.inputs import is_stdin
    from stego_app.progress import terminal_progress
    from stego_app.runtime.extras import require
    from stego_app.shard import Shard

    if fit and model is not None:
        raise StegoError("--fit finds its own classes and --model brings some: give one of the two")
    if seed is not None and not fit:
        raise StegoError("--seed belongs to --fit: labelling with a model draws nothing at random")
    if prompt and (fit or classes is not None or confidence or abstain is not None):
        raise StegoError("--prompt brings its own classes and tells no confidence: it does not go with --fit, --classes, --confidence or --abstain")
    if tower is not None and not prompt:
        raise StegoError("--tower belongs to --prompt")
    if engine not in ("local", "ray"):
        raise StegoError(f"--engine {engine}: expected local or ray")
    if ray_address is not None and engine != "ray":
        raise StegoError("--ray-address belongs to --engine ray")
    if abstain is not None and not 0 <= abstain <= 1:
        raise StegoError(f"--abstain {abstain}: expected 0 to 1")
    sources, out = [*paths[:-1], *(f"@{path}" for path in lists or [])], paths[-1]
    if not sources:
        raise StegoError(f"{out}: only one path given; expected input and output, e.g. stego label photos/ out/")
    streams = is_stdin(out) or any(is_stdin(source) for source in sources)
    if engine == "ray":
        if fit or watch or streams:
            raise StegoError("--engine ray labels files with a model that all machines can read: not with --fit (see `stego train`), --watch or streams (-)")
        require("ray", extra="ray")
    part = None if shard is None else Shard.parse(shard)
    if part is not None and (fit or watch or dry_run or formats or streams):
        raise StegoError("--shard labels a part with a model: --fit, --watch, --dry-run, --format and streams (-) belong to a run of the whole")
    settings = LabelSettings(
        classes=classes,
        crf=crf,
        flip=flip,
        abstain=abstain,
        confidence=confidence,
        # Overlays are drawn where the image is in memory, not in a second pass.
        overlays=overlays or "overlay" in (formats or []),
        formats=tuple(name for name in formats or [] if name != "overlay"),
        resolution=resolution,
        window=window,
        tile=tile,
        steady=steady,
        batch_size=batch_size,
        jobs=jobs,
    )
    if prune and (watch or streams or part is not None):
        raise StegoError("--prune belongs to a run of the whole: not with --watch, --shard or streams (-)")
    if (streams and (fit or watch or dry_run)) or (watch and (fit or dry_run)):
        raise StegoError("--fit, --watch, --dry-run and streams (-) do not go together")
    opened = partial(_open, model, device, runtime, prompt, tower or "bridge")
    with terminal_progress() as progress:
        if streams:
            _stream(sources, out, formats or [], opened(), settings)
        elif watch:
            _watch(sources, Path(out), opened(), settings, progress)
        else:
            options = {"classes": classes, "resolution": resolution, "device": device, "runtime": runtime, "seed": seed or 0, "progress": progress}
            cluster = (ray_address, device != "cpu") if engine == "ray" else None
            _run(sources, Path(out), None if fit else opened, options, settings, dry_run=dry_run, ray=cluster, shard=part, prune=prune)


def _load(model: str | None, device: str, runtime: str | None) -> Segmenter:
    from stego_app.segmenter import Segmenter

    return Segmenter.load(model or "default", device=device, runtime=runtime, tell=lambda line: typer.echo(f"stego: {line}", err=True))


def _open(model: str | None, device: str, runtime: str | None, prompts: Sequence[str] | None, tower: str) -> LabellingSegmenter:
    """The segmenter of a model, or where there are prompts one whose classes are these words."""
    segmenter = _load(model, device, runtime)
    if not prompts:
        return segmenter
    from stego_app.naming.prompted import PromptedSegmenter
    from stego_app.naming.tower import load_tower
    from stego_app.naming.words import parse_words

    words = parse_words(prompts, where="--prompt", unit="word", least=1)
    return PromptedSegmenter(segmenter, words, load_tower(tower, segmenter.model.backbone.fingerprint, str(segmenter.device)))


def _run(
    sources: Sequence[str],
    out: Path,
    opened: Callable[[], LabellingSegmenter] | None,
    options: Mapping[str, object],
    settings: LabelSettings,
    *,
    dry_run: bool,
    ray: tuple[str | None, bool] | None,
    shard: Shard | None,
    prune: bool,
) -> None:
    """Label, or say what would be; ``opened`` None to find classes first; ``ray``: a cluster's address, and whether GPUs are wanted."""
    from stego_app.labelling.export import check_formats
    from stego_app.labelling.folder import label_images, survey_images
    from stego_app.labelling.gone import gone_images
    from stego_app.labelling.labeller import label_here
    from stego_app.labelling.manifest import read_entries
    from stego_app.labelling.names import plan_inputs
    from stego_app.labelling.stills import pictures

    plans = plan_inputs(sources, out)
    check_formats(settings.formats)
    if opened is None:
        # What is planned is what is fitted: results of an earlier run inside the folder are no input.
        if any(plan.image.member for plan in plans):
            raise StegoError(f"{sources[0]}: --fit reads images more than once and needs them unpacked; expected files, not a zip")
        if dry_run:
            typer.echo(f"would find classes in {len(plans)} images and label them into {out / 'labels'}{_also(out, settings)}; nothing was written")
            return
        from stego_app.segmenter import Segmenter

        segmenter: LabellingSegmenter
        with TemporaryDirectory(prefix="stego-") as stills:
            segmenter = fitted = Segmenter.fit(pictures(plans, Path(stills)), tell=partial(typer.echo, err=True), **options)  # type: ignore[arg-type]  # one set of options for both
        for note in fitted.model.provenance["notes"]:
            typer.echo(note)
    else:
        segmenter = opened()
    if dry_run:
        left = survey_images(plans, out, segmenter, settings)
        for plan in left:
            typer.echo(f"{plan.image} -> {out / plan.label}")
        for name in gone_images(out, read_entries(out), plans, (plan.label for plan in plans)).left if prune else ():
            typer.echo(f"{name}: its results would be removed")
        before = f"; {len(plans) - len(left)} were done before" if len(left) < len(plans) else ""
        typer.echo(f"would label {len(left)} of {len(plans)} images{before}{_also(out, settings)}; nothing was written")
        return
    engine: Engine = label_here
    if ray is not None and opened is not None:
        from stego_app.labelling.cluster import RayEngine

        engine = RayEngine(opened, *ray)
    summary = label_images(plans, out, segmenter, settings, options["progress"], engine=engine, shard=shard, prune=prune)  # type: ignore[arg-type]
    typer.echo(str(summary))
    if summary.failed:
        raise typer.Exit(1)


def _also(out: Path, settings: LabelSettings) -> str:
    from stego_app.labelling.export import check_formats

    products = [str(out / entry.product) for entry in check_formats(settings.formats)]
    return f"; then write {', '.join(products)}" if products else ""


def _stream(sources: Sequence[str], out: str, formats: Sequence[str], segmenter: LabellingSegmenter, settings: LabelSettings) -> None:
    from stego_app.labelling.stream import NAME, label_stream

    if len(sources) != 1 or out != "-":
        raise StegoError("- stands for one image and its labels; expected `stego label - - < a.jpg > a.png`, or `stego label a.jpg - > a.png`")
    if len(formats) > 1:
        raise StegoError(f"--format {' '.join(formats)}: stdout takes one format")
    if sources[0] == "-":
        data = sys.stdin.buffer.read()
    else:
        try:
            data = Path(sources[0]).read_bytes()
        except OSError as error:
            raise StegoError(f"{sources[0]}: cannot be read ({error.strerror or error})") from error
    made = label_stream(data, segmenter, settings, formats[0] if formats else "png", name=NAME if sources[0] == "-" else Path(sources[0]).name)
    sys.stdout.buffer.write(made)
    sys.stdout.buffer.flush()


def _watch(sources: Sequence[str], out: Path, segmenter: LabellingSegmenter, settings: LabelSettings, progress: Progress) -> None:
    from stego_app.labelling.watch import watch

    typer.echo(f"watching {', '.join(sources)}; Ctrl-C ends it", err=True)
    try:
        watch(sources, out, segmenter, settings, lambda summary: typer.echo(str(summary)), progress=progress)
    except KeyboardInterrupt:
        typer.echo(f"stopped watching; what was done is in {out}", err=True)
