"""A webhook receiver in one file, with nothing but Python's standard library.

    python docs/examples/receiver.py --port 9000 --secret whsec_... --save received

It does what a receiver has to do, in this order:

1. answers a challenge, {"challenge": "..."}, with the value as plain text;
2. verifies the signature, in whichever of three schemes the headers show;
3. refuses messages that are not recent, so that a recorded one cannot be played again;
4. on request (--auto-confirm) opens the link of a confirmation message;
5. saves the message, then answers 204. Slow work belongs after the answer.

Without any secret it accepts everything and says so. --fail-first and --status make it answer
with errors, to watch a sender try again.
"""

import argparse
import base64
import hashlib
import hmac
import itertools
import json
import re
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RECENT = 5 * 60  # seconds a message may be old, or a clock ahead
MAX_BODY = 10 * 1024 * 1024


class NotGenuine(Exception):
    """The message is not from the sender it claims, or not from now."""


def verify(headers, body, secrets, now=None):
    """Return the name of the scheme that proved the message; raise NotGenuine otherwise.

    `headers` has a case-insensitive get(), `body` is the bytes exactly as received: parsing and
    writing JSON again changes them. Several secrets are accepted at once, as during a rotation.
    """
    if headers.get("webhook-signature"):
        return verify_standard_webhooks(headers, body, secrets, now)
    if headers.get("X-Signature"):
        return verify_body_signature(headers, body, secrets, now)
    for name in headers:
        prefix = re.fullmatch(r"X-([A-Za-z0-9-]+)-Signature", name, re.IGNORECASE)
        if prefix:
            return verify_timestamp_and_body(headers, prefix[1], body, secrets, now)
    raise NotGenuine("there is no signature header")


def verify_standard_webhooks(headers, body, secrets, now=None):
    """https://www.standardwebhooks.com: base64 HMAC-SHA256 of `id.timestamp.body`."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    check_recent(timestamp, now)
    signed = f"{message_id}.{timestamp}.".encode() + body
    # The header is a list, "v1,<signature> v1,<signature>": during a rotation both secrets sign.
    given = [part[3:] for part in headers["webhook-signature"].split() if part[:3] == "v1,"]
    for secret in secrets:
        if not secret.startswith("whsec_"):
            continue
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = base64.b64encode(digest(key, signed)).decode()
        if any(equal(expected, signature) for signature in given):
            return "standard-webhooks"
    raise NotGenuine("no webhook-signature matches")


def verify_body_signature(headers, body, secrets, now=None):
    """X-Signature: hex HMAC-SHA256 of the complete body, which contains X-Timestamp's value."""
    timestamp = headers.get("X-Timestamp", "")
    check_recent(timestamp, now)
    given = headers["X-Signature"]
    if not any(equal(digest(secret.encode(), body).hex(), given) for secret in secrets):
        raise NotGenuine("X-Signature does not match")
    # The header is not signed, the body is: only their agreement proves the time.
    if str(parse(body).get("timestamp")) != timestamp:
        raise NotGenuine("X-Timestamp is not the timestamp in the body")
    return "x-signature"


def verify_timestamp_and_body(headers, prefix, body, secrets, now=None):
    """X-<Prefix>-Signature: hex HMAC-SHA256 of `timestamp:body`, with X-<Prefix>-Timestamp."""
    timestamp = headers.get(f"X-{prefix}-Timestamp", "")
    check_recent(timestamp, now)
    given = headers[f"X-{prefix}-Signature"]
    signed = timestamp.encode() + b":" + body
    if not any(equal(digest(secret.encode(), signed).hex(), given) for secret in secrets):
        raise NotGenuine(f"X-{prefix}-Signature does not match")
    return f"x-{prefix.lower()}-signature"


def check_recent(timestamp, now=None):
    """Refuse what is older than RECENT, or further in the future than clocks differ."""
    if not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise NotGenuine("there is no valid timestamp")
    age = (time.time() if now is None else now) - int(timestamp)
    if age > RECENT:
        raise NotGenuine("the message is too old")
    if age < -RECENT:
        raise NotGenuine("the message is from the future")


def digest(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def equal(expected, given):
    """In constant time, so that answering does not tell how many characters were right."""
    return hmac.compare_digest(expected.encode(), given.encode())


def parse(body):
    """The body as a JSON object; an empty one if it is anything else."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


class Receiver(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, options):
        super().__init__((options.host, options.port), Handler)
        self.options = options
        self.numbers = itertools.count(1)
        self.failures_left = options.fail_first
        self.lock = threading.Lock()

    def secrets(self):
        """Read again at each request, so that a rotation needs no restart."""
        secrets = list(self.options.secret)
        if self.options.secret_file and self.options.secret_file.exists():
            secrets += self.options.secret_file.read_text().split()
        return secrets

    def status(self):
        with self.lock:
            if self.failures_left > 0:
                self.failures_left -= 1
                return 500
        return self.options.status

    def save(self, message_id, headers, body):
        """The body's exact bytes, and beside them the headers; whole files or none."""
        folder = self.options.save
        folder.mkdir(parents=True, exist_ok=True)
        # The id comes from outside: nothing in it may become part of a path.
        name = f"{next(self.numbers):06d}-{re.sub(r'[^A-Za-z0-9_-]', '_', message_id)[:80]}"
        for suffix, data in (
            (".headers.json", json.dumps(headers.items(), indent=1).encode()),
            (".body", body),
        ):
            part = folder / f".{name}{suffix}.part"
            part.write_bytes(data)
            part.rename(folder / (name + suffix))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: Receiver

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            return self.answer(411 if not length else 413)
        body = self.rfile.read(int(length))
        content = parse(body)

        if list(content) == ["challenge"]:
            self.say("challenge", "answered")
            return self.answer(200, str(content["challenge"]))

        secrets = self.server.secrets()
        try:
            proof = verify(self.headers, body, secrets) if secrets else "NOT VERIFIED: no secret"
        except (NotGenuine, ValueError) as refusal:
            self.say("refused", refusal)
            return self.answer(401, str(refusal))

        link = confirmation_link(content)
        if link:
            self.say("confirmation", proof)
            # Answered first: the sender is still waiting for this answer, not for our visit.
            self.answer(204)
            return self.confirm(link)

        status = self.server.status()
        if 200 <= status < 300 and self.server.options.save:
            self.server.save(self.message_id(), self.headers, body)
        kind = content.get("type") or content.get("event") or f"{len(body)} bytes"
        self.say(status, kind, self.message_id(), proof)
        return self.answer(status)

    def confirm(self, link):
        """Agree to be sent events, if --auto-confirm allows it for this link."""
        allowed = self.server.options.auto_confirm
        # With its slash: https://portal.example must not let https://portal.example.evil pass.
        beginnings = (allowed.rstrip("/") + "/",) if allowed else ("http://", "https://")
        if allowed is None or not link.startswith(beginnings):
            return self.say("to agree, open", link)
        # Directly, not through a proxy that the environment may name for other purposes.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(link, timeout=10) as response:
                self.say("confirmed", response.status)
        except OSError as failure:
            self.say("confirmation failed", failure)

    def message_id(self):
        headers = self.headers
        return headers.get("webhook-id") or headers.get("X-Webhook-Event-Id") or "message"

    def answer(self, status, text=""):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        if status != 204:
            self.wfile.write(text.encode())
        self.wfile.flush()

    def say(self, *words):
        """One line a message; what came from outside cannot start another, or colour it."""
        line = " · ".join([time.strftime("%H:%M:%S"), *map(str, words)])
        print("".join(c if c.isprintable() else "?" for c in line), flush=True)

    def log_message(self, *_):
        """Silence the server's own line a request."""


def confirmation_link(content):
    """The link of a confirmation message, in the form of either signing scheme."""
    if "portal.subscription.confirmation" not in (content.get("type"), content.get("event")):
        return None
    data = content.get("data") or content.get("payload")
    link = data.get("confirmation_url") if isinstance(data, dict) else None
    return link if isinstance(link, str) else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000, help="0 picks a free one")
    parser.add_argument("--secret", action="append", default=[], help="may be given several times")
    parser.add_argument("--secret-file", type=Path, help="one secret a line, read at each request")
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep each message as a file")
    parser.add_argument(
        "--auto-confirm",
        nargs="?",
        const="",
        metavar="PORTAL_URL",
        help="open confirmation links (only those that begin with PORTAL_URL, if given)",
    )
    parser.add_argument("--fail-first", type=int, default=0, metavar="N", help="answer N times 500")
    parser.add_argument("--status", type=int, default=204, metavar="CODE", help="the usual answer")
    receiver = Receiver(parser.parse_args())
    print(f"listening on http://{receiver.server_address[0]}:{receiver.server_port}/", flush=True)
    try:
        receiver.serve_forever()
    except KeyboardInterrupt:
        receiver.server_close()


if __name__ == "__main__":
    main()
