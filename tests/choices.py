"""Expressions and payloads to choose by, kind and hostile."""

from sources.models import Source
from tenants.scope import tenant_scope

# Quadratic on a list that it makes itself: seconds, whatever it is asked about.
SLOW = "[0,1,2,3,4,5,6,7,8,9].map(a, " * 6 + "0" + ")" * 6 + ".size() > 0"
DOUBLING = "['aaaaaaaaaaaaaaaa']" + ".map(x, x + x)" * 60 + "[0].size() > 1"
HOSTILE = {
    "nested comprehensions": SLOW,
    "nested over the payload": "payload.all(x, payload.all(y, payload.all(z, x + y + z >= 0)))",
    "quadratic map": "size(payload.map(x, x + 1)) > 0",
    "quadratic filter": "size(payload.filter(x, x >= 0)) > 0",
    "a text that doubles": DOUBLING,
    "a list that doubles": DOUBLING.replace("'aaaaaaaaaaaaaaaa'", "[1, 1]"),
    "a large regular expression for each item": "payload.all(x, !string(x).matches('(a{0,100}){0,90}b'))",
}

EXPRESSIONS = [
    "",
    "payload.amount > 10",
    "has(payload.amount) && payload.amount > 10",
    "payload == null || has(payload.items)",
    'payload.items.exists(item, item.sku.startsWith("A"))',
    'event.source == "Shop" || event.severity == "high"',
    "event.type.matches('paid$')",
    "payload.amount",
    "payload.amount + 1 == 13",
    "event.occurred_at > timestamp('2020-01-01T00:00:00Z')",
]
PAYLOADS = [
    b'{"amount": 12}',
    b'{"amount": 9.5}',
    b'{"amount": "twelve", "items": [{"sku": "A1"}, {"sku": "B2"}]}',
    b'{"items": []}',
    b"[1, 2, 3]",
    b"null",
    b'"text"',
    b'{"amount": 123456789012345678901234567890}',
    b"none",
]


def a_source(tenant, name: str, **fields) -> Source:
    with tenant_scope(tenant.pk):
        return Source.objects.create(tenant=tenant, name=name, auth_method="none", **fields)
