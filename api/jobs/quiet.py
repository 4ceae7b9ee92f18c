"""News that would come again every second while something is out of reach, such as a queue in Redis: one line, now and then."""

from __future__ import annotations

import logging
import time


class NowAndThen(logging.Filter):
    """Lets a message through once in ``seconds``, with the error in brackets in place of its traceback; others have turns of their own."""

    def __init__(self, seconds: float = 60.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether ``record`` is to be logged."""
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage()
        now = time.monotonic()
        if now - self._said.get(text, -self._seconds) < self._seconds:
            return False
        self._said = {said: at for said, at in self._said.items() if now - at < self._seconds} | {text: now}
        if error is not None:
            record.msg, record.args = "%s (%s)", (text, " ".join(str(error).split()) or type(error).__name__)
            record.exc_info, record.exc_text = None, None
        return True
