"""``stego doctor``: what is installed, what is missing, and the command that mends it."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(card: Annotated[bool, typer.Option("--card", help="Print the cards of the embedded weights and NOTICE instead.")] = False) -> None:
    """Check versions, devices, caches and embedded weights; exit 1 if something needed is missing."""
    if card:
        from stego_app.cards import cards

        typer.echo(cards())
        return
    from stego_app.doctor import examine

    checks = examine()
    for check in checks:
        typer.echo(f"{'ok  ' if check.ok else 'MISS'} {check.name:<22} {check.found}" + (f"   → {check.remedy}" if check.remedy else ""))
    if not all(check.ok for check in checks if check.needed):
        raise typer.Exit(1)
