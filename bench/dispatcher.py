"""The portal's dispatcher in a process of its own, as in a Celery worker; a line on standard input wakes it."""

import sys

import django

django.setup(set_prefix=False)

from deliveries import tasks  # noqa: E402

if __name__ == "__main__":
    tasks.start_fresh()
    print("ready", flush=True)
    for _ in sys.stdin:
        tasks.dispatch()
