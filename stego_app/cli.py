"""The command ``stego``: every room is put together here, and nowhere else."""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOWrapper
from typing import Annotated, ClassVar

import typer

from models.errors import StegoError
from stego_app.commands.lazy import Home, LazyGroup


class _Commands(LazyGroup):
    """Every command of ``stego``. Only the one that is called is imported."""

    homes: ClassVar = {
        "demo": Home("stego_app.commands.demo:demo", "Segment a few photos with the embedded segmenter and write the overlays and an album."),
        "label": Home("stego_app.commands.label:label", "Label images and video clips. Run it again after an interruption: only what is left is done."),
        "convert": Home("stego_app.commands.convert:convert", "Convert label maps between formats: classes, colours and pixels without class go along."),
        "train": Home("stego_app.commands.train:train", "Find the classes of a data set and train a segmenter for them. Needs no labels and no tuning."),
        "eval": Home(
            "stego_app.commands.evaluate:evaluate",
            "Hungarian-matched mIoU and accuracy over the whole set, per class, with and without the CRF; and how confidence predicts errors.",
        ),
        "teach": Home(
            "stego_app.commands.teach:teach",
            "Teach a segmenter your own classes from as little as one labelled image. Classes that no label shows cannot be given.",
        ),
        "classes": Home("stego_app.commands.classes:classes", "List a segmenter's classes, or edit them; edits are stored in the file and can be undone."),
        "name": Home(
            "stego_app.commands.name:name",
            "Name classes from words, or say that none of them fits. Names are edits: `stego classes MODEL --undo N` takes them back.",
        ),
        "export": Home(
            "stego_app.commands.export:export",
            "Write the network (backbone; of a segmenter also head and clusters) as a graph for images of any size, compared with torch before it is kept.",
        ),
        "doctor": Home("stego_app.commands.doctor:doctor", "Check versions, devices, caches and embedded weights; exit 1 if something needed is missing."),
        "pretrain": Home("pretrain.commands.group:pretrain_app", "Train a backbone without labels."),
        "curate": Home(
            "pretrain.commands.curate:curate",
            "Choose images worth training on: no near-duplicates, none of your test images, like a curated set or evenly spread. Run again to go on.",
        ),
        "probe": Home(
            "pretrain.commands.probe:probe",
            "Score a frozen backbone: k-NN and linear probe on classes, or on label maps linear probe and k-means of patches; and draw what it sees.",
        ),
        "lidar": Home("stego_app.commands.lidar:lidar_app", "Classes of points in lidar scans, without labels."),
        "serve": Home("api.commands:serve", "Serve REST at /v1 and the browser page at /."),
        "ui": Home("api.commands:ui", "Open the browser page, on this machine only."),
        "worker": Home("api.commands:worker", "Work on the jobs of a server that has the same data folder, beside its own worker or in place of it."),
        "key": Home("api.commands:key", "Make an API key: the secret goes to the terminal, the lines for the file of keys to standard output (>> keys.toml)."),
        "openapi": Home("api.commands:openapi", "Print the description of the REST service, as docs/openapi.json holds it."),
    }


app = typer.Typer(
    name="stego",
    cls=_Commands,
    help="Segment images without labels: a folder of images in, data-set-consistent pixel classes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # to lay out help in boxes, Rich takes four times as long to import as all the rest
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    """Options of ``stego`` itself."""
    if version:
        from stego_app import __version__

        typer.echo(f"stego {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; a user sees one line for each problem, never a traceback."""
    # Hubs may be asked for weights by name; nothing else of theirs is wanted in a terminal.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text, nor what a terminal can show, as on stderr
    try:
        app(standalone_mode=True)
    except StegoError as error:
        _leave(f"stego: {error}", error.exit_code)
    except KeyboardInterrupt:
        _leave("stego: interrupted; run the same command again to go on from here", 130)
    except BrokenPipeError:
        os._exit(141)  # the reader left: nothing more can be said to it
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            _leave(f"stego: {error.filename or 'disk'}: no space left on the disk; free some and run the same command again", 2)
        if error.filename is None:
            raise  # not about a file: a defect of ours, to be seen whole
        _leave(f"stego: {error.filename}: {error.strerror}", 2)


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
