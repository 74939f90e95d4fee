"""A receiver that fails: since when, when that is told, and when it is left alone.

One short row a subscription, there from the first failure until a success takes it away: who is well costs nothing.
`deliveries.breaker` writes it; the rules are here.

**The breaker** spares a receiver that is down, and the workers. OPENS_AFTER failures within WINDOW and no success
between them open it: what is due is put off. When the cool-down is over, one delivery is sent as a probe. A success
closes the breaker; a failure opens it again, for twice as long, up to LONGEST_COOL_DOWN. What was put off stands in a
line, BACKLOG_PER_SECOND of them a second from the end of the cool-down on, so that a backlog does not come out in one
instant. The line is all that a long outage costs: so many claims a second, however long the line is.

**The count of days** runs from the first failure since the last success, and is only looked at when something fails:
silence is no failure. Where nothing was sent for SILENCE it begins anew. After the days in WARNED_AFTER it is told,
after DISABLED_AFTER the subscription is disabled: each once, because the row is locked when it is written.

A row is about its subscription in one state: what became of it before it was enabled again, or had another URL, says
nothing. `state_changed_at` tells, so that whoever changes the subscription need not wait for this row.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from tenants.models import Tenant
from tenants.scope import ScopedManager

OPENS_AFTER = 5  # failures
WINDOW = timedelta(minutes=1)
COOL_DOWN = timedelta(seconds=30)
LONGEST_COOL_DOWN = timedelta(minutes=10)
BACKLOG_PER_SECOND = 100
RETRY_WHILE_PROBING = timedelta(seconds=1)
WARNED_AFTER = (1, 3)  # days
DISABLED_AFTER = 5
SILENCE = timedelta(days=2)


class Breaker(StrEnum):
    """closed: sent as usual; open: put off; probing: the next delivery shows whether it closes."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


BREAKER_STATES = [(one.value, one.value.capitalize()) for one in Breaker]


class Failing(models.Model):
    """Of one subscription: how its receiver fails. Read it through `subscription.trouble`, never directly.

    `recent` are the moments of the latest failures while the breaker is closed. `probe` is the delivery that was sent
    to try, until `probe_until`: a worker that dies with it leaves the next attempt to another. `line_end` is when the
    last one that was put off comes out.
    """

    subscription = models.OneToOneField(
        "subscriptions.Subscription", primary_key=True, on_delete=models.CASCADE, related_name="failing"
    )
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, db_index=False, related_name="+")
    state_changed_at = models.DateTimeField()
    since = models.DateTimeField()
    last_failed_at = models.DateTimeField()
    warned_days = models.PositiveSmallIntegerField(default=0)
    recent = ArrayField(models.DateTimeField(), default=list)
    opened_at = models.DateTimeField(null=True)
    open_until = models.DateTimeField(null=True)
    cool_down = models.DurationField(null=True)
    probe = models.UUIDField(null=True)
    probe_until = models.DateTimeField(null=True)
    line_end = models.DateTimeField(null=True)

    objects = ScopedManager()

    class Meta:
        verbose_name_plural = "failing"

    def __str__(self):
        return f"{self.subscription_id} since {self.since}"

    # What people see -----------------------------------------------------------------------------

    def breaker(self, at: datetime | None = None) -> Breaker:
        if self.opened_at is None:
            return Breaker.CLOSED
        return Breaker.OPEN if (at or timezone.now()) < self.open_until else Breaker.PROBING

    @property
    def disables_at(self) -> datetime:
        """When the subscription is disabled if it goes on failing until then."""
        return self.since + timedelta(days=DISABLED_AFTER)

    # What becomes of it --------------------------------------------------------------------------

    def begin(self, state_changed_at: datetime, at: datetime) -> None:
        """As new: the first failure."""
        self.state_changed_at, self.since, self.last_failed_at = state_changed_at, at, at
        self.warned_days = 0
        self._close()

    def failed(self, delivery: UUID, at: datetime, *, is_refusal: bool) -> None:
        """One more failure. `is_refusal`: the receiver was there and refused the message itself, for good.

        That counts for the days, and says nothing against sending the next one.
        """
        if at - self.last_failed_at > SILENCE:
            self.since, self.warned_days = at, 0
        self.last_failed_at = max(self.last_failed_at, at)
        if is_refusal:
            if delivery == self.probe or self.opened_at is None:
                self._close()
        elif self.opened_at is None:
            self.recent = [*(one for one in self.recent if one > at - WINDOW), at][-OPENS_AFTER:]
            if len(self.recent) == OPENS_AFTER:
                self._open(at, COOL_DOWN)
        elif delivery == self.probe:
            self._open(at, min(2 * self.cool_down, LONGEST_COOL_DOWN))
        # Else it was sent before the breaker opened, or is a test: nothing new.

    def give_up_probe(self, delivery: UUID) -> None:
        """It could not even be sent: the next one tries."""
        if delivery == self.probe:
            self.probe = self.probe_until = None

    def try_now(self, at: datetime) -> None:
        """A person asks: end the cool-down, so that the next delivery is the probe."""
        self.open_until = at
        self.probe = self.probe_until = self.line_end = None

    def next_step(self, at: datetime) -> int | None:
        """After how many days something is to be told, or done, now; None if nothing is."""
        reached = [day for day in (*WARNED_AFTER, DISABLED_AFTER) if at - self.since >= timedelta(days=day)]
        return reached[-1] if reached and reached[-1] > self.warned_days else None

    def _open(self, at: datetime, cool_down: timedelta) -> None:
        self.recent = []
        self.opened_at = self.opened_at or at
        self.cool_down, self.open_until = cool_down, at + cool_down
        self.probe = self.probe_until = self.line_end = None

    def _close(self) -> None:
        self.recent = []
        self.opened_at = self.open_until = self.cool_down = None
        self.probe = self.probe_until = self.line_end = None
