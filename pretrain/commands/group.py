"""``stego pretrain``: the commands of this room."""

from __future__ import annotations

from typing import Any, ClassVar

import typer

from stego_app.commands.lazy import Home, LazyGroup


class _Commands(LazyGroup):
    """Takes `stego pretrain METHOD ...` for any name that is not a command of its own: the names lie in a room too slow to import here."""

    homes: ClassVar = {
        "distill": Home(
            "pretrain.commands.distill:distill",
            "Distil a frozen teacher's patch and CLS features into a smaller ViT. Run again after an interruption to go on.",
        ),
        "naming": Home(
            "pretrain.commands.naming:naming",
            "Fit a bridge by which `stego name` finds names for classes. Needs the extra `text`; features are cached, the fit takes seconds.",
        ),
        "METHOD": Home(
            "pretrain.commands.method:pretrain_method", "Pretrain with METHOD (simclr, byol, mae, dino, ...). Run again after an interruption to go on."
        ),
    }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of ``args``: its own, or METHOD with the name as its first argument."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            args = ["METHOD", *args]
        return super().resolve_command(ctx, args)


pretrain_app = typer.Typer(cls=_Commands, help="Train a backbone without labels.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@pretrain_app.callback()
def pretrain_root() -> None:
    """Train a backbone without labels."""
