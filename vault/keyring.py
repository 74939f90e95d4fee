"""AES-256-GCM over a keyring: one key seals, all of them open (B10).

A sealed value is `version (1 byte) | length of key id (1) | key id | nonce (12) | ciphertext and tag`.
What it is bound to (table, column and row) goes in as additional data, so that a ciphertext copied to another
row or column does not open. Sources: NIST SP 800-38D; 96-bit random nonces, good for 2^32 values a key.
"""

import base64
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = 1
NONCE_BYTES = 12
TAG_BYTES = 16
KEY_BYTES = 32
MAX_NAME = 255


class KeyringError(Exception):
    """The keyring is missing, malformed, or does not hold the key that a value was sealed with."""


class Keyring:
    """Keys by id, and which of them seals. Read from a JSON file that is noticed when it changes.

    File: `{"active": "k2", "keys": {"k1": "<base64 of 32 bytes>", "k2": "…"}}`, mode 0600. Threads may share one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._loaded: tuple[str, dict[str, AESGCM]] = ("", {})

    def seal(self, plain: bytes, bound_to: str) -> bytes:
        """Encrypt; the same `bound_to` is needed to open it."""
        active, keys = self._fresh()
        nonce = os.urandom(NONCE_BYTES)
        return header(active) + nonce + keys[active].encrypt(nonce, plain, bound_to.encode())

    def open(self, sealed: bytes, bound_to: str) -> bytes:
        """Decrypt. Raises KeyringError for an unknown key, another row's value or a changed byte."""
        name, rest = _parse(sealed)
        key = self._loaded[1].get(name) or self._fresh()[1].get(name)
        if key is None:
            raise KeyringError(f'The keyring has no key "{name}": add it back to open what it sealed.')
        try:
            return key.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], bound_to.encode())
        except InvalidTag:
            raise KeyringError("A sealed value does not open: it was changed or belongs to another row.") from None

    def key_of(self, sealed: bytes) -> str:
        """The id of the key that sealed a value."""
        return _parse(sealed)[0]

    @property
    def active(self) -> str:
        return self._fresh()[0]

    @property
    def key_ids(self) -> list[str]:
        return list(self._fresh()[1])

    def add_key(self) -> str:
        """Make a new key and let it seal from now on, in every process that shares the file. Returns its id."""
        with self._locked() as document:
            number = 1 + max((int(name[1:]) for name in document["keys"] if name[1:].isdecimal()), default=0)
            name = f"k{number}"
            document["keys"][name] = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
            document["active"] = name
            self._write(document)
        return name

    def drop_keys(self, names: list[str]) -> None:
        """Forget keys that seal nothing any more."""
        with self._locked() as document:
            if document["active"] in names:
                raise KeyringError("The active key cannot be dropped.")
            for name in names:
                document["keys"].pop(name, None)
            self._write(document)

    def _fresh(self) -> tuple[str, dict[str, AESGCM]]:
        """What the file holds now: the active id and all keys, as one pair, so that a change made by another
        thread between two looks never seals with one key under the other's name."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            raise KeyringError(
                f"The keyring {self.path} is missing: set KEYRING_FILE, or run `make serve` once."
            ) from None
        stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        if stamp != self._stamp:
            document = self._read()
            keys = {name: AESGCM(base64.b64decode(key)) for name, key in document["keys"].items()}
            self._loaded, self._stamp = (document["active"], keys), stamp
        return self._loaded

    def _read(self) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads(self.path.read_text())
            keys = {name: base64.b64decode(key, validate=True) for name, key in document["keys"].items()}
            sound = document["active"] in keys and all(
                len(key) == KEY_BYTES and 1 <= len(name.encode()) <= MAX_NAME for name, key in keys.items()
            )
        except PermissionError:
            raise KeyringError(f"The keyring {self.path} cannot be read: run as the user who owns it.") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            sound = False
        if not sound:
            raise KeyringError(f"The keyring {self.path} is malformed: restore it from your backup.")
        return document

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        """The document, while no other process changes it: of two keys made at once neither is lost."""
        with self.path.with_name(f".{self.path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._read()

    def _write(self, document: dict[str, Any]) -> None:
        """Aside, then renamed into place: no reader sees half a file, no crash loses a key. Mode 0600, same owner."""
        before = self.path.stat()
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=".keyring-")
        with os.fdopen(descriptor, "w") as file:
            if os.geteuid() == 0:
                os.fchown(descriptor, before.st_uid, before.st_gid)
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, self.path)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def header(name: str) -> bytes:
    """What every value begins with that the key `name` sealed."""
    encoded = name.encode()
    return bytes([VERSION, len(encoded)]) + encoded


def is_sealed(value: bytes) -> bool:
    """Has it the form of a sealed value? Says nothing about whether it opens."""
    return len(value) >= 3 and value[0] == VERSION and len(value) >= 2 + value[1] + NONCE_BYTES + TAG_BYTES


def _parse(sealed: bytes) -> tuple[str, bytes]:
    if not is_sealed(sealed):
        raise KeyringError("A sealed value has an unknown format.")
    end = 2 + sealed[1]
    return sealed[2:end].decode(errors="replace"), sealed[end:]
