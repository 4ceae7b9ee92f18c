"""How often one client may ask: a token bucket for each."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

_CLIENTS = 10_000
_BURST_SECONDS = 10.0


class RateLimit:
    """At most ``per_minute`` requests a minute for each client, with bursts of ten seconds' worth.

    The clients seen last are remembered, up to `_CLIENTS`; one that is forgotten starts with a full bucket.

    Args:
        per_minute: requests a minute.
        clock: seconds, for tests.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._burst = max(1.0, self._rate * _BURST_SECONDS)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> int:
        """0 if ``client`` may go on, else the seconds after which it may."""
        now = self._clock()
        tokens, seen = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - seen) * self._rate)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        while len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        return 0 if allowed else max(1, math.ceil((1 - tokens) / self._rate))
