"""Celery's pool of processes, which outlives the sudden death of one of them (docs/decisions/0026).

Where a broker's connection knows no event loop (pgmq), the pool's processes share one pipe of tasks and one of results,
each guarded by a lock. Whoever waits for a task holds the first. Celery's locks are semaphores: of one killed just
then (SIGKILL, the kernel short of memory) nobody gets the lock ever again, so that no task is begun any more, and the
worker does not end when it is asked to.
"""

import fcntl
import tempfile
from typing import Any

from celery.concurrency import prefork


class MortalLock:
    """A lock between processes that have forked. The kernel takes it back from whoever dies (POSIX record locks).

    Between processes, not threads: of each only one may use it.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the pool)

    def acquire(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()


class Pool(prefork.BlockingPool):
    """In its own processes the main thread alone takes tasks and gives results."""

    def _setup_queues(self) -> None:
        super()._setup_queues()
        self._inqueue._rlock = MortalLock()
        self._outqueue._wlock = MortalLock()


class TaskPool(prefork.TaskPool):
    """Celery's own, but for the pool of a broker without an event loop."""

    BlockingPool: Any = Pool
