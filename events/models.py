"""What arrived."""

import json
from datetime import datetime, timedelta

from django.db import connection, models
from django.db.models.functions import Now
from django.utils import timezone
from zstandard import ZstdDecompressor

from events.alarms import Alarm, AlarmEpisode, AlarmMail
from events.partitions import Partitioned
from events.reasons import explain
from events.schema_models import Schema, SchemaAttachment, SchemaVersion
from sources.models import Source
from tenants.ids import lowest_uuid7, time_of
from tenants.models import Site, Tenant
from tenants.scope import ScopedManager

__all__ = [
    "Alarm",
    "AlarmEpisode",
    "AlarmMail",
    "Bundle",
    "Event",
    "Inbox",
    "OnceKey",
    "Receipt",
    "Schema",
    "SchemaAttachment",
    "SchemaVersion",
    "Severity",
]

MATERIAL = {"on_delete": models.DO_NOTHING, "db_constraint": False, "db_index": False}


class ArrivedQuerySet(models.QuerySet):
    """Time is read out of the id, so that the bounds prune partitions."""

    def since(self, moment: datetime):
        return self.filter(id__gte=lowest_uuid7(moment))

    def before(self, moment: datetime):
        return self.filter(id__lt=lowest_uuid7(moment))

    def made_of(self, receipt: "Receipt"):
        """Events of one receipt, in the order they stood in it. They got their ids right after it did."""
        return (
            self.filter(receipt_id=receipt.pk)
            .since(receipt.received_at)
            .before(receipt.received_at + timedelta(minutes=1))
            .order_by("id")
        )


class Severity(models.TextChoices):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Receipt(Partitioned):
    """One inbound request: accepted, or refused with a reason that the admin sees and the sender does not.

    `headers` is a list of `[name, value]` with secrets masked. `body` holds the bytes on the wire; it is null
    where the one event made of them holds the very same bytes. Of a refused request only the beginning is kept.
    `evidence` of a refused one is what helps to see why (`sources.authentication.Verdict`): never a secret.
    Where `body_packed` is true they are compressed (zstd); `kept_bytes` are what came.
    `suppressed` counts refusals of the same source that followed within the minute and have no row of their own.
    """

    class Status(models.TextChoices):
        ACCEPTED = "accepted"
        REFUSED = "refused"

    source = models.ForeignKey(Source, related_name="+", **MATERIAL)
    site = models.ForeignKey(Site, null=True, related_name="+", **MATERIAL)
    status = models.CharField(max_length=8, choices=Status.choices)
    status_code = models.PositiveSmallIntegerField()
    reason = models.CharField(max_length=40, blank=True)
    detail = models.CharField(max_length=500, blank=True)
    client_address = models.GenericIPAddressField(null=True)
    headers = models.JSONField(default=list)
    content_type = models.CharField(max_length=200, blank=True)
    body = models.BinaryField(null=True)
    body_size = models.PositiveIntegerField(default=0)
    event_count = models.PositiveIntegerField(default=0)
    suppressed = models.PositiveIntegerField(default=0)
    evidence = models.JSONField(null=True)
    body_packed = models.BooleanField(default=False, db_default=False)

    objects = ScopedManager.from_queryset(ArrivedQuerySet)()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index("tenant", models.F("id").desc(), name="receipt_tenant_newest"),
            models.Index("source", models.F("id").desc(), name="receipt_source_newest"),
            models.Index("id", name="receipt_unproven", condition=models.Q(status_code=401)),
            models.Index(
                "tenant", models.F("id").desc(), name="receipt_refused_newest", condition=models.Q(status="refused")
            ),
        ]

    def __str__(self):
        return f"{self.status} {self.id}"

    @property
    def received_at(self):
        return time_of(self.id)

    @property
    def unpacking(self) -> bool:
        """Whether its events are still to be made (`events.bundles`)."""
        return self.event_count > 1 and Bundle.objects.filter(pk=self.pk).exists()

    @property
    def explanation(self) -> str:
        """Why it was refused, in plain words; empty for an accepted one."""
        return explain(self.reason) if self.status == self.Status.REFUSED else ""

    @property
    def kept_bytes(self) -> bytes | None:
        """The bytes on the wire, or as much of them as was kept; they may stand in the one event made of them."""
        if self.body is not None:
            return ZstdDecompressor().decompress(bytes(self.body)) if self.body_packed else bytes(self.body)
        only = Event.objects.made_of(self).only("body").first() if self.event_count == 1 else None
        return bytes(only.body) if only else None


class Event(Partitioned):
    """One thing that happened. `body` is what was received, byte for byte; `payload` a bounded reading of it.

    `source` and `receipt` are null for events that the tenant's own backend published through the API.
    With `body_is_data` the body is known to be JSON that jsonb takes (`streams.Item.plain`) and is its own reading,
    which SQL casts (`events.payloads`). Else that is `data`, null where there is none; `data_problem` then says why.
    `occurred_at` and `title` are the sender's own word, where its source says where they stand.
    `schema_version_id` is the first attached schema that accepts it; `schema_problem` says why none did.
    """

    source = models.ForeignKey(Source, null=True, related_name="+", **MATERIAL)
    receipt = models.ForeignKey(Receipt, null=True, related_name="+", **MATERIAL)
    site = models.ForeignKey(Site, null=True, related_name="+", **MATERIAL)
    type = models.CharField(max_length=128)
    severity = models.CharField(max_length=6, choices=Severity.choices, default=Severity.LOW)
    content_type = models.CharField(max_length=200)
    body = models.BinaryField()
    data = models.JSONField(null=True)
    data_problem = models.CharField(max_length=200, blank=True)
    body_is_data = models.BooleanField(default=False, db_default=False)
    title = models.CharField(max_length=200, blank=True)
    occurred_at = models.DateTimeField(null=True)
    schema_version_id = models.UUIDField(null=True)
    schema_problem = models.CharField(max_length=300, blank=True)

    objects = ScopedManager.from_queryset(ArrivedQuerySet)()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index("tenant", models.F("id").desc(), name="event_tenant_newest"),
            models.Index("source", models.F("id").desc(), name="event_source_newest"),
            models.Index("source", models.F("id").desc(), name="event_unfit", condition=~models.Q(schema_problem="")),
        ]

    def __str__(self):
        return f"{self.type} {self.id}"

    @property
    def received_at(self):
        return time_of(self.id)

    @property
    def payload(self) -> object:
        """What the body says, as parsed JSON; None where there is no reading of it, or it says null."""
        return json.loads(bytes(self.body)) if self.body_is_data else self.data

    @property
    def payload_text(self) -> bytes:
        """The same as JSON, for whoever hands it on unread; b"" where there is none."""
        if self.body_is_data:
            return bytes(self.body)
        return b"" if self.data is None else json.dumps(self.data).encode()


class OnceKeyQuerySet(models.QuerySet):
    def forget_expired(self, limit: int, at: datetime | None = None) -> int:
        """Delete up to `limit` that bind nobody any more, the oldest first. Returns how many."""
        with connection.cursor() as cursor:
            cursor.execute(
                "WITH expired AS MATERIALIZED (SELECT source_id, kind, digest FROM events_oncekey"
                " WHERE expires_at <= %s ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED)"
                " DELETE FROM events_oncekey AS its USING expired WHERE its.source_id = expired.source_id"
                " AND its.kind = expired.kind AND its.digest = expired.digest",
                [at or timezone.now(), limit],
            )
            return cursor.rowcount


class OnceKey(models.Model):
    """What a source may send once only: an idempotency key (B6) or the `jti` of a token (D3), by its digest.

    A duplicate is answered with the receipt of the first.
    """

    class Kind(models.TextChoices):
        IDEMPOTENCY = "key"
        JTI = "jti", "Token"

    pk = models.CompositePrimaryKey("source_id", "kind", "digest")
    source_id = models.UUIDField()
    kind = models.CharField(max_length=3, choices=Kind.choices)
    digest = models.BinaryField(max_length=16)
    tenant = models.ForeignKey(Tenant, related_name="+", **MATERIAL)
    receipt_id = models.UUIDField()
    event_count = models.PositiveIntegerField()
    expires_at = models.DateTimeField()

    objects = ScopedManager.from_queryset(OnceKeyQuerySet)()

    class Meta:
        ordering = ["expires_at"]
        indexes = [models.Index("expires_at", name="once_key_expiry")]

    def __str__(self):
        return f"{self.kind} {self.receipt_id}"


class Inbox(models.Model):
    """An event that has not been routed yet. Narrow, hot and short-lived: nothing else belongs in it."""

    event = models.OneToOneField(
        Event, primary_key=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    tenant = models.ForeignKey(Tenant, related_name="+", **MATERIAL)

    objects = ScopedManager()

    class Meta:
        ordering = ["event_id"]
        verbose_name_plural = "inbox"

    def __str__(self):
        return str(self.event_id)


class BundleQuerySet(models.QuerySet):
    def due(self):
        return self.filter(due_at__lte=Now())


class Bundle(models.Model):
    """The events of one receipt, very many, that are kept but not made yet: hot and short-lived (`events.bundles`).

    `division` is how to make them. One that fails is tried again at `due_at`, later each time, and is never given up.
    """

    receipt = models.OneToOneField(
        Receipt, primary_key=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    tenant = models.ForeignKey(Tenant, related_name="+", **MATERIAL)
    division = models.TextField()
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now())

    objects = ScopedManager.from_queryset(BundleQuerySet)()

    class Meta:
        ordering = ["receipt_id"]

    def __str__(self):
        return str(self.receipt_id)
