"""One prepared statement over an asynchronous connection, spoken to libpq without a cursor in between.

A cursor looks at each parameter's type, counts how often a statement is used, and makes results that can be read. For
the one statement that keeps what arrives, whose parameters are columns (`events.columns`) and which returns nothing,
that is more work than all else the door does for a batch of a few posts. `psycopg.pq` is the layer that psycopg
documents below its cursors. Everything else on the connection goes through them, never at the same time.
"""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any

import psycopg
from psycopg import pq

from events.columns import Column

_FINE = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)


class Prepared:
    """`statement` has its parameters as $1, $2 … Prepared at its first use."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], statement: str) -> None:
        self.statement = statement
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._name = b""
        self._names = count()

    def forget(self) -> None:
        """Prepare it anew: after a ROLLBACK psycopg drops every prepared statement of a connection."""
        self._name = b""

    async def execute(self, parameters: Sequence[str | Column]) -> None:
        """In autocommit, or in the transaction under way. Raises `psycopg.Error`."""
        pgconn = self._connection.pgconn
        if not self._name:
            name = b"keep_%d" % next(self._names)
            pgconn.send_prepare(name, self.statement.encode())
            await self._done()
            self._name = name
        values = [one.encode() if isinstance(one, str) else one.data for one in parameters]
        formats = [pq.Format.TEXT if isinstance(one, str) else pq.Format.BINARY for one in parameters]
        pgconn.send_query_prepared(self._name, values, formats)
        await self._done()

    async def _done(self) -> None:
        """Send what is left to be sent, and read the results."""
        pgconn = self._connection.pgconn
        while pgconn.flush():  # the server may have to be read from before it takes more
            await self._ready(writing=True)
            pgconn.consume_input()
        failed: pq.abc.PGresult | None = None
        while True:
            while pgconn.is_busy():
                await self._ready()
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                break
            if result.status not in _FINE:
                failed = failed or result
        if failed is not None:
            raise _error(failed)

    async def _ready(self, *, writing: bool = False) -> None:
        """Wait until the socket can be read, or also written to."""
        ready: asyncio.Future[None] = self._loop.create_future()
        socket = self._connection.pgconn.socket
        self._loop.add_reader(socket, _set, ready)
        if writing:
            self._loop.add_writer(socket, _set, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(socket)
            if writing:
                self._loop.remove_writer(socket)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _error(result: "pq.abc.PGresult") -> psycopg.Error:
    """The error of psycopg for an SQLSTATE. Without the server's text, which may quote the failing row."""
    state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    try:
        return psycopg.errors.lookup(state)(f"SQLSTATE {state}")
    except KeyError:
        return psycopg.OperationalError(f"SQLSTATE {state or 'unknown'}")
