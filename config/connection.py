"""A connection to the web process: the short way to the ingest door, and bounds that gunicorn has no settings for.

The short way: a post to the door is read and answered in the connection's own task, without the task, the scope and
the two messages that ASGI costs, a third of what a small post costs in all. Parsing, framing and keep-alive stay
gunicorn's. Everything else, and the door itself while it is not open yet, goes through ASGI.

The bounds:

- The headers of the first request have to be there within `keepalive` seconds, as those of all that follow have.
  gunicorn waits for the first for ever, and each connection that waits costs an open file and some 15 KB.
- A body comes in at most MAX_PIECES pieces: a megabyte in chunks of one byte would be seconds of parsing.
- A Content-Length of more digits than Python reads is a bad request rather than an error in the log.

What is left to a proxy in front stands in docs/deploy/nginx.md.
"""

from gunicorn.asgi import protocol
from gunicorn.asgi.parser import ParseError

MAX_PIECES = 10_000
MAX_HEADS = 512  # of answers, kept ready


class Connection(protocol.ASGIProtocol):
    """gunicorn answers a ParseError with 400 and closes."""

    def __init__(self, worker):
        super().__init__(worker)
        # An application that has a door; a hook or an access log wants to see requests that only ASGI makes.
        seen = self._pre_request or self._post_request or self.log.access_log_enabled or self._uses_uwsgi
        self._door = None if seen or not hasattr(self.app, "take") else self.app

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

    async def _serve_http_request(self, request, sockname, peername):
        """Returns whether the connection may be kept alive."""
        if self._door is not None:
            asked = {
                "method": request.method,
                "scheme": request.scheme,
                "path": request.path,
                "raw_path": request.raw_path,
                "query_string": request.query.encode("latin-1"),
                "headers": request.headers_bytes,
                "client": peername,
            }
            if self._door.takes(asked):
                return await self._through_the_door(request, asked)
        return await super()._serve_http_request(request, sockname, peername)

    async def _through_the_door(self, request, asked):
        try:
            body = self._whole_body()
            if body is None:
                answer = await self._door.take(asked, self._body_receiver.receive)
            else:
                answer = await self._door.take_whole(asked, body)
        except Exception:
            self.log.exception("Error in the ingest door")
            self._send_error_response(500, "Internal Server Error")
            return False
        if answer is None or self._closed:
            return False
        closes = self._will_close(request, False)
        self._start_of(answer, request, closes)
        self._send_body(b"" if request.method == "HEAD" else answer.body, last=True)
        if self._flow_control.write_paused:
            await self._flow_control.drain()
        return not closes

    def _whole_body(self):
        """The body, where it came in one piece with the headers, as small ones do."""
        receiver = self._body_receiver
        if not receiver._complete or len(receiver._chunks) > 1:
            return None
        return receiver._pop_chunk()["body"] if receiver._chunks else b""

    def _start_of(self, answer, request, closes):
        """Status line and headers; they leave with the body. Made once for answers that are alike, but for the date."""
        length = 0 if request.method == "HEAD" else len(answer.body)
        name = request.version, answer.status, answer.media_type, length, tuple(answer.headers.items()), closes
        head = _heads.get(name)
        if head is None:
            headers = self._door.headers_of(answer, request.method)
            protocol._scan_response_headers(headers)
            if self._response_forbids_content_length(answer.status):
                headers = self._strip_body_framing_headers(headers, answer.status)
            self._send_response_start(answer.status, [*headers, (b"date", b"")], request, closes)
            head = self._response_buffer.replace(b"date: \r\n", b"", 1).removesuffix(b"\r\n")
            if len(_heads) >= MAX_HEADS:
                _heads.clear()
            _heads[name] = head
        self._response_buffer = b"%s%s\r\n" % (head, protocol._get_cached_date_header())


_heads: dict[tuple, bytes] = {}
