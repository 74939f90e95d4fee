"""Name resolution that one slow name cannot hold up.

asyncio looks names up in the loop's default executor (six threads on two cores) and uvloop in
libuv's pool (four), shared with everything else that blocks. A few receivers whose name servers
do not answer would stall every other tenant's deliveries (B8), so look-ups get threads of their
own, and enough of them.

Nor may one tenant hang them all with names under one domain of his: names that share their last two
labels share a quarter of the threads, and who asks for a name that is being looked up waits for that.
"""

import asyncio
import functools
import socket
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

THREADS = 32
MANY_DOMAINS = 4096

_Info = tuple[
    socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]
]  # fmt: skip


class PooledResolver(AbstractResolver):
    """The system's resolver (`getaddrinfo`) on a pool of its own threads."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="resolver")
        self._share = max(1, threads // 4)
        self._domains: dict[str, asyncio.Semaphore] = {}
        self._under_way: dict[tuple[str, int, int], asyncio.Task[list[_Info]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """All addresses of `host`; raises OSError (socket.gaierror) when there is none."""
        key = (host, port, int(family))
        asked = self._under_way.get(key)
        if asked is None:
            asked = self._under_way[key] = asyncio.get_running_loop().create_task(self._ask(host, port, family))
            asked.add_done_callback(functools.partial(self._answered, key))
        # Whoever gives up does not take it away from the others, nor the thread from whom it occupies.
        infos = await asyncio.shield(asked)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=int(found_family),
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, proto, _, address in infos
        ]

    def _answered(self, key: tuple[str, int, int], asked: asyncio.Task[list[_Info]]) -> None:
        del self._under_way[key]
        if not asked.cancelled():
            asked.exception()  # seen, also where all who asked have given up

    async def _ask(self, host: str, port: int, family: socket.AddressFamily) -> list[_Info]:
        domain = ".".join(host.rsplit(".", 2)[-2:])
        places = self._domains.get(domain)
        if places is None:
            if len(self._domains) >= MANY_DOMAINS:
                self._domains = {name: one for name, one in self._domains.items() if one.locked()}
            places = self._domains[domain] = asyncio.Semaphore(self._share)
        async with places:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _look_up, host, port, family)

    async def close(self) -> None:
        # Not waited for: a look-up that hangs would hold up the process's end by as long.
        self._pool.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[_Info]:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
    return infos  # type: ignore[return-value]
