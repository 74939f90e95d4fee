"""Headers as they are kept for the admin to see: bounded, readable, and without what proves who sends. Pure."""

import re
from collections.abc import Callable, Iterable

MAX_VALUE = 1000  # characters
MAX_TOTAL = 16_384

# Misplaced secrets end up in headers of these names: a key sent under another name than the source's is still a key.
_SECRET_NAME = re.compile(
    r"auth|cookie|secret|token|passw|credential|signature|session|jwt|hmac|api-?key|access-?key|(?<!idempotency)[-_]key$|^key$|^proxy-"
)


def masked_headers(
    headers: Iterable[tuple[bytes, bytes]],
    *,
    auth_headers: Iterable[str] = (),
    is_secret: Callable[[bytes], bool] = lambda value: False,
    max_total: int = MAX_TOTAL,
) -> list[list[str]]:
    """`[[name, value], …]` in wire order; the last row says how many more there were.

    Hidden are the source's own authentication headers, those whose names sound like secrets, and values that
    are a secret whatever their name. NUL, which jsonb cannot hold, becomes U+FFFD.
    """
    hidden = {name.lower() for name in auth_headers}
    kept: list[list[str]] = []
    total = 0
    rows = list(headers)
    for index, (raw_name, raw_value) in enumerate(rows):
        name = _text(raw_name)[:200]
        if name.lower() in hidden or _SECRET_NAME.search(name.lower()) or is_secret(raw_value.strip(b" \t")):
            value = f"•••• ({len(raw_value)} bytes)"
        else:
            value = _text(raw_value)
        if len(value) > MAX_VALUE:
            value = value[:MAX_VALUE] + "…"
        total += len(name) + len(value)
        if total > max_total:
            kept.append(["…", f"{len(rows) - index} more headers"])
            break
        kept.append([name, value])
    return kept


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").replace("\x00", "�")
