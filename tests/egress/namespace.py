"""A network of the test's own (Linux network namespace), where every address there is leads to this process.

`alone` runs a function in a forked child in it. All of IPv4 and IPv6 is local there, so a listener hears whoever is
connected to: 169.254.169.254, 10.0.0.1, the name server of a cloud. Names are what the function's own name server says.
"""

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import selectors
import signal
import socket
import tempfile
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from django.db import connection
from dnslib import AAAA, QTYPE, RCODE, RR, A, DNSRecord

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
LOCAL_TABLE, SCOPE_HOST = 255, 254

Answers = Callable[[str], Sequence[str]]  # a name's addresses, each time it is asked


class NotAllowed(Exception):
    """This machine does not let the test have a network of its own."""


def alone(function: Callable[[], Any]) -> Any:
    """What it returns, run in a child with a network of its own. Raises NotAllowed, and AssertionError where it failed.

    The child has the database by connections of its own: it is reached by a Unix socket.
    """
    connection.close()
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of pytest's are not used in the child
        child = os.fork()
    if child == 0:
        try:
            theirs.send_bytes(pickle.dumps(_outcome(function)))
        finally:
            os._exit(0)
    theirs.close()
    try:
        how, what = pickle.loads(ours.recv_bytes())  # noqa: S301 (our own child's)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.waitpid(child, 0)
    if how == "not allowed":
        raise NotAllowed(what)
    assert how == "returned", what
    return what


def _outcome(function: Callable[[], Any]) -> tuple[str, Any]:
    try:
        _leave()
    except OSError as error:
        return "not allowed", str(error)
    try:
        return "returned", function()
    except BaseException:
        return "failed", traceback.format_exc()


def _leave() -> None:
    """Into namespaces of our own: network, mounts, and users where we are not root. Raises OSError."""
    from pyroute2 import IPRoute

    uid, gid = os.getuid(), os.getgid()
    _call("unshare", CLONE_NEWNET | CLONE_NEWNS | (CLONE_NEWUSER if uid else 0))
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    with IPRoute() as routes:
        loopback = routes.link_lookup(ifname="lo")[0]
        routes.link("set", index=loopback, state="up")
        for family, everywhere in ((socket.AF_INET, "0.0.0.0/0"), (socket.AF_INET6, "::/0")):
            routes.route(
                "add", family=family, dst=everywhere, oif=loopback, type="local", table=LOCAL_TABLE, scope=SCOPE_HOST
            )


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


class World:
    """Listens on one port of all addresses; `connects` counts who was connected to."""

    def __init__(self, port: int) -> None:
        self.connects: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        for family, everywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 (our namespace)
            listener = socket.create_server((everywhere, port), family=family, backlog=4096)
            self.port = port = listener.getsockname()[1]
            self._selector.register(listener, selectors.EVENT_READ)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            for key, _ in self._selector.select():
                accepted, _ = key.fileobj.accept()
                self.connects[accepted.getsockname()[0].removeprefix("::ffff:")] += 1
                accepted.close()


@contextlib.contextmanager
def naming(answers: Answers) -> Iterator[None]:
    """A name server of our own, and nobody else is asked. What it says is true for no time at all (TTL 0)."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    threading.Thread(target=_answer, args=(server, answers), daemon=True).start()
    files = {
        "/etc/resolv.conf": "nameserver 127.0.0.1\noptions timeout:2 attempts:3\n",
        "/etc/nsswitch.conf": "hosts: files dns\n",
    }
    with tempfile.TemporaryDirectory() as directory:
        for path, text in files.items():
            if os.path.exists(path):
                ours = Path(directory, os.path.basename(path))
                ours.write_text(text)
                _call("mount", str(ours).encode(), path.encode(), None, MS_BIND, None)
        yield


def _answer(server: socket.socket, answers: Answers) -> None:
    kinds = {QTYPE.A: (A, "."), QTYPE.AAAA: (AAAA, ":")}
    while True:
        question, client = server.recvfrom(4096)
        asked = DNSRecord.parse(question)
        reply = asked.reply()
        made, mark = kinds.get(asked.q.qtype, (None, ""))
        addresses = answers(str(asked.q.qname).rstrip(".")) if made else ()
        for address in addresses:
            if mark == ("." if "." in address and ":" not in address else ":"):
                reply.add_answer(RR(asked.q.qname, asked.q.qtype, rdata=made(address), ttl=0))
        if made and not addresses:
            reply.header.rcode = RCODE.NXDOMAIN
        server.sendto(reply.pack(), client)
