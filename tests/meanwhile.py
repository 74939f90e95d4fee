"""Two requests at once, on real connections: one has acted but not committed when the other comes."""

import threading
import time
from collections.abc import Callable
from uuid import UUID

from django.db import connection

from tenants.scope import tenant_scope


def meanwhile(tenant_id: UUID, act: Callable[[], object], request: Callable[[], object]):
    """The answer of `request`, which is made while the transaction of `act` is still open."""
    answers = []

    def ask():
        try:
            answers.append(request())
        finally:
            connection.close()

    asking = threading.Thread(target=ask)
    with tenant_scope(tenant_id):
        act()
        asking.start()
        until = time.monotonic() + 10
        while asking.is_alive() and not _somebody_waits() and time.monotonic() < until:
            time.sleep(0.02)
    asking.join(timeout=30)
    return answers[0]


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return cursor.fetchone()[0]
