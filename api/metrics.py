"""Numbers for Prometheus, in a registry of the service's own, so that two services in one process do not mix."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
_REJECTED = {401: "key", 403: "scope", 408: "slow_upload", 413: "too_large", 429: "rate", 503: "busy", 504: "timeout"}

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All counters of one service. Labels come from a closed set: routes as the service writes them, names of its models."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("stego_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry)
        self.seconds = Histogram("stego_request_seconds", "Time from request to answer.", ["route"], buckets=_SECONDS, registry=self.registry)
        self.images = Counter("stego_images", "Images segmented.", ["model"], registry=self.registry)
        self.rejections = Counter("stego_rejections", "Requests turned away, by reason.", ["reason"], registry=self.registry)
        self.batch = Histogram("stego_batch_size", "Images that went through the backbone together.", buckets=_SIZES, registry=self.registry)
        self.queue = Gauge("stego_queue_depth", "Images waiting or being worked on.", registry=self.registry)
        self.pixels = Gauge("stego_pixels_in_work", "Pixels of the images being worked on.", registry=self.registry)
        for reason in _REJECTED.values():
            self.rejections.labels(reason=reason)
        ProcessCollector(registry=self.registry)

    def watch(self, *, queue: Callable[[], int], pixels: Callable[[], int]) -> None:
        """Read these when asked."""
        self.queue.set_function(queue)
        self.pixels.set_function(pixels)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self.requests.labels(method=method, route=route, status=str(status)).inc()
        self.seconds.labels(route=route).observe(seconds)
        if status in _REJECTED:
            self.rejections.labels(reason=_REJECTED[status]).inc()

    def text(self) -> bytes:
        """All numbers in Prometheus' text format."""
        return generate_latest(self.registry)
