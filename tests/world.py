"""At least one row of a tenant in every table that has an owner."""

from datetime import timedelta
from types import SimpleNamespace

from django.utils import timezone

from deliveries.models import Attempt, Delivery, Lane, Outbox, Pace, PullQueue, Replay, Undecided
from events.models import Alarm, AlarmEpisode, AlarmMail, Bundle, Event, Inbox, OnceKey, Receipt
from events.schema_models import Schema
from sources.models import Source, SourceCredential
from subscriptions.models import Failing, FailingMail, Notice, SigningSecret, Subscription
from tenants.actors import system_actor
from tenants.ids import lowest_uuid7
from tenants.models import ApiKey, AuditEntry, Invitation, Membership, Site, Tenant

SECRET = "s3cret-of-the-tenant"


def fill(tenant: Tenant, mark: str = "Name") -> SimpleNamespace:
    """Call it in the system's scope. `mark` stands in every text that a list or a page may show."""
    own = {"tenant": tenant}
    site = Site.objects.create(**own, name=f"{mark} site", slug="site")
    invitation, _ = Invitation.issue(**own, email=f"{mark}@example.com", role="viewer")
    key, _ = ApiKey.issue(**own, name=f"{mark} key", role="viewer")
    entry = AuditEntry.record(system_actor(f"{mark} act", tenant), "api_key.created", key)
    source = Source.objects.create(
        **own, name=f"{mark} source", auth_method="shared_secret", auth_config={"header": "X-Key"}
    )
    SourceCredential.issue(SECRET, keep_value=True, source=source, **own)
    subscription = Subscription.objects.create(
        **own, name=f"{mark} subscription", url=f"https://{mark.lower()}.example/", hint=mark
    )
    SigningSecret.issue(SECRET, keep_value=True, subscription=subscription, **own)
    notice = Notice.objects.create(**own, subscription=subscription, kind="test", event_type=mark, payload={})
    receipt = Receipt.objects.create(
        **own, source=source, site=site, status="accepted", status_code=202, body=mark.encode(), detail=mark
    )
    event = Event.objects.create(
        **own, source=source, receipt=receipt, site=site, type=f"{mark}.happened",
        content_type="application/json", body=b"{}", data={"word": mark},
    )  # fmt: skip
    Inbox.objects.create(**own, event=event)
    # Not due: its receipt has its event already.
    Bundle.objects.create(**own, receipt=receipt, division="", due_at=timezone.now() + timedelta(days=1))
    OnceKey.objects.create(
        **own, source_id=source.pk, kind="key", digest=bytes(16), receipt_id=receipt.pk, event_count=1,
        expires_at=timezone.now() + timedelta(days=1),
    )  # fmt: skip
    schema = Schema.objects.create(**own, name=f"{mark} schema", event_type=f"{mark}.described", description=mark)
    version = schema.draft({"title": mark}, inferred_from={"source": str(source.pk)})
    schema.attach(source)
    delivery = Delivery.objects.create(
        **own, subscription=subscription, event=event, event_type=f"{mark}.happened", message_id=f"msg_{mark}",
        shape="envelope", signing="standard_webhooks", status="failed",
    )  # fmt: skip
    Delivery.objects.create(
        **own, subscription=subscription, notice=notice, kind="test", event_type=mark, message_id=f"msg_{mark}_test",
        shape="envelope", signing="standard_webhooks",
    )  # fmt: skip
    attempt = Attempt.objects.create(
        **own, delivery=delivery, subscription=subscription, number=1, signed_at=timezone.now(), status_code=500,
        outcome="failed", total_ms=1, detail=mark,
    )  # fmt: skip
    due_at = timezone.now() + timedelta(days=1)
    replay = Replay.objects.create(
        **own, subscription=subscription, kind="deliveries", selection={"event_type": mark}, due_at=due_at,
        before=lowest_uuid7(timezone.now()), asked_by=mark, total=1,
    )  # fmt: skip
    membership = Membership.objects.filter(tenant=tenant).order_by("created_at").first()
    Alarm.objects.ensure()
    alarm = Alarm.objects.get(source=source, kind="silence")
    episode = AlarmEpisode.objects.create(
        **own, alarm=alarm, opened_at=timezone.now(), since=timezone.now(), window_minutes=15
    )
    AlarmMail.objects.create(**own, episode=episode, user=membership.user, moment="opened", due_at=due_at)
    polled = Subscription.objects.create(**own, name=f"{mark} polled", url="", delivery="pull", state="idle")
    SigningSecret.issue(SECRET, keep_value=True, subscription=polled, **own)
    waiting = Delivery.objects.create(
        **own, subscription=polled, event=event, event_type=f"{mark}.happened", message_id=f"msg_{mark}_polled",
        shape="envelope", signing="standard_webhooks",
    )  # fmt: skip
    PullQueue.objects.create(**own, delivery=waiting, subscription=polled)
    failing = Failing(**own, subscription=subscription)
    failing.begin(subscription.state_changed_at, timezone.now())
    failing.save(force_insert=True)
    FailingMail.objects.create(
        **own, subscription=subscription, user=membership.user, moment="day_1", happened_at=due_at, due_at=due_at
    )
    Lane.objects.create(**own, subscription=subscription)
    Pace.objects.create(**own, subscription=subscription, next_at=due_at)
    Outbox.objects.create(**own, delivery=delivery, subscription=subscription, due_at=due_at)
    Undecided.objects.create(**own, event=event, subscription=subscription)
    return SimpleNamespace(
        tenant=tenant, site=site, invitation=invitation, key=key, entry=entry, source=source,
        subscription=subscription, notice=notice, receipt=receipt, event=event, delivery=delivery, attempt=attempt,
        polled=polled, replay=replay, membership=membership, schema=schema, schema_version=version, alarm=alarm,
        alarm_episode=episode,
    )  # fmt: skip
