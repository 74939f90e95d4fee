"""Sources to post to, and one intake a test: its store remembers what it has recorded lately."""

import functools
import json
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.test import Client

from events import door_api
from events.intake import DoorwayRegistry, Intake
from events.models import Event, Inbox, Receipt
from events.store import DatabaseStore
from sources.models import Source
from tenants.scope import system_scope, tenant_scope


@pytest.fixture(autouse=True)
def intake(monkeypatch):
    """The door's intake, with its wake-ups counted in `intake.woken` instead of sent to the broker."""
    woken = []
    made = Intake(DoorwayRegistry(), DatabaseStore(), lambda: woken.append(1), settings.INGEST_MAX_BYTES)
    made.woken = woken
    monkeypatch.setattr(door_api, "intake", functools.cache(lambda: made))
    return made


@pytest.fixture
def source_of(cast):
    """`source_of("bearer")` → (source, secret in clear)."""

    def make(method: str = "none", tenant=None, config=None, secret=None, **fields):
        tenant = tenant or cast.tenant
        with tenant_scope(tenant.pk):
            return Source.objects.create_with_secret(
                tenant, None, fields.pop("name", "Door log"), method, config or {}, secret, **fields
            )

    return make


@pytest.fixture
def source(source_of):
    return source_of()[0]


@pytest.fixture
def post():
    """`post(source, body, site=None, content_type=…, headers={…})` → response with `.json()`.

    One client a test: a new one would set up all middleware again.
    """
    client = Client()

    def send(to, body, *, site=None, content_type="application/json", headers=None, method="POST"):
        key = to if isinstance(to, str) else to.ingest_key
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"/in/{key}" + (f"/{site}" if site else "")
        return client.generic(method, url, body, content_type=content_type, headers=headers or {})

    return send


@pytest.fixture
def kept():
    """`kept()` → what every tenant's tables hold: receipts, events, inbox, oldest first."""

    def look():
        with system_scope():
            return SimpleNamespace(
                receipts=list(Receipt.objects.order_by("id")),
                events=list(Event.objects.order_by("id")),
                inbox=list(Inbox.objects.values_list("event_id", flat=True)),
            )

    return look
