"""The queue of job ids: huey on a SQLite file or on Redis. What is in it is JSON, since huey's own pickle can run code."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from huey import Huey
from huey.exceptions import ConfigurationError
from huey.registry import Message
from huey.serializer import Serializer
from huey.storage import RedisStorage, SqliteStorage

from api.jobs.folder import DataFolder
from api.jobs.settings import JobSettings
from models.errors import StegoError

_NAME = "stego"


class QueueError(StegoError):
    """The queue cannot be reached or written."""


class _JsonSerializer(Serializer):  # type: ignore[misc]
    """Messages as JSON. Ours have an id and one argument; anything else has no place in the queue."""

    def _serialize(self, data: Any) -> bytes:
        return json.dumps({"id": data.id, "name": data.name, "args": list(data.args)}).encode()

    def _deserialize(self, data: Any) -> Any:
        values = json.loads(bytes(data))
        return Message(id=str(values["id"]), name=str(values["name"]), args=[str(value) for value in values["args"]], kwargs={}, retries=0, retry_delay=0)


class JobQueue:
    """Ids of jobs that wait.

    Args:
        folder: holds the file, unless ``settings`` name a Redis.
        run: called with an id by a consumer of `huey`.

    Raises:
        QueueError: the file cannot be made; Redis's package is not installed, or its URL is not one.
    """

    def __init__(self, settings: JobSettings, folder: DataFolder, run: Callable[[str], None]) -> None:
        def stego_job(job: str) -> None:
            run(job)

        options: dict[str, Any] = {"results": False, "serializer": _JsonSerializer()}
        try:
            if settings.redis:
                self.huey = Huey(_NAME, storage_class=RedisStorage, url=settings.redis, **options)
            else:
                self.huey = Huey(_NAME, storage_class=SqliteStorage, filename=str(folder.queue), timeout=15, **options)
        except ConfigurationError as error:
            raise QueueError("--redis: the package for it is not installed; pip install 'stego-app[redis]'") from error
        except ValueError as error:
            raise QueueError(f"--redis: not a URL of a Redis ({error}); expected e.g. redis://localhost:6379/0") from error
        except Exception as error:  # each kind of storage has exceptions of its own
            raise QueueError(f"the queue of jobs cannot be used ({error})") from error
        self._task = self.huey.task()(stego_job)

    def put(self, job: str) -> None:
        """Add a job.

        Raises:
            QueueError: the queue cannot be reached or written.
        """
        try:
            self._task(job)
        except Exception as error:  # as above
            raise QueueError(f"the queue of jobs cannot be written ({error})") from error

    def waiting(self) -> set[str]:
        """Ids in the queue.

        Raises:
            QueueError: it cannot be reached.
        """
        try:
            return {str(task.args[0]) for task in self.huey.pending()}
        except Exception as error:  # as above
            raise QueueError(f"the queue of jobs cannot be read ({error})") from error
