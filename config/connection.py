"""A connection to the web process: the short way to the ingest door, and bounds that gunicorn has no settings for.

The short way. What ASGI costs a request (a task, a scope, two messages, their checks, an event that wakes a loop) is
half of what a small post costs in all. So a post to the door whose body came with its headers is begun where it was
read, and answered where its commit returned. Parsing and framing stay gunicorn's. Everything else goes gunicorn's own
way: other addresses, posts while another one of the connection is under way, bodies that are still coming; and all
of it where an access log or a hook wants to see requests.

    data ──▶ parser ──▶ headers for the door, nothing else under way?
                          ├─ no ──▶ gunicorn's loop ──▶ ASGI, or `Door.take` where it is for the door all the same
                          └─ yes, and the body is there ──▶ Door.begin ──▶ commit ──▶ the answer ──▶ the next request

The bounds:

- The headers of the first request have to be there within `keepalive` seconds, as those of all that follow have.
  gunicorn waits for the first for ever, and each connection that waits costs an open file and some 15 KB.
- A body comes in at most MAX_PIECES pieces, and in fewer if they are tiny: a megabyte in chunks of one byte would be
  seconds of parsing. Each line of a post of thousands may be a chunk of its own.
- A head has at most MAX_HEAD bytes: gunicorn bounds each field and their number, which is 800 KB in all.
- A Content-Length of more digits than Python reads is a bad request rather than an error in the log.

What is left to a proxy in front stands in docs/deploy/nginx.md.
"""

from gunicorn.asgi import protocol
from gunicorn.asgi.parser import ParseError

MAX_PIECES = 10_000
FREE_PIECES = 2_000  # of any size; and then one more for each PIECE bytes that came
PIECE = 100
MAX_HEAD = 65_536  # twice of what nginx takes
MAX_HEADS = 512  # of answers, kept ready


class Connection(protocol.ASGIProtocol):
    """gunicorn answers a ParseError with 400 and closes."""

    def __init__(self, worker):
        super().__init__(worker)
        seen = self._pre_request or self._post_request or self.log.access_log_enabled
        seen = seen or self._uses_uwsgi or self._proxy_protocol != "off"
        self._door = None if seen or not hasattr(self.app, "begin") else self.app
        self._asked = None  # of a request that may take the short way, until its body is there
        self._is_under_way = False
        self._answered_at = 0.0
        self._heads = self._head_bytes = 0

    def connection_made(self, transport):
        super().connection_made(transport)
        self._peer = transport.get_extra_info("peername")
        self._arm_keepalive_timer()

    def data_received(self, data):
        was_in_head, heads = self._current_request is None, self._heads
        try:
            super().data_received(data)
        except ValueError:
            self._send_error_response(400, "Bad Request")
            self._close_transport()
        if was_in_head and self._current_request is None and self._heads == heads and not self._closed:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._send_error_response(431, "Request Header Fields Too Large")
                self._close_transport()
        if self._asked is not None:
            self._go_on()

    def _on_headers_complete(self):
        self._pieces = self._bytes = self._head_bytes = 0
        self._heads += 1
        if self._door is None or not self._awaiting_request or self._is_under_way:
            return super()._on_headers_complete()
        ready, self._request_ready = self._request_ready, None  # gunicorn's loop sleeps on
        try:
            skips_body = super()._on_headers_complete()
        finally:
            self._request_ready = ready
        request = self._current_request
        asked = self._what_is_asked(request)
        if self._door.takes(asked) and not request.may_upgrade():
            self._asked = asked
        else:
            ready.set()
        return skips_body

    def _on_body(self, chunk):
        self._pieces += 1
        self._bytes += len(chunk)
        if self._pieces > min(MAX_PIECES, FREE_PIECES + self._bytes // PIECE):
            raise ParseError("The body is in too many pieces.")
        super()._on_body(chunk)

    def _what_is_asked(self, request):
        """What the door reads of an ASGI scope."""
        return {
            "method": request.method,
            "scheme": request.scheme,
            "path": request.path,
            "raw_path": request.raw_path,
            "query_string": request.query.encode("latin-1"),
            "headers": request.headers_bytes,
            "client": self._peer,
        }

    def _go_on(self):
        """Begin the request that came, and after an answer the one that came right behind it."""
        while self._asked is not None and not self._closed:
            asked, self._asked = self._asked, None
            receiver = self._body_receiver
            begun = False
            if receiver._complete and len(receiver._chunks) <= 1:
                try:
                    begun = self._door.begin(asked, receiver._chunks[0] if receiver._chunks else b"", self._finish)
                except Exception:
                    self._fail()
                    return
            if begun is False:
                self._request_ready.set()  # gunicorn's loop takes it from here
            elif begun is True:
                self._is_under_way = True
            elif self._answer(begun):
                continue
            return

    def _finish(self, answer):
        """The commit has returned."""
        self._is_under_way = False
        try:
            if not self._closed and self._answer(answer):
                self._go_on()
        except Exception:
            self._fail()

    def _answer(self, answer):
        """Answer the request, and make ready for the next one, which may be parsed by then.

        Returns whether there may be one. These are the steps that gunicorn's `_handle_connection` takes in between.
        """
        closes = self._write(answer, self._current_request)
        worker, parser = self.worker, self._callback_parser
        worker.nr += 1
        if worker.nr >= worker.max_requests:
            worker.alive = False
        if closes or not worker.alive or getattr(parser, "remaining_truncated", False):
            self._close_transport()
            self._request_ready.set()  # gunicorn's loop sees that it is over
            return False
        self._answered_at = worker.loop.time()
        if self._flow_control.write_paused:
            self._pause_reading()  # who does not read answers is not read from
        else:
            self._resume_reading()
        behind = parser.remaining()
        parser.reset()
        self._current_request = self._body_receiver = None
        return not behind or self._feed_callback_parser(behind)

    def _fail(self):
        self.log.exception("Error in the ingest door")
        self._send_error_response(500, "Internal Server Error")
        self._close_transport()
        self._request_ready.set()

    def resume_writing(self):
        super().resume_writing()
        if self._door is not None:
            self._maybe_resume_reading()

    def _keepalive_timeout(self):
        """Look when the last answer was: a timer that is set anew for each post would cost more than it is worth."""
        left = self._answered_at + self._keepalive - self.worker.loop.time()
        if not self._is_under_way and left <= 0:
            super()._keepalive_timeout()
        else:
            self._keepalive_handle = self.worker.loop.call_later(max(left, 1), self._keepalive_timeout)

    async def _serve_http_request(self, request, sockname, peername):
        """Called by gunicorn's loop. Returns whether the connection may be kept alive."""
        if self._door is not None:
            asked = self._what_is_asked(request)
            if self._door.takes(asked):
                return await self._take(request, asked)
        return await super()._serve_http_request(request, sockname, peername)

    async def _take(self, request, asked):
        try:
            answer = await self._door.take(asked, self._body_receiver.receive)
        except Exception:
            self._fail()
            return False
        if answer is None or self._closed:
            return False
        closes = self._write(answer, request)
        if self._flow_control.write_paused:
            await self._flow_control.drain()
        return not closes

    def _write(self, answer, request):
        """Send an answer. Returns whether it says that the connection ends."""
        closes = self._will_close(request, False)
        is_head = request.method == "HEAD"
        length = 0 if is_head else len(answer.body)
        name = request.version, answer.status, answer.media_type, length, tuple(answer.headers.items()), closes
        head = _heads.get(name)
        if head is None:
            head = self._head_of(answer, request, closes)
            if len(_heads) >= MAX_HEADS:
                _heads.clear()
            _heads[name] = head
        self._safe_write(b"%s%s\r\n%s" % (head, protocol._get_cached_date_header(), b"" if is_head else answer.body))
        return closes

    def _head_of(self, answer, request, closes):
        """Status line and headers without the date, as gunicorn would write them."""
        headers = self._door.headers_of(answer, request.method)
        protocol._scan_response_headers(headers)
        if self._response_forbids_content_length(answer.status):
            headers = self._strip_body_framing_headers(headers, answer.status)
        self._send_response_start(answer.status, [*headers, (b"date", b"")], request, closes)
        head, self._response_buffer = self._response_buffer, None
        return head.replace(b"date: \r\n", b"", 1).removesuffix(b"\r\n")


_heads: dict[tuple, bytes] = {}
