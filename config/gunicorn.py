"""gunicorn's settings: the strict ASGI worker, one by default (WEB_CONCURRENCY for more)."""

import gc
import os
import resource
from pathlib import Path

from gunicorn.glogging import Logger
from gunicorn.workers import gasgi

from config import header_fields
from config.connection import Connection
from config.logs import mask


class MaskingLogger(Logger):
    """The ingest key and the confirmation token stand in the path; no access log may show them."""

    def atoms(self, resp, req, environ, request_time):
        atoms = super().atoms(resp, req, environ, request_time)
        return {name: mask(value) if isinstance(value, str) else value for name, value in atoms.items()}


# A connection is an open file, and many systems start a process with 1,024 of them although it may have more.
_files, _most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
if _files < 65_536:
    _wanted = 65_536 if _most_files == resource.RLIM_INFINITY else min(65_536, _most_files)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_wanted, _most_files))

_host = os.environ.get("HOST", "127.0.0.1")
bind = f"{f'[{_host}]' if ':' in _host else _host}:{os.environ.get('PORT', '8000')}"
chdir = str(Path(__file__).resolve().parent.parent)
worker_class = "asgi"
gasgi.ASGIProtocol = Connection  # the worker makes its connections of that name, and has no setting for it
header_fields.install()
os.environ.setdefault("DATABASE_POOL", "16")  # connections of one web process, for settings.py
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
asgi_loop = "uvloop"
asgi_lifespan = "auto"
proc_name = "portcullis"

limit_request_line = 4094
limit_request_fields = 100
limit_request_field_size = 8190
header_map = "refuse"
keepalive = 30
timeout = 60
graceful_timeout = 5

# Whose X-Forwarded-* is believed. Nobody's, until a deployment names its proxy.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "")

logger_class = MaskingLogger
errorlog = "-"
accesslog = "-" if os.environ.get("ACCESS_LOG") else None
loglevel = os.environ.get("WEB_LOG_LEVEL", "warning")

# gunicorn's control socket has one path for a user, which two portals would fight over.
control_socket_disable = True


def post_worker_init(worker):
    """Everything imported by now stays for good: the garbage collector need not look at it again and again.

    A request makes a few hundred objects that live for milliseconds; at Python's default of 700 each dozen of requests
    would have a collection, and each of the old generation walk through all of Django.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
