"""RFC 9457 problem details: the one shape of every error, in the API and at the ingest door.

{"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "…",
 "errors": [{"field": "auth.header", "detail": "…"}]}
"""

from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, JsonResponse
from rest_framework import exceptions, renderers, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

CONTENT_TYPE = "application/problem+json"


class ProblemRenderer(renderers.JSONRenderer):
    media_type = CONTENT_TYPE
    format = "problem"


class Conflict(exceptions.APIException):
    """The object is not in a state that allows this (409)."""

    status_code = status.HTTP_409_CONFLICT
    default_detail = "The object is not in a state that allows this."
    default_code = "conflict"


def problem(code: int, detail: str = "", **extra: Any) -> dict[str, Any]:
    """A problem document for an HTTP status code."""
    document: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(code).phrase, "status": code}
    if detail:
        document["detail"] = detail
    return document | extra


def problem_response(code: int, detail: str = "", headers: dict[str, str] | None = None, **extra: Any) -> JsonResponse:
    """The same outside DRF."""
    return JsonResponse(problem(code, detail, **extra), status=code, content_type=CONTENT_TYPE, headers=headers)


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's `EXCEPTION_HANDLER`: every refusal as a problem document. Unknown exceptions stay exceptions."""
    if isinstance(exc, Http404):
        exc = exceptions.NotFound("There is no such object.")
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    if not isinstance(exc, exceptions.APIException):
        return None
    headers = {}
    if getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = exc.auth_header
    if getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(exc.wait))
    if isinstance(exc, exceptions.ValidationError):
        body = problem(exc.status_code, "Some fields are not valid.", errors=list(flatten(exc.detail)))
    else:
        body = problem(exc.status_code, _encodable(str(exc.detail)))
    set_rollback()
    request = context["request"]
    # Both: where negotiation itself failed (406), neither is set yet.
    request.accepted_renderer, request.accepted_media_type = ProblemRenderer(), CONTENT_TYPE
    return Response(body, status=exc.status_code, headers=headers, content_type=CONTENT_TYPE)


def flatten(detail: Any, path: str = ""):
    """DRF's nested error detail as `{"field": dotted path, "detail": sentence}`; the object itself is field ""."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            name = "" if key in ("non_field_errors", "__all__") else str(key)
            yield from flatten(value, f"{path}.{name}".strip(".") if name else path)
    elif isinstance(detail, list):
        nested = any(isinstance(item, (dict, list)) for item in detail)
        for index, item in enumerate(detail):
            yield from flatten(item, f"{path}.{index}" if nested else path)
    else:
        yield {"field": _encodable(path), "detail": _encodable(str(detail))}


def _encodable(text: str) -> str:
    """Errors quote what was sent, and JSON can spell half a surrogate pair, which no answer can."""
    return text.encode("utf-8", "replace").decode()
