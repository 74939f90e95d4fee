"""Mails about episodes: claimed, sent outside of any transaction, then settled. At least once: whoever dies between
sending and settling leaves the mail to be sent again.

Mail is a service of the deployment's own (Django's EMAIL_BACKEND), not `egress/`.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from smtplib import SMTPDataError, SMTPRecipientsRefused

from allauth.account.models import EmailAddress
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db.models import Q
from django.template.loader import render_to_string
from django.utils import timezone

from events.alarms import AlarmMail
from events.health import summary
from events.watch import url_of
from tenants.models import Membership
from tenants.scope import system_scope

BATCH = 20
GOING_AWAY = 421  # RFC 5321 section 4.2.3: the server has closed the connection

logger = logging.getLogger(__name__)


def send_due(at: datetime | None = None) -> int:
    """Send what is due; how many were sent. A mail server that fails ends the run: the rest waits for its turn."""
    sent = 0
    connection = get_connection()
    try:
        while claimed := _claimed(now := at or timezone.now()):
            for mail, message in claimed:
                sent += _send(mail, message, connection, now)
    except OSError as error:  # smtplib's errors are OSErrors
        logger.warning("Mails about alarms could not be sent and are tried again later (%s).", error)
    finally:
        connection.close()
    return sent


def _send(mail: AlarmMail, message: EmailMessage | None, connection: BaseEmailBackend, now: datetime) -> bool:
    if message is not None:
        message.connection = connection
        try:
            message.send()
        except (SMTPRecipientsRefused, SMTPDataError) as error:  # which says nothing about the other mails
            if isinstance(error, SMTPDataError) and error.smtp_code == GOING_AWAY:
                raise
            logger.warning("The mail server refused mail %s about an alarm or its recipient.", mail.pk)
            return False
    with system_scope():
        mail.settle(now)
    return message is not None


def _claimed(now: datetime) -> list[tuple[AlarmMail, EmailMessage | None]]:
    with system_scope():
        return _written(AlarmMail.objects.claim(now, BATCH))


def _written(mails: Sequence[AlarmMail]) -> list[tuple[AlarmMail, EmailMessage | None]]:
    """Each with its message; None for who has left or has no verified address any more."""
    chosen = AlarmMail.objects.filter(pk__in=[mail.pk for mail in mails]).select_related(
        "episode__alarm__source", "tenant"
    )
    full = {mail.pk: mail for mail in chosen}
    users = {mail.user_id for mail in mails}
    addresses = EmailAddress.objects.filter(user__in=users, verified=True).order_by("primary")
    address_of = dict(addresses.values_list("user_id", "email"))  # the primary one comes last, and stays
    wanted = Q(user__in=users, tenant__in={mail.tenant_id for mail in mails}, user__is_active=True)
    members = set(Membership.objects.filter(wanted).values_list("tenant_id", "user_id"))
    return [
        (mail, _message(full[mail.pk], address_of[mail.user_id]))
        if (mail.tenant_id, mail.user_id) in members and mail.user_id in address_of and mail.pk in full
        else (mail, None)
        for mail in mails
    ]


def _message(mail: AlarmMail, address: str) -> EmailMessage:
    episode = mail.episode
    alarm, source = episode.alarm, episode.alarm.source
    is_over = mail.moment == AlarmMail.Moment.CLEARED
    words = summary(alarm.kind, episode.bounds, is_over=is_over, counted=episode.counted, failed=episode.failed)
    sentence = f"“{source.name}” {words}"
    context = {
        "sentence": sentence,
        "is_over": is_over,
        "episode": episode,
        "alarm": alarm,
        "source": source,
        "tenant": mail.tenant,
        "url": url_of(source.pk),
    }
    headline = f"[{mail.tenant.name}] {'Resolved: ' if is_over else ''}{sentence.removesuffix('.')}"
    return EmailMessage(
        subject=" ".join(headline.split())[:200],
        body=render_to_string("events/mail/alarm.txt", context),
        to=[address],
    )
