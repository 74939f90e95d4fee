"""What the demo has to know again when it is started a second time: passwords and secrets that are told once.

One JSON file that only its owner can read, replaced as a whole, so that a kill leaves the old or the new one.
"""

import json
import os
from pathlib import Path
from typing import Any


class Memory:
    """`memory["sources"]["<id>"]` and the like; `save()` after each thing learnt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self._known.setdefault(name, {})

    def save(self) -> None:
        write_private(self.path, json.dumps(self._known, indent=1) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file of mode 0600 as a whole."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    aside.rename(path)
