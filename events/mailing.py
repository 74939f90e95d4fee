"""Mails that the portal owes people: a row for each, claimed, sent outside of any transaction, then settled.

At least once: whoever dies between sending and settling leaves the mail to be sent again. Who is told is settled when
it happens; which address they have, when it is sent.

Mail is a service of the deployment's own (Django's EMAIL_BACKEND), not `egress/`.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from smtplib import SMTPDataError, SMTPRecipientsRefused
from uuid import UUID

from allauth.account.models import EmailAddress
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import models
from django.db.models import Q
from django.utils import timezone

from tenants.models import Membership, TenantOwned
from tenants.permissions import Role
from tenants.scope import ScopedManager, system_scope

BATCH = 20
MAX_POSTINGS = 12  # of one mail, over the better part of a day
LEASE = timedelta(minutes=5)  # longer than a batch of mails may take
LONGEST_PAUSE = timedelta(hours=3)
GOING_AWAY = 421  # RFC 5321 section 4.2.3: the server has closed the connection
TOLD = (Role.OWNER, Role.ADMIN)

logger = logging.getLogger(__name__)


class OwedMailQuerySet(models.QuerySet):
    def due(self, at: datetime):
        return self.filter(sent_at=None, due_at__lte=at, postings__lt=MAX_POSTINGS)

    def claim(self, at: datetime, limit: int) -> list["OwedMail"]:
        """Up to `limit` that are due, taken for LEASE or longer: whoever dies with one leaves it to the next.

        The pause doubles with each posting. Call it in a transaction of its own.
        """
        claimed = list(self.due(at).select_for_update(skip_locked=True).order_by("due_at")[:limit])
        for mail in claimed:
            mail.postings += 1
            mail.due_at = at + min(LEASE * 2 ** (mail.postings - 1), LONGEST_PAUSE)
        self.bulk_update(claimed, ["postings", "due_at"])
        return claimed


class OwedMail(TenantOwned):
    """A mail to one person. What it is about and in which words is its heirs' business."""

    user = models.ForeignKey("tenants.User", on_delete=models.CASCADE, related_name="+")
    due_at = models.DateTimeField()
    postings = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)

    objects = ScopedManager.from_queryset(OwedMailQuerySet)()

    class Meta:
        abstract = True

    def settle(self, at: datetime) -> bool:
        """It was sent. Only if nobody has claimed it again meanwhile."""
        mine = type(self).objects.filter(pk=self.pk, postings=self.postings, sent_at=None)
        return bool(mine.update(sent_at=at))


Written = tuple[OwedMail, EmailMessage | None]


def send_due(claimed: Callable[[datetime, int], Sequence[Written]], at: datetime | None = None) -> int:
    """Send what is due; how many were sent. A mail server that fails ends the run: the rest waits for its turn.

    `claimed` takes up to so many mails, in the system's scope, and gives each with its message; None for one that is
    not to be sent any more.
    """
    sent = 0
    connection = get_connection()
    try:
        while batch := _in_scope(claimed, now := at or timezone.now()):
            for mail, message in batch:
                sent += _send(mail, message, connection, now)
    except OSError as error:  # smtplib's errors are OSErrors
        logger.warning("Mails could not be sent and are tried again later (%s).", error)
    finally:
        connection.close()
    return sent


def people(tenants: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """Owners and admins who can sign in and whose address is verified, by tenant."""
    verified = EmailAddress.objects.filter(verified=True).values("user")
    found: dict[UUID, list[UUID]] = {}
    for tenant_id, user_id in Membership.objects.filter(
        tenant__in=tenants, role__in=TOLD, user__is_active=True, user__in=verified
    ).values_list("tenant_id", "user_id"):
        found.setdefault(tenant_id, []).append(user_id)
    return found


def addresses(mails: Sequence[OwedMail]) -> dict[UUID, str]:
    """Where each mail goes, by its id; those of who has left or has no verified address any more are missing."""
    users = {mail.user_id for mail in mails}
    verified = EmailAddress.objects.filter(user__in=users, verified=True).order_by("primary")
    address_of = dict(verified.values_list("user_id", "email"))  # the primary one comes last, and stays
    wanted = Q(user__in=users, tenant__in={mail.tenant_id for mail in mails}, user__is_active=True)
    members = set(Membership.objects.filter(wanted).values_list("tenant_id", "user_id"))
    return {
        mail.pk: address_of[mail.user_id]
        for mail in mails
        if (mail.tenant_id, mail.user_id) in members and mail.user_id in address_of
    }


def subject(headline: str) -> str:
    """One line, whatever names stand in it."""
    return " ".join(headline.split())[:200]


def _in_scope(claimed: Callable[[datetime, int], Sequence[Written]], now: datetime) -> Sequence[Written]:
    with system_scope():
        return claimed(now, BATCH)


def _send(mail: OwedMail, message: EmailMessage | None, connection: BaseEmailBackend, now: datetime) -> bool:
    if message is not None:
        message.connection = connection
        try:
            message.send()
        except (SMTPRecipientsRefused, SMTPDataError) as error:  # which says nothing about the other mails
            if isinstance(error, SMTPDataError) and error.smtp_code == GOING_AWAY:
                raise
            logger.warning("The mail server refused mail %s or its recipient.", mail.pk)
            return False
    with system_scope():
        mail.settle(now)
    return message is not None
