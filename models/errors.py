"""The one error a user is meant to read."""

from __future__ import annotations


class StegoError(Exception):
    """A problem the user can act on: one line that names the file or field and what was expected.

    Every door shows the message without a traceback: the CLI exits with ``exit_code``, the REST service
    answers with a 4xx status, the browser shows it as a warning.
    """

    exit_code: int = 2
