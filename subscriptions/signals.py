"""What other rooms are told of a subscription, in the transaction that changes it."""

from django.dispatch import Signal

disabled = Signal()  # subscription: as it is from now on
