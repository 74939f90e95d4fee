"""The link by which somebody joins, and the mail that brings it."""

import logging

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse

from tenants.actors import Actor
from tenants.models import AuditEntry, Invitation, Membership, User

log = logging.getLogger(__name__)


def link(token: str) -> str:
    return settings.PORTAL_URL + reverse("invitation", args=[token])


def send_on_commit(invitation: Invitation, url: str) -> None:
    """Mail the link once the invitation is kept. Mail is a service of the deployment's own, not `egress/`.

    Whoever invited holds the link too, so a mail server that fails costs a line in the log, not the invitation.
    """
    message = EmailMessage(
        subject=f"Join {_one_line(invitation.tenant.name)} on Portcullis",
        body=render_to_string("tenants/mail/invitation.txt", {"invitation": invitation, "url": url}),
        to=[invitation.email],
    )

    def send() -> None:
        try:
            message.send()
        except OSError as error:  # smtplib's errors are OSErrors
            log.warning("The invitation %s could not be mailed (%s).", invitation.pk, error)

    transaction.on_commit(send)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def account_of(email: str) -> User | None:
    """Whoever signs in with this address."""
    verified = EmailAddress.objects.filter(email__iexact=email, verified=True).select_related("user").first()
    return verified.user if verified else User.objects.filter(email=email.lower()).first()


def is_for(invitation: Invitation, user: User) -> bool:
    account = account_of(invitation.email)
    return account is not None and account.pk == user.pk


def register(invitation: Invitation, *, name: str, password: str, address: str) -> Membership | None:
    """An account for the invited address, and its place in the tenant. None if the link was used meanwhile."""
    user = User.objects.create_user(invitation.email, password, name=name)
    return join(invitation, user, address=address)


def join(invitation: Invitation, user: User, *, address: str) -> Membership | None:
    """Accept for `user`; the address counts as verified, since the link came to it. None if it was used meanwhile."""
    membership = invitation.accept(user)
    if membership is None:
        return None
    EmailAddress.objects.update_or_create(
        user=user,
        email=invitation.email,
        defaults={"verified": True},
    )
    actor = Actor(kind="user", label=user.email, identifier=user.pk, tenant=invitation.tenant, address=address)
    AuditEntry.record(actor, "invitation.accepted", membership, {"role": [None, membership.role]})
    return membership
