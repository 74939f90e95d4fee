"""Reading the body of an API request."""

import json

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser


class StrictJSONParser(JSONParser):
    """JSON, where nesting beyond what Python's parser can follow is the sender's error and not ours."""

    def parse(self, stream, media_type=None, parser_context=None):
        try:
            return json.loads(stream.read(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"JSON parse error - {error}") from None


def _refuse_constant(name: str):
    raise ValueError(f"{name} is not JSON")
