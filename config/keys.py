"""The keys that a first run makes, each in a file of VAR that only its owner can read."""

import base64
import contextlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path


class KeysMissing(RuntimeError):
    """VAR holds data but not the keys it was written with; the text says what to do."""


@dataclass(frozen=True)
class Keys:
    secret_key: str
    keyring: Path

    def __repr__(self) -> str:
        return f"Keys(secret_key='…', keyring={str(self.keyring)!r})"


def ensure_keys(var: Path) -> Keys:
    """Django's secret key and the encryption keyring of `var`, made on the first call.

    The keyring file is `{"active": "k1", "keys": {"k1": base64 of 32 bytes}}`. A missing keyring
    beside an existing database is refused: a new one could read none of the secrets in it.
    """
    var = Path(var).expanduser().resolve()
    var.mkdir(mode=0o711, parents=True, exist_ok=True)
    secret_key, keyring = var / "secret_key", var / "keyring.json"
    if not keyring.exists():
        if (var / "postgres" / "PG_VERSION").exists():
            raise KeysMissing(
                f"{keyring} is missing, and the secrets in {var / 'postgres'} can only be read "
                f"with it: restore it from your backup, or move {var} away to start anew."
            )
        made = base64.b64encode(secrets.token_bytes(32)).decode()
        write_once(keyring, json.dumps({"active": "k1", "keys": {"k1": made}}) + "\n")
    write_once(secret_key, secrets.token_urlsafe(50) + "\n")
    return Keys(secret_key=secret_key.read_text().strip(), keyring=keyring)


def write_once(path: Path, text: str) -> None:
    """Write `text` to `path`, mode 0600, unless it exists. The first of two racing processes wins,
    and no reader ever sees half a file: it is written aside, then linked into place."""
    if path.exists():
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink()
