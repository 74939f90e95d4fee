"""A connection of an event loop, which sees every tenant's rows. For the ingest door, which asks no ORM."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from django.db import connection
from psycopg.pq import Conninfo

from tenants.scope import IDLE_WITH_LOCKS

CONNECT_SECONDS = 5
_KEYWORDS = {option.keyword.decode() for option in Conninfo.get_defaults()}


async def system_connection() -> psycopg.AsyncConnection[Any]:
    """In autocommit, in the system's scope, its commits durable. Raises `psycopg.OperationalError`."""
    parameters = {name: value for name, value in connection.get_connection_params().items() if name in _KEYWORDS}
    made = await psycopg.AsyncConnection.connect(autocommit=True, **parameters)
    with hanging_up(made, CONNECT_SECONDS):
        await made.execute(
            "SELECT set_config('app.tenant', '*', false), set_config('synchronous_commit', CASE"
            " current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false),"
            f" set_config('idle_in_transaction_session_timeout', '{IDLE_WITH_LOCKS:.0f}s', false)"
        )
        # Bodies are compressed where they are stored: lz4 takes a fraction of the time, where the server has it.
        await made.execute(
            "SELECT set_config('default_toast_compression', 'lz4', false) FROM pg_settings"
            " WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)"
        )
    return made


class Line:
    """One connection for small questions, asked one after another. Made when it is needed, and again when it broke."""

    def __init__(self, connect: Callable[[], Awaitable[psycopg.AsyncConnection[Any]]], patience: float) -> None:
        self._connect = connect
        self._patience = patience
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._turn = asyncio.Lock()

    async def ask(self, statement: str, parameters: Sequence[object]) -> tuple[Any, ...] | None:
        """The first row of the answer. Raises `psycopg.Error` (OperationalError after `patience`) and OSError."""
        async with self._turn:
            if self._connection is None or self._connection.closed:
                self._connection = await self._connect()
            with hanging_up(self._connection, self._patience):
                cursor = await self._connection.execute(statement, parameters)
                return await cursor.fetchone()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


@contextmanager
def hanging_up(connection: psycopg.AsyncConnection[Any], seconds: float) -> Iterator[None]:
    """Cut the connection if the block takes longer: what waits for it then raises `psycopg.OperationalError`.

    A timeout that cancels would have psycopg ask the server to stop and wait for its word, which a server that hangs
    does not give.
    """
    timer = asyncio.get_running_loop().call_later(seconds, _cut, connection)
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: psycopg.AsyncConnection[Any]) -> None:
    if not connection.closed:
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
