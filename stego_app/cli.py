"""The command ``stego``: every room is put together here, and nowhere else."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from api.commands import key, openapi, serve, ui, worker
from models.errors import StegoError
from pretrain.commands.curate import curate
from pretrain.commands.distill import distill
from pretrain.commands.method import pretrain_method
from pretrain.commands.naming import naming
from pretrain.commands.probe import probe
from stego_app.commands.classes import classes
from stego_app.commands.convert import convert
from stego_app.commands.demo import demo
from stego_app.commands.doctor import doctor
from stego_app.commands.evaluate import evaluate
from stego_app.commands.export import export
from stego_app.commands.label import label
from stego_app.commands.lidar import lidar_app
from stego_app.commands.name import name
from stego_app.commands.teach import teach
from stego_app.commands.train import train

app = typer.Typer(
    name="stego",
    help="Segment images without labels: a folder of images in, data-set-consistent pixel classes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Methods(TyperGroup):
    """Takes `stego pretrain METHOD ...` for any name that is not a command of its own: the names lie in a room too slow to import here."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of ``args``: its own, or METHOD with the name as its first argument."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            args = ["METHOD", *args]
        return super().resolve_command(ctx, args)


pretrain_app = typer.Typer(cls=_Methods, help="Train a backbone without labels.", no_args_is_help=True)


@pretrain_app.callback()
def pretrain_root() -> None:
    """Train a backbone without labels."""


app.add_typer(pretrain_app, name="pretrain")
app.add_typer(lidar_app, name="lidar")
app.command()(demo)
app.command()(label)
app.command()(convert)
app.command()(train)
app.command(name="eval")(evaluate)
app.command()(teach)
app.command()(classes)
app.command()(name)
app.command()(export)
app.command()(doctor)
app.command()(curate)
app.command()(probe)
app.command()(serve)
app.command()(ui)
app.command()(worker)
app.command()(key)
app.command()(openapi)
pretrain_app.command()(distill)
pretrain_app.command()(naming)
pretrain_app.command(name="METHOD")(pretrain_method)


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
