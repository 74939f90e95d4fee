"""The ingest door as a view: `POST /in/<key>` and `/in/<key>/<site>`, for WSGI and for the API's description.

Under ASGI `events.door` stands in front of it and answers the same (one suite demands it of both).
It only adapts: the request becomes an `Arrival`, the answer of `intake.receive` a response. No session, no
CSRF, no content negotiation and no parsing; every method comes through, so that a 405 is recorded too.
"""

from functools import cache, partial

from django.conf import settings
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.views import APIView

from events.arrivals import PROBLEM, Answer, Arrival, Headers, problem
from events.intake import DoorwayRegistry, Intake
from events.store import DatabaseStore
from events.wakeup import ROUTE, wake
from tenants.addresses import client_address

CHUNK = 65_536
CONTRACT = {
    "tags": ["ingest"],
    "description": (
        "One event, or several: JSON objects and arrays, JSON lines or text, as the source is set up. The request "
        "proves who sent it in the way the source asks for. 202 is answered once everything is kept; after 503, or no "
        "answer, send again. Any other answer stays the same until the request is corrected."
    ),
    "request": {
        "application/json": OpenApiTypes.ANY,
        "text/plain": OpenApiTypes.STR,
        "application/octet-stream": OpenApiTypes.BINARY,
    },
    "responses": {
        202: inline_serializer(
            "Acknowledgement",
            {
                "receipt": serializers.UUIDField(),
                "events": serializers.IntegerField(),
                "duplicate": serializers.BooleanField(required=False, help_text="There, and true, for a duplicate."),
            },
        ),
        **{
            (code, PROBLEM): OpenApiResponse(OpenApiTypes.OBJECT, description="Problem details (RFC 9457).")
            for code in (400, 401, 403, 404, 405, 411, 413, 415, 422, 429, 503)
        },
    },
}


@cache
def intake() -> Intake:
    """This process's one intake: its store remembers what it has recorded lately."""
    return Intake(DoorwayRegistry(), DatabaseStore(), partial(wake, ROUTE), settings.INGEST_MAX_BYTES)


def arrival_of(request: HttpRequest, key: str, site: str | None) -> Arrival:
    """The request as it stood on the wire, as far as this server lets us see it."""
    scope = getattr(request, "scope", None)
    headers = asgi_headers(scope["headers"]) if scope else wsgi_headers(request.META)
    return Arrival(
        method=request.method or "",
        ingest_key=key,
        site_slug=site,
        headers=headers,
        body=read_body(request, settings.INGEST_MAX_BYTES),
        client_address=client_address(request),
        received_at=timezone.now(),
        target=request.get_full_path(),
        headers_folded=scope is None,
    )


def asgi_headers(pairs) -> Headers:
    return tuple((bytes(name).lower(), bytes(value)) for name, value in pairs)


def wsgi_headers(meta) -> Headers:
    """Rebuilt from CGI variables: order and duplicates are lost, and `_` was `-` (servers drop real ones)."""
    names = {name: name.removeprefix("HTTP_") for name in meta if name.startswith("HTTP_")}
    names |= {name: name for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if meta.get(name)}
    return tuple(
        (name.lower().replace("_", "-").encode(), str(meta[variable]).encode("latin-1", "replace"))
        for variable, name in names.items()
    )


def read_body(request: HttpRequest, limit: int) -> bytes | None:
    """At most one byte more than `limit`; None where a WSGI server does not tell the length (chunked)."""
    if not hasattr(request, "scope") and "HTTP_TRANSFER_ENCODING" in request.META:
        return None
    body = bytearray()
    while len(body) <= limit and (chunk := request.read(min(CHUNK, limit + 1 - len(body)))):
        body += chunk
    return bytes(body)


class IngestDoor(APIView):
    """Where systems outside post to."""

    authentication_classes = ()
    permission_classes = ()
    parser_classes = ()
    default_response_headers = {}

    def perform_content_negotiation(self, request, force=False):
        """The answer is JSON whatever the sender says it accepts: a 406 would lose an event."""
        return JSONRenderer(), JSONRenderer.media_type

    def receive(self, request, key: str, site: str | None = None) -> HttpResponse:
        try:
            arrival = arrival_of(request._request, key, site)
        except UnreadablePostError:  # the sender went away
            return present(problem(400))
        return present(intake().receive(arrival), with_body=request.method != "HEAD")

    @extend_schema(operation_id="ingest", summary="Send events to a source", **CONTRACT)
    def post(self, request, key: str, site: str | None = None) -> HttpResponse:
        return self.receive(request, key, site)

    def http_method_not_allowed(self, request, *args, **kwargs) -> HttpResponse:
        return self.receive(request, *args, **kwargs)

    options = http_method_not_allowed


class IngestAnywhere(IngestDoor):
    """Anything else under `/in/`: a slash at the end is forgiven, the rest is 404 in the door's own words."""

    schema = None

    def receive(self, request, rest: str) -> HttpResponse:
        key, _, site = rest.rstrip("/").partition("/")
        return super().receive(request, key, site or None)

    def post(self, request, rest: str) -> HttpResponse:
        return self.receive(request, rest)


class IngestSite(IngestDoor):
    """The same for one of the tenant's sites."""

    @extend_schema(operation_id="ingest_for_site", summary="Send events of a site to a source", **CONTRACT)
    def post(self, request, key: str, site: str | None = None) -> HttpResponse:
        return self.receive(request, key, site)


def present(answer: Answer, *, with_body: bool = True) -> HttpResponse:
    response = HttpResponse(
        answer.body if with_body else b"",
        status=answer.status,
        content_type=answer.media_type,
        headers={"Cache-Control": "no-store", **answer.headers},
    )
    # Else Django writes the path of every refused request, and with it the ingest key, into the log.
    response._has_been_logged = True
    return response
