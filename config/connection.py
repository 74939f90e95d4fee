"""A connection to the web process, with the bounds that gunicorn's ASGI worker has no settings for.

- The headers of the first request have to be there within `keepalive` seconds, as those of all that follow have.
  gunicorn waits for the first for ever, and each connection that waits costs an open file and some 15 KB.
- A body comes in at most MAX_PIECES pieces: a megabyte in chunks of one byte would be seconds of parsing.
- A Content-Length of more digits than Python reads is a bad request rather than an error in the log.

What is left to a proxy in front stands in docs/deploy/nginx.md.
"""

from gunicorn.asgi.parser import ParseError
from gunicorn.asgi.protocol import ASGIProtocol

MAX_PIECES = 10_000


class Connection(ASGIProtocol):
    """gunicorn answers a ParseError with 400 and closes."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self._arm_keepalive_timer()

    def data_received(self, data):
        try:
            super().data_received(data)
        except ValueError:
            self._send_error_response(400, "Bad Request")
            self._close_transport()

    def _on_headers_complete(self):
        self._pieces = 0
        return super()._on_headers_complete()

    def _on_body(self, chunk):
        self._pieces += 1
        if self._pieces > MAX_PIECES:
            raise ParseError("The body is in too many pieces.")
        super()._on_body(chunk)
