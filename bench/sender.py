"""A sender in a process of its own: signed posts over keep-alive connections, each saying when it was sent.

    python -m bench.sender '{"address": [host, port], "path": "/in/KEY", "secret": "…", "rate": 1000, "seconds": 5,
                             "connections": 64}'

Posts are due at fixed moments, and say in `"at":` when they were (CLOCK_MONOTONIC, nanoseconds), so that whoever
receives them at the end knows how long they took, waiting in here included. With a `rate` of 0 each connection posts as
soon as it is answered. Prints one JSON object: how many were accepted, in how many seconds.
"""

import hmac
import json
import selectors
import sys
import time
from collections import deque

from bench.load import Sender


def request(path: str, secret: bytes, number: int, due: float) -> bytes:
    """About 800 bytes of JSON."""
    body = b'{"at":%d,"id":"evt_%010d","type":"order.paid","severity":"low","user":{"id":%d},"note":"%s"}' % (
        due * 1e9,
        number,
        number % 100_000,
        b"lorem ipsum " * 58,
    )
    signature = hmac.digest(secret, body, "sha256").hex().encode()
    return (
        b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-Signature: sha256=%s\r\n"
        b"Content-Length: %d\r\n\r\n" % (path.encode(), signature, len(body))
    ) + body


def run(address: list, path: str, secret: str, rate: float, seconds: float, connections: int) -> dict:
    selector, idle, key = selectors.DefaultSelector(), deque(), secret.encode()
    for _ in range(connections):
        sender = Sender(tuple(address))
        selector.register(sender.socket, selectors.EVENT_READ, sender)
        idle.append(sender)
    begin = time.monotonic()
    sent = accepted = busy = refused = 0
    while True:
        now = time.monotonic()
        while idle and now < begin + seconds:
            due = begin + sent / rate if rate else now
            if due > now:
                break
            idle.popleft().send(request(path, key, sent, due), due)
            sent += 1
            busy += 1
        if now >= begin + seconds and not busy or now > begin + seconds + 30:
            break
        wait = max(0.0, begin + sent / rate - time.monotonic()) if rate and idle else 1.0
        for ready, _ in selector.select(min(wait, 1.0)):
            status = ready.data.read()
            if status is not None:
                accepted += status == 202
                refused += status != 202
                busy -= 1
                idle.append(ready.data)
    return {"accepted": accepted, "refused": refused, "seconds": time.monotonic() - begin}


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
