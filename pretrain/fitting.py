"""Run a Lightning trainer as a command-line tool should: quietly, and with Ctrl-C as Ctrl-C."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning


def fit(trainer: lightning.Trainer, module: lightning.LightningModule, loader: Any = None) -> None:
    """``trainer.fit``.

    Raises:
        KeyboardInterrupt: the user stopped it.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        with quiet_lightning():
            trainer.fit(module, loader)
    except SystemExit as error:  # Lightning makes an exit of its own out of Ctrl-C, and leaves Ctrl-C switched off
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from error


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's remarks on hardware, workers and modes from the user: they ask for nothing the user can do."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        logger.setLevel(level)
