"""The receiver that the torture believes: a process of its own that shares nothing with the portal, not even HTTP code.

    python -m tests.torture.ledger FILE LINKS

Prints its port. Each message is appended to FILE as `time number webhook-id webhook-timestamp`, and is on the disk
before the answer is 200; what shares a moment shares an fsync. Messages without a number have `-` there; each event of
a batch has its line. Confirmation links are appended to LINKS. An answer takes ANSWER_SECONDS, so that something is
under way at any moment.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import BinaryIO

ANSWER_SECONDS = 0.1


class Ledger:
    def __init__(self, file: BinaryIO, links: BinaryIO) -> None:
        self.file = file
        self.links = links
        self.waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self.woken = asyncio.Event()

    async def keep(self, line: bytes) -> None:
        """Returns when the line is on the disk."""
        kept = asyncio.get_running_loop().create_future()
        self.waiting.append((line, kept))
        self.woken.set()
        await kept

    async def write(self) -> None:
        while True:
            await self.woken.wait()
            self.woken.clear()
            batch, self.waiting = self.waiting, []
            await asyncio.to_thread(self._write, b"".join(line for line, _ in batch))
            for _, kept in batch:
                if not kept.done():
                    kept.set_result(None)

    def _write(self, lines: bytes) -> None:
        self.file.write(lines)
        os.fsync(self.file.fileno())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        try:
            while True:
                headers = headers_of(await reader.readuntil(b"\r\n\r\n"))
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                await self.take(headers, body)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the portal was killed, or is done
        finally:
            writer.close()

    async def take(self, headers: Mapping[str, str], body: bytes) -> None:
        messages = read(body)
        parts = (part for message in messages for part in message.values())
        link = next((part["confirmation_url"] for part in parts if is_link(part)), None)
        if link is not None:
            self.links.write(link.encode() + b"\n")
            return
        said = headers.get("webhook-id", "-"), headers.get("webhook-timestamp", "0")
        numbers = [number_of(message) for message in messages]
        await self.keep("".join(f"{time.time():.4f} {one} {said[0]} {said[1]}\n" for one in numbers).encode())
        await asyncio.sleep(ANSWER_SECONDS)


def read(body: bytes) -> list[dict]:
    """The objects that were posted: one, or those of a batch."""
    try:
        said = json.loads(body)
    except ValueError:
        said = {}
    return [one if isinstance(one, dict) else {} for one in (said if isinstance(said, list) else [said])]


def number_of(message: dict) -> object:
    """As it was posted, or in an envelope."""
    data = message.get("data")
    return (data if isinstance(data, dict) else message).get("n", "-")


def is_link(part: object) -> bool:
    return isinstance(part, dict) and "confirmation_url" in part


def headers_of(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def main(file: str, links: str) -> None:
    with open(file, "ab", buffering=0) as kept, open(links, "ab", buffering=0) as told:
        ledger = Ledger(kept, told)
        server = await asyncio.start_server(ledger.serve, "127.0.0.1", 0, backlog=1024)
        print(server.sockets[0].getsockname()[1], flush=True)
        await ledger.write()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
