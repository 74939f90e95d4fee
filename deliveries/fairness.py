"""Who may have how many requests under way (B8). Pure.

A tenant may take as many places as remain free, so one whose receivers hang settles at half of them, two at a third
each, and there is always room for somebody who has none. A subscription has a bound besides. Nobody's share has to be
configured, and a tenant alone has what it needs. All together may hold so many bytes of messages.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

PLACES = 768
OF_ONE_SUBSCRIPTION = 384
BATCH = 200
MOST_BYTES = 64_000_000
WORTH_A_CLAIM = 32  # fewer are not asked for while others are under way
LOOK_SECONDS = 0.1


class Claimed(Protocol):
    """A claim, or the head of a line."""

    @property
    def tenant_id(self) -> Any: ...
    @property
    def subscription_id(self) -> Any: ...


class Others(NamedTuple):
    """All but these tenants and subscriptions."""

    tenants: Sequence[Any] = ()
    subscriptions: Sequence[Any] = ()

    def and_these(self, subscriptions: Iterable[Any]) -> "Others":
        """These left out as well."""
        return self._replace(subscriptions=[*self.subscriptions, *subscriptions])


EVERYBODY = Others()


class Places:
    """What is under way. `take` and `free` one place of a subscription and its tenant, and so many bytes."""

    def __init__(
        self,
        places: int = PLACES,
        of_one_subscription: int = OF_ONE_SUBSCRIPTION,
        batch: int = BATCH,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.places = places
        self._of_one = of_one_subscription
        self._batch = batch
        self._most_bytes = most_bytes
        self._bytes = 0
        self._usual_bytes = 1000.0  # what a message has, of late
        self.taken = 0
        self._tenants: Counter[Hashable] = Counter()
        self._subscriptions: Counter[Hashable] = Counter()

    def take(self, tenant: Hashable, subscription: Hashable, size: int = 0) -> None:
        self.taken += 1
        self._bytes += size
        self._usual_bytes += (size - self._usual_bytes) / 16
        self._tenants[tenant] += 1
        self._subscriptions[subscription] += 1

    def free(self, tenant: Hashable, subscription: Hashable, size: int = 0) -> None:
        self.taken -= 1
        self._bytes -= size
        for counter, name in ((self._tenants, tenant), (self._subscriptions, subscription)):
            counter[name] -= 1
            if counter[name] <= 0:
                del counter[name]

    @property
    def are_heavy(self) -> bool:
        """Whether those under way hold as many bytes as they may."""
        return self._bytes >= self._most_bytes

    def offer(self) -> tuple[int, Others]:
        """How many more to claim, of all but those who have their share.

        Even if all of them were one tenant's or one subscription's, it would have no more than its share.
        """
        free = self.places - self.taken
        least = max(1, min(WORTH_A_CLAIM, free // 4))
        tenants = [name for name, count in self._tenants.items() if count + 2 * least > free]
        subscriptions = [name for name, count in self._subscriptions.items() if count + least > self._of_one]
        if free < 2:
            return 0, Others(tenants, subscriptions)
        most_of_a_tenant = max((c for t, c in self._tenants.items() if c + 2 * least <= free), default=0)
        most_of_one = max((c for s, c in self._subscriptions.items() if c + least <= self._of_one), default=0)
        fitting = max(int((self._most_bytes - self._bytes) / max(self._usual_bytes, 1)), 0 if self.taken else 1)
        room = min(self._batch, (free - most_of_a_tenant) // 2, self._of_one - most_of_one, fitting)
        return room, Others(tenants, subscriptions)


class VainLook:
    """A claim of all but some that found nothing: it need not be made again because places of those become free.

    It holds until there is news, or LOOK_SECONDS are over, since time alone makes things due. `now` is in seconds.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """There is news."""
        self._until = float("-inf")
        self._tenants: frozenset[Any] = frozenset()
        self._subscriptions: frozenset[Any] = frozenset()

    def begin(self, others: Others, now: float) -> None:
        """All but some are looked for, and as long as nothing is `found`, in vain."""
        self._until = now + LOOK_SECONDS
        self._tenants, self._subscriptions = frozenset(others.tenants), frozenset(others.subscriptions)

    def found(self, claims: Iterable[Claimed]) -> None:
        """These were due. Of those who were left out it says nothing new."""
        if not all(one.subscription_id in self._subscriptions or one.tenant_id in self._tenants for one in claims):
            self.forget()

    def holds_for(self, others: Others, now: float) -> bool:
        """Whether a claim of these would be in vain as well: nobody is among them that was left out."""
        return (
            now < self._until
            and self._tenants.issubset(others.tenants)
            and self._subscriptions.issubset(others.subscriptions)
        )
