"""Commands whose modules are imported when they are called, not when ``stego`` starts."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Home(NamedTuple):
    """Where a command lives, and the line that lists it."""

    place: str
    """``module:name`` of a function with typer's annotations, or of a ``typer.Typer`` with commands of its own."""
    summary: str
    """The first paragraph of its docstring, or of the Typer's help; a test compares them."""


class LazyGroup(TyperGroup):
    """A group of the commands in ``homes``: to list them, or to guess what a mistyped name meant, imports none of them."""

    homes: ClassVar[dict[str, Home]] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, home in self.homes.items():
            self.add_command(TyperCommand(name, short_help=home.summary))

    def get_help_option(self, ctx: Any) -> Any:
        """``--help``, false where it is not given: for a flag without a value typer would import pydantic, twice the work of all the rest."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that ``args`` call, imported now."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name, self.homes[name]) if name in self.homes else command, rest


def load_command(name: str, home: Home) -> Any:
    """Import the command at ``home`` and have typer read its parameters."""
    module, _, attribute = home.place.partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name)(found)
        found = single
    return typer.main.get_command(found)
