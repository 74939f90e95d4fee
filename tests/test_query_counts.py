"""A list asks the database as often for many rows as for few."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deliveries.models import Delivery, Replay
from events.models import Alarm, AlarmEpisode, Event, Receipt
from events.schema_models import Schema
from sources.models import Source, SourceCredential
from subscriptions.models import SigningSecret, Subscription
from tenants.models import ApiKey, Invitation, Membership, Site, User
from tenants.scope import system_scope

PAGES = [
    "/", "/sources/", "/sources/without-token/", "/alarms/", "/schemas/", "/event-types/", "/events/",
    "/events/?q=a&where=a!%3D1&severity=low", "/receipts/", "/refusals/", "/subscriptions/", "/deliveries/",
    "/members/", "/members/invitations/", "/api-keys/", "/audit/", "/settings/", "/operators/tenants/",
    "/operators/pulse/", "/api/v1/operators/pulse/",
]  # fmt: skip
LISTS = [
    f"/api/v1/{name}/"
    for name in (
        "sources", "subscriptions", "sites", "members", "invitations", "api-keys", "events", "receipts", "deliveries",
        "replays", "audit", "tenants", "alarms", "alarm-episodes", "schemas", "schema-versions", "event-types",
    )
]  # fmt: skip


def add_one_of_each(tenant, mark: str) -> None:
    """Rows that differ in whatever they refer to, so that nothing is found twice by luck."""
    own = {"tenant": tenant}
    person = User.objects.create_user(f"{mark}@acme.example")
    Membership.objects.create(**own, user=person, role="viewer")
    ApiKey.issue(**own, name=mark, role="viewer", created_by=person)
    Invitation.issue(**own, email=f"{mark}@example.com", role="viewer", invited_by=person)
    site = Site.objects.create(**own, name=mark)
    source, secret = Source.objects.create_with_secret(tenant, person, mark, "hmac", {})
    SourceCredential.issue_for(source, secret, typed=False)
    subscription = Subscription.objects.create(**own, name=mark, url="https://receiver.example/", created_by=person)
    SigningSecret.issue(secret, keep_value=True, subscription=subscription, **own)
    receipt = Receipt.objects.create(**own, source=source, site=site, status="accepted", status_code=202, body=b"{}")
    event = Event.objects.create(
        **own, source=source, receipt=receipt, site=site, type="a.b", content_type="application/json", body=b"{}"
    )
    Alarm.objects.ensure()
    alarm = Alarm.objects.get(source=source, kind="silence")
    AlarmEpisode.objects.create(**own, alarm=alarm, opened_at=timezone.now(), since=timezone.now(), window_minutes=15)
    schema = Schema.objects.create(**own, name=mark, event_type=mark, created_by=person)
    schema.draft({"type": "object"}, person).publish(person)
    schema.attach(source)
    Delivery.objects.create(
        **own, subscription=subscription, event=event, event_type="a.b", message_id=f"msg_{mark}", shape="envelope",
        signing="standard_webhooks",
    )  # fmt: skip
    Replay.objects.create(
        **own, subscription=subscription, kind="events", since=timezone.now(), before=event.pk, asked_by=mark
    )


@pytest.mark.parametrize("url", PAGES + LISTS)
def test_the_number_of_queries_does_not_grow(browser, cast, url):
    cast.owner.is_staff = True
    cast.owner.save()
    client = browser(cast.owner)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url).status_code == 200
        return len(captured)

    with system_scope():
        for number in range(2):
            add_one_of_each(cast.tenant, f"few{number}")
    client.get(url)
    few = queries()
    with system_scope():
        for number in range(8):
            add_one_of_each(cast.tenant, f"many{number}")
    assert queries() == few
