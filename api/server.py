"""Runs the service with uvicorn."""

from __future__ import annotations

import logging
import socket
import sys
from contextlib import suppress

import uvicorn

from api.app import create_app
from api.settings import ServiceSettings
from api.stopping import Stopping
from models.errors import StegoError

_LAST_ANSWERS = 2  # seconds between giving up the last image and closing the last connection
_BACKLOG = 128  # connections that the system holds until they are taken


def serve(settings: ServiceSettings) -> None:
    """Serve until interrupted; requests under way get ``settings.shutdown_grace`` seconds to finish.

    Raises:
        StegoError: a port in use, an address that is not this machine's, or a model that cannot be loaded.
    """
    listener = bind(settings.host, settings.port)
    with listener:
        _log_to_stderr()
        app = create_app(settings)
        listen(listener, settings)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"stego: serving on http://{shown}:{port} (REST at /v1{', page at /' if settings.ui else ''}); Ctrl-C stops", file=sys.stderr, flush=True)
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            # By then every image was answered; this is for uploads and downloads that do not end.
            timeout_graceful_shutdown=settings.shutdown_grace + _LAST_ANSWERS,
        )
        with suppress(KeyboardInterrupt):  # uvicorn raises it again once it has shut down in good order
            _Server(config, app.state.stopping).run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn that tells the application when it begins to shut down, not only when all connections are closed."""

    def __init__(self, config: uvicorn.Config, stopping: Stopping) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.begin()
        await super().shutdown(sockets)


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to ``host`` and ``port``, before models are loaded, so that a port in use is told at once.

    It does not listen yet: until `listen`, connections are refused rather than left waiting for models to load.

    Raises:
        StegoError: the port is in use or not allowed, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror:
        raise StegoError(f"--host {host}: not an address of this machine; expected e.g. 127.0.0.1 or 0.0.0.0") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from None
    return listener


def listen(listener: socket.socket, settings: ServiceSettings) -> None:
    """Take connections from now on.

    Raises:
        StegoError: another process has begun to listen there since `bind`.
    """
    try:
        listener.listen(_BACKLOG)
    except OSError as error:
        raise _cannot_listen(settings.host, settings.port, error) from None


def _cannot_listen(host: str, port: int, error: OSError) -> StegoError:
    return StegoError(f"--port {port}: cannot listen on {host}:{port} ({error.strerror}); choose another with --port, or 0 for a free one")


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for name, level in {"stego": logging.INFO, "uvicorn": logging.WARNING}.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
