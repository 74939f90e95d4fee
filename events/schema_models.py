"""What events are expected to look like: schemas, their versions, and the sources that use them (P11, P12)."""

import json
from collections.abc import Sequence

from django.db import models, transaction
from django.utils import timezone

from events.schema_language import checked, written
from sources.models import Source
from tenants.models import TenantOwned
from tenants.scope import ScopedManager

MAX_ATTACHED = 20  # schemas of one source: an event that fits none is tried against each


class TooManyAttached(Exception):
    """A source has MAX_ATTACHED schemas at most."""


class NotDraft(Exception):
    """A published version does not change."""


class SchemaQuerySet(models.QuerySet):
    def present(self):
        """Not deleted."""
        return self.filter(deleted_at=None)

    def with_published_number(self):
        """`published_number`: that of the version in force, or None."""
        newest = SchemaVersion.objects.published().filter(schema=models.OuterRef("pk")).order_by("-number")
        return self.annotate(published_number=models.Subquery(newest.values("number")[:1]))


class Schema(TenantOwned):
    """What events of one kind look like, in versions. `event_type` is the type that it describes; may be empty.

    Events are classified by its latest published version, at the sources that it is attached to. Deleting one that
    was published keeps the rows, so that what was classified still has a name.
    """

    name = models.CharField(max_length=100)
    event_type = models.CharField(
        max_length=128, blank=True, help_text="The type of event it describes; empty for several."
    )
    description = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        "tenants.User", on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = ScopedManager.from_queryset(SchemaQuerySet)()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                "tenant", "name", name="schema_name_unique_in_tenant", condition=models.Q(deleted_at=None)
            )
        ]

    def __str__(self):
        return self.name

    def draft(self, document: object, by=None, inferred_from: dict | None = None) -> "SchemaVersion":
        """The one draft of the schema, with this document: the open draft takes it, or a new version is begun.

        Raises `SchemaError` where the document is no schema that can be used.
        """
        text = written(checked(document))
        with transaction.atomic():
            self._lock()
            draft = self.versions.filter(status=SchemaVersion.Status.DRAFT).first()
            if draft is None:
                last = self.versions.aggregate(last=models.Max("number"))["last"] or 0
                return self.versions.create(
                    tenant_id=self.tenant_id,
                    number=last + 1,
                    text=text,
                    inferred_from=inferred_from,
                    created_by=by,
                )
            draft.text = text
            draft.inferred_from = inferred_from
            draft.save(update_fields=["text", "inferred_from"])
            return draft

    @property
    def published(self) -> "SchemaVersion | None":
        """The version that classifies: the latest published one."""
        return self.versions.published().first()

    def attach(self, source: Source, position: int | None = None) -> bool:
        """Let it classify what the source gets, at `position` (from 0) among its schemas; without one, as the last.

        True if this call changed anything. Raises TooManyAttached.
        """
        with transaction.atomic():
            before = SchemaAttachment.objects.order_of(source)
            after = [schema for schema in before if schema != self]
            after.insert(len(after) if position is None else position, self)
            if position is None and self in before:
                return False
            return SchemaAttachment.objects.arrange(source, after) != after or after != before

    def detach(self, source: Source) -> bool:
        """Let it classify nothing of the source any more. True if this call changed it."""
        return bool(self.attachments.filter(source=source).delete()[0])

    def delete(self, using=None, keep_parents=False) -> bool:
        """Detach it everywhere and take it away: the rows too, if it was never published. True if this call did it."""
        with transaction.atomic():
            self._lock()
            self.attachments.all().delete()
            if not self.versions.published().exists():
                return bool(Schema.objects.filter(pk=self.pk).delete()[0])
            now = timezone.now()
            changed = Schema.objects.present().filter(pk=self.pk).update(deleted_at=now)
        self.refresh_from_db(fields=["deleted_at"])
        return bool(changed)

    def _lock(self) -> None:
        """One at a time may number its versions. NO KEY: rows that refer to it are not held up."""
        Schema.objects.select_for_update(no_key=True).only("pk").filter(pk=self.pk).first()


class SchemaVersionQuerySet(models.QuerySet):
    def published(self):
        return self.filter(status=SchemaVersion.Status.PUBLISHED)

    def in_force(self):
        """Of each schema, the version that classifies."""
        newest = SchemaVersion.objects.published().filter(schema=models.OuterRef("schema")).order_by("-number")
        return self.filter(pk=models.Subquery(newest.values("pk")[:1]))


class SchemaVersion(TenantOwned):
    """One wording of a schema: JSON Schema 2020-12.

    `text` is the document as JSON, its members in the order its author gave them, which `jsonb` would not keep.
    `inferred_from` says what a proposed one was made of: `{source, since, until, sampled, matched, unmatched}`.
    """

    class Status(models.TextChoices):
        """draft → published. A schema has one draft at most; a published version never changes."""

        DRAFT = "draft"
        PUBLISHED = "published"

    schema = models.ForeignKey(Schema, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    text = models.TextField()
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.DRAFT)
    inferred_from = models.JSONField(null=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        "tenants.User", on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    published_at = models.DateTimeField(null=True)
    published_by = models.ForeignKey(
        "tenants.User", on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )

    objects = ScopedManager.from_queryset(SchemaVersionQuerySet)()

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint("schema", "number", name="schema_version_number_once"),
            models.UniqueConstraint("schema", name="schema_one_draft", condition=models.Q(status="draft")),
        ]

    def __str__(self):
        return f"{self.schema_id} v{self.number}"

    @property
    def document(self) -> object:
        return json.loads(self.text)

    @property
    def is_draft(self) -> bool:
        return self.status == self.Status.DRAFT

    def publish(self, by=None) -> None:
        """draft → published: what arrives from now on is classified by it. Raises NotDraft if it was already."""
        drafts = SchemaVersion.objects.filter(pk=self.pk, status=self.Status.DRAFT)
        if not drafts.update(status=self.Status.PUBLISHED, published_at=timezone.now(), published_by=by):
            raise NotDraft
        self.refresh_from_db(fields=["status", "published_at", "published_by"])

    def discard(self) -> None:
        """Take the draft away. Raises NotDraft."""
        if not SchemaVersion.objects.filter(pk=self.pk, status=self.Status.DRAFT).delete()[0]:
            raise NotDraft


class SchemaAttachmentManager(ScopedManager):
    def order_of(self, source: Source) -> list[Schema]:
        """The schemas of a source in the order in which they are tried."""
        return list(Schema.objects.filter(attachments__source=source).order_by("attachments__position"))

    def arrange(self, source: Source, schemas: Sequence[Schema]) -> list[Schema]:
        """These are the schemas of the source from now on, in this order; returns those before.

        Schemas deleted meanwhile are left out. Raises TooManyAttached.
        """
        if len(schemas) > MAX_ATTACHED:
            raise TooManyAttached
        with transaction.atomic():
            Source.objects.select_for_update(no_key=True).only("pk").filter(pk=source.pk).first()
            before = self.order_of(source)
            if before != list(schemas):
                wanted = [schema.pk for schema in schemas]
                present = set(Schema.objects.present().filter(pk__in=wanted).values_list("pk", flat=True))
                self.filter(source=source).delete()
                self.bulk_create(
                    SchemaAttachment(tenant_id=source.tenant_id, source=source, schema_id=pk, position=position)
                    for position, pk in enumerate(pk for pk in wanted if pk in present)
                )
        return before


class SchemaAttachment(TenantOwned):
    """A schema that classifies what a source gets. The first by `position` that accepts an event names it."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="+")
    schema = models.ForeignKey(Schema, on_delete=models.CASCADE, related_name="attachments")
    position = models.PositiveSmallIntegerField()

    objects = SchemaAttachmentManager()

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint("source", "schema", name="schema_attached_once"),
            models.UniqueConstraint("source", "position", name="schema_position_once"),
        ]

    def __str__(self):
        return f"{self.schema_id} at {self.source_id}"
