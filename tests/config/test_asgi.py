"""Files leave through ASGI as they are, and piece by piece."""

import asyncio
import warnings

import pytest
from asgiref.testing import ApplicationCommunicator
from django.conf import settings

from config.asgi import FILE_CHUNK, application

pytestmark = pytest.mark.django_db
SCRIPT = "portcullis/portal.js"


async def fetch(path, method="GET"):
    """Status, headers and the pieces of the body."""
    server = ApplicationCommunicator(
        application,
        {
            "type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(),
            "query_string": b"", "headers": [(b"host", b"localhost")], "scheme": "http", "client": ("127.0.0.1", 1),
        },
    )  # fmt: skip
    await server.send_input({"type": "http.request", "body": b"", "more_body": False})
    start = await server.receive_output()
    pieces, more = [], True
    while more:
        message = await server.receive_output()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    await server.wait()
    return start["status"], {name.decode().lower(): value.decode() for name, value in start["headers"]}, pieces


def test_a_static_file_is_served_whole_and_without_a_warning():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "StreamingHttpResponse")
        status, headers, pieces = asyncio.run(fetch(f"/static/{SCRIPT}"))
    content = (settings.BASE_DIR / "static" / SCRIPT).read_bytes()
    assert (status, b"".join(pieces)) == (200, content)
    assert headers["content-length"] == str(len(content))
    assert headers["x-content-type-options"] == "nosniff"


def test_a_large_file_is_sent_in_pieces():
    path = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
    status, headers, pieces = asyncio.run(fetch(path))
    assert status == 200
    assert sum(map(len, pieces)) == int(headers["content-length"]) > FILE_CHUNK
    assert max(map(len, pieces)) == FILE_CHUNK


def test_the_head_of_a_file_has_no_body():
    status, headers, pieces = asyncio.run(fetch(f"/static/{SCRIPT}", "HEAD"))
    assert (status, b"".join(pieces)) == (200, b"")
    assert int(headers["content-length"])
