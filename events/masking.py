"""Headers as they are kept for the admin to see: bounded, readable, and without what proves who sends. Pure."""

import json
import re
from collections.abc import Callable, Iterable, Sequence

MAX_VALUE = 1000  # characters
MAX_TOTAL = 16_384
REMEMBERED = 512  # fields of one source, and none longer than that many bytes

# Misplaced secrets end up in headers of these names: a key sent under another name than the source's is still a key.
_SECRET_NAME = re.compile(
    r"auth|cookie|secret|token|passw|credential|signature|session|jwt|hmac|api-?key|access-?key|(?<!idempotency)[-_]key$|^key$|^proxy-"
)


class HeaderMask:
    """Masks the headers of one source.

    Hidden are the source's own authentication headers, those whose names sound like secrets, and values that
    are a secret whatever their name. NUL, which jsonb cannot hold, becomes U+FFFD.
    Most fields are the same in every post of a source, so what became of them is remembered.
    """

    def __init__(
        self, auth_headers: Iterable[str] = (), is_secret: Callable[[bytes], bool] = lambda value: False
    ) -> None:
        self._hidden = {name.lower().encode("latin-1", "replace") for name in auth_headers}
        self._is_secret = is_secret
        self._known: dict[tuple[bytes, bytes], tuple[str, int]] = {}

    def json(self, headers: Sequence[tuple[bytes, bytes]], max_total: int = MAX_TOTAL) -> str:
        """`[[name, value], …]` in wire order as JSON; the last row says how many more there were."""
        known, hidden = self._known, self._hidden
        kept: list[str] = []
        total = 0
        for header in headers:
            if header[0] in hidden:  # its value is another in every post, and nobody gets to see it
                header = header[0], b"%d" % len(header[1])
            found = known.get(header) or self._read(header)
            total += found[1]
            if total > max_total:
                kept.append(json.dumps(["…", f"{len(headers) - len(kept)} more headers"]))
                break
            kept.append(found[0])
        return f"[{', '.join(kept)}]"

    def _read(self, header: tuple[bytes, bytes]) -> tuple[str, int]:
        """One field as JSON, and how many characters it counts."""
        raw_name, raw_value = header
        name = _text(raw_name)[:200]
        lowered = name.lower()
        if raw_name in self._hidden:
            value = f"•••• ({int(raw_value)} bytes)"
        elif _SECRET_NAME.search(lowered) or self._is_secret(raw_value.strip(b" \t")):
            value = f"•••• ({len(raw_value)} bytes)"
        else:
            value = _text(raw_value)
        if len(value) > MAX_VALUE:
            value = value[:MAX_VALUE] + "…"
        found = json.dumps([name, value]), len(name) + len(value)
        if len(raw_name) + len(raw_value) <= REMEMBERED:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[header] = found
        return found


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").replace("\x00", "�")
