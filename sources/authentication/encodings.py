"""Signatures and keys as text: hexadecimal and base64 (RFC 4648)."""

import base64
import binascii


def is_encoded(text: bytes, encoding: str) -> bool:
    try:
        decode(text, encoding)
    except ValueError:
        return False
    return True


def decode(text: bytes, encoding: str) -> bytes:
    """Strict in characters, lenient in padding. Raises ``ValueError``."""
    try:
        if encoding == "hex":
            return binascii.unhexlify(text)
        return base64.b64decode(text.rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4), validate=True)
    except binascii.Error:
        raise ValueError(f"It is not written in {encoding}.") from None


def encode(value: bytes, encoding: str) -> bytes:
    return binascii.hexlify(value) if encoding == "hex" else binascii.b2a_base64(value, newline=False)


def encoded_width(size: int, encoding: str) -> int:
    return 2 * size if encoding == "hex" else 4 * ((size + 2) // 3)
