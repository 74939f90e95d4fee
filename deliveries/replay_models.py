"""What is sent once more in the background, how far it got, and when it may go on."""

from datetime import datetime, timedelta

from django.contrib.postgres.fields import ArrayField
from django.db import IntegrityError, models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from events.wakeup import Wakeup
from subscriptions.models import Subscription, WrongState
from tenants.ids import lowest_uuid7
from tenants.models import TenantOwned
from tenants.scope import ScopedManager

REPLAY = "deliveries.tasks.replay"
MAX_FAILURES = 8  # in a row, until it is given up
MAX_DELAY = timedelta(minutes=5)

_wakeup = Wakeup(REPLAY)


def wake() -> None:
    """For work that is committed already; a lost wake-up is made up for by the sweep."""
    _wakeup.wake()


class ReplayQuerySet(models.QuerySet):
    def running(self):
        return self.filter(state=Replay.State.RUNNING)

    def due(self):
        """Those that may go on; who waited longest comes first, so that they take turns."""
        return self.running().filter(due_at__lte=Now()).order_by("due_at")


class Replay(TenantOwned):
    """Events that one subscription is told of once more (B7), in batches: `deliveries.replay` says how.

    What it is about is fixed when it starts: nothing that came later (`before`) belongs to it. `stage` and `cursor`
    are how far it got, `waiting` are its deliveries that were still in the outbox when it was last looked at.
    `total` was counted at the start; where that took too long (`total_is_exact` is false) there are more.
    """

    class Kind(models.TextChoices):
        DELIVERIES = "deliveries", "A selection of deliveries"
        EVENTS = "events", "Events since a moment"
        MISSED = "missed", "What it missed"

    class State(models.TextChoices):
        """running → finished | stopped | failed. Each is one conditional UPDATE on running.

        stopped: by a person; failed: its subscription is not idle any more, or it could not go on.
        """

        RUNNING = "running"
        FINISHED = "finished"
        STOPPED = "stopped"
        FAILED = "failed"

    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    since = models.DateTimeField(null=True)
    selection = models.JSONField(default=dict)
    before = models.UUIDField()
    asked_by = models.CharField(max_length=254)
    total = models.PositiveIntegerField(default=0)
    total_is_exact = models.BooleanField(default=True)
    done = models.PositiveIntegerField(default=0)
    stage = models.PositiveSmallIntegerField(default=0)
    cursor = models.UUIDField(null=True)
    waiting = ArrayField(models.UUIDField(), default=list)
    state = models.CharField(max_length=8, choices=State.choices, default=State.RUNNING)
    reason = models.CharField(max_length=200, blank=True)
    failures = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)

    objects = ScopedManager.from_queryset(ReplayQuerySet)()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                "subscription", condition=models.Q(state="running"), name="replay_one_running_each_subscription"
            )
        ]
        indexes = [
            models.Index("tenant", models.F("id").desc(), name="replay_tenant_newest"),
            models.Index("subscription", models.F("id").desc(), name="replay_sub_newest"),
            models.Index("due_at", name="replay_due", condition=models.Q(state="running")),
        ]

    def __str__(self):
        return f"{self.subscription.name}: {self.describe()}"

    @classmethod
    def asked(
        cls,
        subscription: Subscription,
        kind: str,
        *,
        since: datetime | None = None,
        selection: dict | None = None,
        at: datetime | None = None,
    ) -> "Replay":
        """An unsaved one: it can be counted, and started. Raises WrongState unless the subscription is idle.

        `selection` has the parameters of the deliveries list; `missed` without `since` means since it was disabled.
        """
        if why_not := why_not_sent(subscription):
            raise WrongState(why_not)
        if kind == cls.Kind.MISSED and since is None:
            since = subscription.disabled_at
            if since is None:
                raise WrongState("The subscription was never disabled: say since when.")
        return cls(
            tenant_id=subscription.tenant_id,
            subscription=subscription,
            kind=kind,
            since=since,
            selection=selection or {},
            before=lowest_uuid7(at or timezone.now()),
        )

    def start(self, total: int, *, is_exact: bool, asked_by: str) -> None:
        """Begin, in the background. Raises WrongState where there is nothing to do, or one runs already."""
        if is_exact and not total:
            raise WrongState("There is nothing to replay.")
        self.total, self.total_is_exact, self.asked_by = total, is_exact, asked_by[:254]
        try:
            with transaction.atomic():
                self.save(force_insert=True)
        except IntegrityError:
            raise WrongState(
                "A replay to this subscription is running already: wait for its end, or stop it."
            ) from None
        transaction.on_commit(wake)

    def stop(self, reason: str) -> bool:
        """running → stopped. True if this call did it. A batch under way ends first; what it kept is sent."""
        return self.end(self.State.STOPPED, reason)

    def end(self, state: str, reason: str = "") -> bool:
        changed = (
            Replay.objects.running()
            .filter(pk=self.pk)
            .update(state=state, reason=reason[:200], ended_at=timezone.now(), waiting=[])
        )
        self.refresh_from_db(fields=["state", "reason", "ended_at", "waiting", "done", "total", "total_is_exact"])
        return bool(changed)

    def put_off(self, why: str) -> None:
        """A batch failed and changed nothing: try again later, later each time, and not for ever."""
        self.refresh_from_db(fields=["failures"])  # the batch may have set it to 0 before it failed
        self.failures += 1
        if self.failures >= MAX_FAILURES:
            self.end(self.State.FAILED, f"It could not go on ({why}).")
            return
        delay = min(timedelta(seconds=2**self.failures), MAX_DELAY)
        Replay.objects.running().filter(pk=self.pk).update(failures=self.failures, due_at=Now() + delay)

    def describe(self) -> str:
        """What it is about, in a few words."""
        moment = f"{self.since:%-d %b %Y, %H:%M} UTC" if self.since else ""
        if self.kind == self.Kind.EVENTS:
            return f"events since {moment}"
        if self.kind == self.Kind.MISSED:
            return f"what it missed since {moment}"
        if deliveries := self.selection.get("delivery"):
            return f"{len(deliveries)} chosen {'delivery' if len(deliveries) == 1 else 'deliveries'}"
        chosen = [", ".join(value) if isinstance(value, list) else str(value) for value in self.selection.values()]
        return f"deliveries ({'; '.join(chosen)})" if chosen else "all its deliveries"

    @property
    def is_running(self) -> bool:
        return self.state == self.State.RUNNING

    @property
    def waiting_count(self) -> int:
        return len(self.waiting)


def why_not_sent(subscription: Subscription) -> str:
    """Why it is sent nothing now, or an empty string."""
    if subscription.deleted_at:
        return "The subscription was deleted."
    if not subscription.tenant.webhooks:
        return "Webhooks are switched off for the workspace."
    if subscription.state != Subscription.State.IDLE:
        return f"The subscription is {subscription.state}: it is sent nothing until it is idle."
    return ""
