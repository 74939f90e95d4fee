"""What receiving and searching cost when much is stored already: nothing, 1 M and 10 M events.

Events are loaded in bulk by the database itself, over ten days up to now, with their receipts; small bodies. Every
filter of the events page is then asked as a person would, over HTTP, signed in.
"""

import re
import statistics
import time
from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import psycopg

from bench.stage import Server, Stage, load

LEVELS = (1_000_000, 10_000_000)
CHUNK = 500_000
TURNS = 5
SECONDS = 3
PASSWORD = "a passphrase for the bench"  # noqa: S105 (of a throw-away portal)

# A UUIDv7 of a moment: 48 bits of milliseconds, version and variant, the rest random.
_LOAD = """
    WITH made AS (
        SELECT n, %(now)s - (n::float8 / %(count)s) * 864000000 AS ms, md5(n::text || clock_timestamp()) AS hash
        FROM generate_series(%(first)s, %(last)s) AS n
    ), named AS (
        SELECT n, (lpad(to_hex(floor(ms)::bigint), 12, '0') || '7' || substr(hash, 1, 3) || '8'
            || substr(hash, 4, 15))::uuid AS id FROM made
    ), body AS (
        SELECT n, id, format('{"type": "order.%%s", "user": {"id": %%s}, "note": "%%s"}',
            (ARRAY['created', 'paid', 'shipped'])[1 + n %% 3], n %% 100000, md5(n::text)) AS text FROM named
    )
    INSERT INTO events_event (id, tenant_id, source_id, receipt_id, type, severity, content_type, body,
        body_is_data, data_problem, title, schema_problem)
    SELECT id, %(tenant)s, %(source)s, id, CASE WHEN n %% 100000 = 0 THEN 'rare.thing' ELSE
            'order.' || (ARRAY['created', 'paid', 'shipped'])[1 + n %% 3] END,
        CASE WHEN n %% 50000 = 0 THEN 'high' ELSE 'low' END, 'application/json', convert_to(text, 'UTF8'), true,
        '', '', ''
    FROM body
"""

SEARCHES: dict[str, dict[str, str]] = {
    "newest": {},
    "last 30 days": {"range": "30d"},
    "a type": {"type": "order.paid"},
    "a rare type": {"type": "rare.thing", "range": "30d"},
    "no such type": {"type": "no.such", "range": "30d"},
    "a rare severity": {"severity": "high", "range": "30d"},
    "field = value": {"where": "user.id=4242", "range": "30d"},
    "no such value": {"where": "user.id=-1", "range": "30d"},
    "words": {"q": "paid", "range": "30d"},
    "no such words": {"q": "there-is-no-such-word", "range": "30d"},
    "words and type": {"q": "there-is-no-such-word", "type": "order.paid", "range": "30d"},
}


class Reader:
    """Somebody signed in who reads pages."""

    def __init__(self, server: Server, email: str) -> None:
        self.root = f"http://127.0.0.1:{server.address[1]}"
        self.opener = build_opener(HTTPCookieProcessor(CookieJar()))
        page = self.get("/accounts/login/")[1]
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        fields = {"csrfmiddlewaretoken": token[1] if token else "", "login": email, "password": PASSWORD}
        self.opener.open(
            Request(  # noqa: S310 (loopback)
                f"{self.root}/accounts/login/", urlencode(fields).encode(), {"Referer": f"{self.root}/accounts/login/"}
            )
        ).read()

    def get(self, path: str) -> tuple[float, str]:
        """(seconds, page)"""
        begin = time.perf_counter()
        page = self.opener.open(f"{self.root}{path}", timeout=60).read().decode()
        return time.perf_counter() - begin, page


def growth(here: Stage, bare: Server, door: Server, path: str, say) -> dict:
    """`growth_10m`: how much of the bare limit the door reaches with next to nothing stored, over what it reaches with
    10 M. The bare limit's own table stays small: it is there to tell a slow machine from a slow door.
    """
    from sources.models import Source
    from tenants.models import Membership, User
    from tenants.scope import system_scope

    email = "reader@bench.example"
    with system_scope():
        source = Source.objects.get(ingest_key=path.rpartition("/")[2])
        user = User.objects.create_user(email, PASSWORD)
        Membership.objects.create(tenant_id=source.tenant_id, user=user, role="viewer")
    requests = here.directory / "800.requests"
    reader = Reader(door, email)

    def posts(when: str) -> float:
        pairs = [
            [load(one, requests, connections=64, seconds=SECONDS)["rps"] for one in (door, bare)] for _ in range(TURNS)
        ]
        share = statistics.median(ours / limit for ours, limit in pairs)
        say(f"{when}: {statistics.median(ours for ours, _ in pairs):.0f} posts/s, {share:.2f} of the bare limit")
        return share

    empty = posts("with next to nothing stored")
    stored, slowest, rates = 0, {}, {}
    for level in LEVELS:
        fill(here, source, stored, level)
        say(f"{level:,} events stored ({size_of(here)})")
        stored = level
        slowest[level] = searches(reader, say)
        rates[level] = posts(f"with {level:,} stored")
    again = rates[LEVELS[-1]]
    return {
        "growth_10m": round(empty / again, 3),
        "search_growth": round(slowest[LEVELS[-1]] / slowest[LEVELS[0]], 2),
    }


def fill(here: Stage, source, first: int, last: int) -> None:
    now = time.time() * 1000
    with psycopg.connect(here.database, autocommit=True) as connection:
        connection.execute("SET app.tenant = '*'")
        connection.execute("SET synchronous_commit = off")
        make_partitions(connection)
        for begin in range(first + 1, last + 1, CHUNK):
            connection.execute(
                _LOAD,
                {
                    "now": now, "count": last, "first": begin, "last": min(begin + CHUNK - 1, last),
                    "tenant": source.tenant_id, "source": source.pk,
                },
            )  # fmt: skip
        connection.execute("ANALYZE events_event")


def make_partitions(connection: psycopg.Connection) -> None:
    """The days before yesterday, which the portal itself made when they were today."""
    from datetime import timedelta

    from django.utils import timezone

    from events.partitions import ensure_partitions

    for days in range(2, 12):
        ensure_partitions(timezone.now() - timedelta(days=days), ahead=0)


def size_of(here: Stage) -> str:
    with psycopg.connect(here.database) as connection:
        row = connection.execute("SELECT pg_size_pretty(pg_database_size(current_database()))").fetchone()
    return row[0] if row else ""


def searches(reader: Reader, say) -> float:
    """The median seconds of the slowest search."""
    took = {}
    for name, parameters in SEARCHES.items():
        reader.get(f"/events/?{urlencode(parameters)}")
        took[name] = statistics.median(reader.get(f"/events/?{urlencode(parameters)}")[0] for _ in range(TURNS))
        say(f"    {name:16} {took[name] * 1000:8.0f} ms")
    return max(took.values())
