"""Mails about subscriptions that fail, or were disabled for it: what is in them. `events.mailing` sends them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import models
from django.db.models import Q
from django.template.loader import render_to_string
from django.urls import reverse

from events import mailing
from subscriptions.failing import DISABLED_AFTER


class FailingMail(mailing.OwedMail):
    """A mail to one person: sent at least once. `since` is when the failures began, where that is known."""

    class Moment(models.TextChoices):
        DAY_1 = "day_1"
        DAY_3 = "day_3"
        DISABLED = "disabled"

    subscription = models.ForeignKey("subscriptions.Subscription", on_delete=models.CASCADE, related_name="+")
    moment = models.CharField(max_length=8, choices=Moment.choices)
    happened_at = models.DateTimeField()
    since = models.DateTimeField(null=True)
    reason = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint("subscription", "user", "moment", "happened_at", name="failing_mail_once")
        ]
        indexes = [models.Index("due_at", name="failing_mail_due", condition=Q(sent_at=None))]

    def __str__(self):
        return f"{self.moment} {self.subscription_id}"

    @property
    def day(self) -> int | None:
        """1 or 3; None where it is about the end."""
        return None if self.moment == self.Moment.DISABLED else int(self.moment.removeprefix("day_"))


def in_days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def send_due(at: datetime | None = None) -> int:
    """Send what is due; how many were sent."""
    return mailing.send_due(_claimed, at)


def _claimed(now: datetime, limit: int) -> Sequence[mailing.Written]:
    mails = FailingMail.objects.claim(now, limit)
    chosen = FailingMail.objects.filter(pk__in=[mail.pk for mail in mails])
    full = chosen.select_related("subscription", "tenant").defer("subscription__url", "subscription__headers").in_bulk()
    address_of = mailing.addresses(mails)
    return [
        (mail, _message(full[mail.pk], address_of[mail.pk]) if mail.pk in address_of and mail.pk in full else None)
        for mail in mails
    ]


def _message(mail: FailingMail, address: str) -> EmailMessage:
    name = mail.subscription.name
    sentence = f"“{name}” was disabled" if mail.day is None else f"“{name}” has failed for {in_days(mail.day)}"
    context = {
        "sentence": sentence,
        "mail": mail,
        "subscription": mail.subscription,
        "tenant": mail.tenant,
        "disables_at": mail.since and mail.since + timedelta(days=DISABLED_AFTER),
        "url": settings.PORTAL_URL + reverse("subscription", args=[mail.subscription_id]),
    }
    return EmailMessage(
        subject=mailing.subject(f"[{mail.tenant.name}] {sentence}"),
        body=render_to_string("subscriptions/mail/failing.txt", context),
        to=[address],
    )
