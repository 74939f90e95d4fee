"""What watches over the sources: alarms, the episodes in which they rang, and the mail about them (P15)."""

from datetime import timedelta

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from events.health import DEFAULTS, Bounds, Ended, Kind, State, summary
from events.mailing import OwedMail
from sources.models import Source
from tenants.models import TenantOwned
from tenants.scope import ScopedManager

KINDS = [
    (Kind.SILENCE.value, "No events"),
    (Kind.AUTHENTICATION.value, "Authentication"),
    (Kind.CLASSIFICATION.value, "Schemas"),
]
STATES = [
    (State.OK.value, "OK"),
    (State.ALARM.value, "Alarm"),
    (State.INSUFFICIENT_DATA.value, "Insufficient data"),
]
ENDED = [
    (Ended.RECOVERED.value, "Recovered"),
    (Ended.CHANGED.value, "The alarm was changed"),
    (Ended.SWITCHED_OFF.value, "The alarm was switched off"),
    (Ended.PAUSED.value, "The source was paused"),
    (Ended.SUSPENDED.value, "The workspace was suspended"),
    (Ended.DELETED.value, "The source was deleted"),
    (Ended.NO_SCHEMAS.value, "The source has no schemas"),
]


class AlarmQuerySet(models.QuerySet):
    def visible_to(self, actor):
        """Those of sources that the actor may know of."""
        return self.filter(source__in=Source.objects.present().visible_to(actor))

    def with_open_episode(self):
        """Each with its source, and `open_episodes`: the one that goes on, or none."""
        going_on = models.Prefetch(
            "episodes", AlarmEpisode.objects.filter(cleared_at=None).select_related("alarm"), "open_episodes"
        )
        return self.select_related("source").prefetch_related(going_on)

    def ringing(self):
        return self.filter(state=State.ALARM, source__deleted_at=None)

    def ensure(self) -> None:
        """Make what is missing, in the scope in force: a source has an alarm of each kind from the start.

        The rows come with the first look at them or the first evaluation, so that `sources/` need not know of alarms.
        """
        has_alarms = Alarm.objects.filter(source=models.OuterRef("pk"), kind=Kind.SILENCE)
        missing = Source.objects.present().filter(~models.Exists(has_alarms))
        rows = missing.values_list("pk", "tenant_id", "status", "created_at")
        self.bulk_create(
            [
                Alarm(
                    tenant_id=tenant_id,
                    source_id=source_id,
                    kind=kind,
                    window_minutes=bounds.window // timedelta(minutes=1),
                    min_count=None if kind == Kind.SILENCE else bounds.min_count,
                    percent=None if kind == Kind.SILENCE else bounds.percent,
                    watched_since=created_at
                    if status == Source.Status.ACTIVE and kind != Kind.CLASSIFICATION
                    else None,
                )
                for source_id, tenant_id, status, created_at in rows
                for kind, bounds in DEFAULTS.items()
            ],
            ignore_conflicts=True,
        )


class Alarm(TenantOwned):
    """Watches one source for one kind of trouble; `events.health` has the rules, `events.watch` moves the state.

    `watched_since` is when the present watch began, null while nothing is watched: the first evaluation afterwards
    sets it. A changed setting takes effect with the change.
    """

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=16, choices=KINDS)
    enabled = models.BooleanField(default=True)
    window_minutes = models.PositiveIntegerField()
    min_count = models.PositiveIntegerField(null=True)
    percent = models.PositiveSmallIntegerField(null=True)
    state = models.CharField(max_length=17, choices=STATES, default=State.INSUFFICIENT_DATA.value, editable=False)
    state_changed_at = models.DateTimeField(default=timezone.now, editable=False)
    watched_since = models.DateTimeField(null=True, editable=False)
    configured_at = models.DateTimeField(null=True, editable=False)

    objects = ScopedManager.from_queryset(AlarmQuerySet)()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint("source", "kind", name="alarm_once")]
        indexes = [
            models.Index("tenant", F("id").desc(), name="alarm_tenant_newest"),
            models.Index("tenant", name="alarm_ringing", condition=Q(state=State.ALARM.value)),
        ]

    def __str__(self):
        return f"{self.get_kind_display()} of {self.source}"

    @property
    def bounds(self) -> Bounds:
        return Bounds(timedelta(minutes=self.window_minutes), self.min_count or 0, self.percent or 0)


class AlarmEpisode(TenantOwned):
    """From an alarm's ringing to its end: one trouble, told of once.

    `since` is when the trouble began, as far as it can be told. The bounds are those that were broken; of `counted`
    requests or events `failed` had failed then.
    """

    alarm = models.ForeignKey(Alarm, on_delete=models.CASCADE, related_name="episodes")
    opened_at = models.DateTimeField()
    since = models.DateTimeField()
    window_minutes = models.PositiveIntegerField()
    min_count = models.PositiveIntegerField(null=True)
    percent = models.PositiveSmallIntegerField(null=True)
    counted = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    cleared_at = models.DateTimeField(null=True)
    ended = models.CharField(max_length=12, choices=ENDED, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint("alarm", name="one_open_episode", condition=Q(cleared_at=None))]
        indexes = [models.Index("alarm", F("id").desc(), name="episode_newest")]

    def __str__(self):
        return f"{self.alarm_id} {self.opened_at}"

    @property
    def is_open(self) -> bool:
        return self.cleared_at is None

    @property
    def bounds(self) -> Bounds:
        return Bounds(timedelta(minutes=self.window_minutes), self.min_count or 0, self.percent or 0)

    @property
    def summary(self) -> str:
        """What was wrong, to be read after the source's name. Needs `alarm`."""
        return summary(self.alarm.kind, self.bounds, is_over=False, counted=self.counted, failed=self.failed)


class AlarmMail(OwedMail):
    """A mail to one person about the beginning or the end of an episode: sent at least once."""

    class Moment(models.TextChoices):
        OPENED = "opened"
        CLEARED = "cleared"

    episode = models.ForeignKey(AlarmEpisode, on_delete=models.CASCADE, related_name="mails")
    moment = models.CharField(max_length=7, choices=Moment.choices)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint("episode", "user", "moment", name="alarm_mail_once")]
        indexes = [models.Index("due_at", name="alarm_mail_due", condition=Q(sent_at=None))]

    def __str__(self):
        return f"{self.moment} {self.episode_id}"
