"""What a type may be called, and the reading of JSON that has no projection (`events.identity`). Pure."""

import json
import re

TYPE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def document_of(raw: bytes) -> object:
    """What can be classified of JSON that has no projection: too large, or with a number that cannot be stored.

    Its nesting was bounded when it was split. None for what is no JSON.
    """
    try:
        return json.loads(raw, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None
