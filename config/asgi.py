"""The ASGI entry point that gunicorn serves."""

import os
from collections.abc import AsyncIterator, Iterable

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

FILE_CHUNK = 65_536  # bytes; each is a hop to a thread and back


class Handler(ASGIHandler):
    """Django's, and files are read in a thread as they are sent.

    WhiteNoise answers with FileResponse, whose iterator is a synchronous one: Django would read the whole file into
    memory first, and warn of that.
    """

    async def send_response(self, response, send):
        if response.streaming and not response.is_async:
            response.block_size = FILE_CHUNK
            response.streaming_content = _in_thread(response.streaming_content)
        await super().send_response(response, send)


async def _in_thread(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    following = iter(parts)
    while (part := await sync_to_async(next)(following, None)) is not None:
        yield part


django.setup(set_prefix=False)

from events.bounds import BoundedBody  # noqa: E402  (the door needs the apps)
from events.door import Door  # noqa: E402

application = Door(
    BoundedBody(Handler(), max_bytes=settings.DATA_UPLOAD_MAX_MEMORY_SIZE), max_bytes=settings.INGEST_MAX_BYTES
)
