"""The portal as gunicorn serves it, but with little patience for a slow body: for `test_gunicorn.py`."""

from config.asgi import application
from events import door

__all__ = ["application"]

door.READ_SECONDS = 1
