"""Forms (application/x-www-form-urlencoded), as GitHub, Slack and Twilio send them. Pure."""

import re
from urllib.parse import unquote_to_bytes

from events.streams.items import FORM_TYPE, Item, Limits, StreamError

MAX_FIELDS = 1000
PAYLOAD = "payload"

# curl and others declare a form by default, whatever they send. What an encoder wrote has an equals sign, no space,
# no line feed, and none of the characters that JSON and XML begin with.
_ENCODED = re.compile(rb"[!-<>-~]*+=[!-~]*+\s*+")
_OTHERS = (b"{", b"[", b'"', b"<")

_DECLARED = FORM_TYPE.encode()

Fields = dict[str, str | list[str]]


def is_form(body: bytes, content_type: bytes) -> bool:
    """Whether the body is declared a form, and written like one."""
    declared = content_type.partition(b";")[0].strip(b" \t").lower()
    return declared == _DECLARED and not body.startswith(_OTHERS) and _ENCODED.fullmatch(body) is not None


def fields_of(body: bytes) -> Fields:
    """The fields of a form by name, in order; a repeated one is a list. `+` is a space and %XX a byte of UTF-8."""
    parts = body.strip().split(b"&", MAX_FIELDS)
    if len(parts) > MAX_FIELDS:
        raise StreamError(413, "too_many_fields", f"The form has more than {MAX_FIELDS} fields.")
    fields: Fields = {}
    for part in parts:
        if not part:
            continue
        name, _, value = (_decoded(piece) for piece in part.partition(b"="))
        known = fields.get(name)
        if known is None:
            fields[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            fields[name] = [known, value]
    return fields


def payload_of(fields: Fields) -> bytes | None:
    """The JSON that GitHub and Slack send as the one field `payload`; None for another form."""
    value = fields.get(PAYLOAD)
    return value.encode() if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") else None


def form_event(body: bytes, fields: Fields, limits: Limits) -> Item:
    """The form as it was sent, projected as an object of its fields."""
    limits.check_size(body, None)
    problem = ""
    if len(body) > limits.projection_bytes:
        problem = limits.too_large()
    elif b"%00" in body:
        problem = "The form contains NUL."
    return Item(body, FORM_TYPE, None if problem else fields, problem)


def _decoded(piece: bytes) -> str:
    try:
        return unquote_to_bytes(piece.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise StreamError(400, "not_utf8", "A field of the form is not UTF-8 text.") from None
