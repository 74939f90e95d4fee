"""What the portal itself owes one subscription."""

from django.db import models
from django.utils import timezone

from tenants.models import TenantOwned
from vault.fields import SealedJSON


class Notice(TenantOwned):
    """A message that the portal itself owes one subscription: a confirmation link, a challenge or a test.

    The row is how it travels to `deliveries/`, which makes a delivery of it. The payload is
    sealed: a confirmation link is a secret until it was used, and so is a challenge.
    """

    class Kind(models.TextChoices):
        CONFIRMATION = "confirmation", "Confirmation link"
        TEST = "test", "Test event"
        CHALLENGE = "challenge", "Challenge"

    subscription = models.ForeignKey("subscriptions.Subscription", on_delete=models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    event_type = models.CharField(max_length=128)
    payload = SealedJSON()
    created_at = models.DateTimeField(default=timezone.now)
    routed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index("id", name="notice_unrouted", condition=models.Q(routed_at=None))]

    def __str__(self):
        return f"{self.kind} {self.id}"
