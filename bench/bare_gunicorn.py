"""gunicorn's settings for the bare limit: the portal's, but with gunicorn's own connection and parser.

What the portal changed of those is part of the door, and not of the limit that it is held against.
"""

from gunicorn.asgi.parser import PythonProtocol
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from config import header_fields
from config.gunicorn import *  # noqa: F403 (all the settings there are)

gasgi.ASGIProtocol = ASGIProtocol
PythonProtocol._parse_headers = header_fields.gunicorns
