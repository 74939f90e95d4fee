"""Mails about episodes: what is in them. `events.mailing` says how they leave."""

from collections.abc import Sequence
from datetime import datetime

from django.core.mail import EmailMessage
from django.template.loader import render_to_string

from events import mailing
from events.alarms import AlarmMail
from events.health import summary
from events.watch import url_of


def send_due(at: datetime | None = None) -> int:
    """Send what is due; how many were sent."""
    return mailing.send_due(_claimed, at)


def _claimed(now: datetime, limit: int) -> Sequence[mailing.Written]:
    mails = AlarmMail.objects.claim(now, limit)
    chosen = AlarmMail.objects.filter(pk__in=[mail.pk for mail in mails]).select_related(
        "episode__alarm__source", "tenant"
    )
    full = {mail.pk: mail for mail in chosen}
    address_of = mailing.addresses(mails)
    return [
        (mail, _message(full[mail.pk], address_of[mail.pk]) if mail.pk in address_of and mail.pk in full else None)
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
        subject=mailing.subject(headline),
        body=render_to_string("events/mail/alarm.txt", context),
        to=[address],
    )
