"""How a command ends that went on without some of its files."""

from __future__ import annotations

from collections.abc import Sequence

import typer


def leave_with(failures: Sequence[tuple[str, str]]) -> None:
    """Say on standard error which files could not be read, and end with 1; nothing where there are none. To be called once the result is written.

    Args:
        failures: (file, reason).
    """
    if failures:
        path, reason = failures[0]
        others = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        typer.echo(f"could not read {reason if path in reason else f'{path}: {reason}'}{others}", err=True)
        raise typer.Exit(1)
