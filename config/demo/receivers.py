"""The difficult receivers, in one process: `python -m config.demo.receivers PORT`.

    /flaky    answers 500 to every other message, the first time it sees it
    /slow     takes its time, and at times has none
    /busy     mostly 503
    /gone     410 to everything but the confirmation link
    /silent   takes the confirmation link and does not open it

All but /silent open the confirmation link, as receivers do that have agreed to be asked. They check no signatures:
docs/examples/receiver.py shows how that is done.
"""

import json
import random
import sys
import threading
import time
import urllib.request
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONFIRMATION = "portal.subscription.confirmation"
PATHS = ("flaky", "slow", "busy", "gone", "silent")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.refused_once: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        link = confirmation_link(body)
        if link is None:
            return self.answer(*self.mood())
        self.answer(204)
        if self.path != "/silent":
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(link, timeout=20):
                pass

    def mood(self) -> tuple[int, str]:
        if self.path == "/flaky":
            return self.flaky()
        if self.path == "/slow":
            time.sleep(random.uniform(0.4, 2.5))  # noqa: S311 (nothing secret)
            if random.random() < 0.3:  # noqa: S311 (nothing secret)
                return 503, "The books are locked; try again."
            return 200, '{"booked": true}'
        if self.path == "/busy":
            return (200, "noted") if random.random() < 0.3 else (503, "Try again next week.")  # noqa: S311 (nothing secret)
        if self.path == "/gone":
            return 410, "This system was switched off."
        return 204, ""

    def flaky(self) -> tuple[int, str]:
        """Half of the messages fail, and pass when they come again: decided by their id, which stays the same."""
        message = self.headers.get("webhook-id", "")
        if message in self.server.refused_once:
            self.server.refused_once.discard(message)
        elif zlib.crc32(message.encode()) % 2 == 0:
            self.server.refused_once.add(message)
            return 500, "Traceback: connection pool exhausted"
        return 200, "ok"

    def answer(self, status: int, text: str = "") -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        if status != 204:
            self.wfile.write(text.encode())
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Silence: the portal's own pages show what was answered."""


def confirmation_link(body: bytes) -> str | None:
    try:
        message = json.loads(body)
    except ValueError:
        return None
    if not isinstance(message, dict) or message.get("type") != CONFIRMATION:
        return None
    return str(message["data"]["confirmation_url"])


if __name__ == "__main__":
    server = Server(int(sys.argv[1]))
    threading.Thread(target=server.serve_forever).start()
