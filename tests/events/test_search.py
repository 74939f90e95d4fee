"""The search (P17) against a plain reading of the same events in Python: every filter alone, and every two together."""

import itertools
import json
import random
import uuid
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.http import QueryDict
from django.utils import timezone

from events import looking, search
from events.arrivals import KeptEvent
from events.division import projection
from events.looking import Budget, page_of_search
from events.models import Event, Receipt
from events.search import EventFilter
from events.store import insert_events
from events.streams import split
from sources.models import Source
from tenants.ids import lowest_uuid7, time_of, uuid7
from tenants.models import Site
from tenants.scope import system_scope, tenant_scope

pytestmark = pytest.mark.spec("P17")

COUNT = 150
TYPES = ["order.paid", "order.created", "door.opened", "door", "50%_off.x"]
WORDS = ["Ada", "müde", "100%", "a_b", "日本", "back\\slash", 'quo"te', "'; DROP TABLE events_event; --"]


def made_at(moment, dice) -> uuid.UUID:
    """A UUIDv7 of that moment, with the rest out of `dice`."""
    value = lowest_uuid7(moment).int | 7 << 76 | 2 << 62 | dice.getrandbits(12) << 64 | dice.getrandbits(62)
    return uuid.UUID(int=value)


FORMS = {  # of the same payload: as the only copy of it, or beside a projection
    "projected": None,
    "escaped": {},
    "as it is": {"ensure_ascii": False},
    "compact": {"ensure_ascii": False, "separators": (",", ":")},
    "spread": {"ensure_ascii": False, "indent": "\t"},
}


def kept_as(form: str, data: object) -> dict:
    """Columns of an event with this payload. Null is never its own projection."""
    if FORMS[form] is None or data is None:
        return {"body": json.dumps(data).encode(), "data": data}
    return {"body": json.dumps(data, **FORMS[form]).encode(), "body_is_data": True}


def payload(dice, number: int) -> object:
    if number % 17 == 0:
        return dice.choice([[1, 2, {"deep": "x"}], "only text", 42, None])
    return {
        "user": {"id": dice.choice([41, 42, "42", 42.0, True, None, "Ada"]), "name": dice.choice(WORDS)},
        "items": [{"sku": f"A-{dice.randrange(4)}"} for _ in range(dice.randrange(3))],
        "odd.name=x": dice.randrange(3),
        "n": dice.choice([1, 1.5, "1.5", "true", True, False, "null"]),
    }


@pytest.fixture
def world(cast):
    """COUNT events of one tenant over twenty hours, and as many of another that must never be found."""
    dice = random.Random(7)  # noqa: S311
    now = timezone.now()
    made = []
    for tenant in (cast.tenant, cast.other_tenant):
        with tenant_scope(tenant.pk):
            sources = [Source.objects.create_with_secret(tenant, None, f"S{n}", "none", {})[0] for n in range(2)]
            sites = [Site.objects.create(tenant=tenant, name=f"Plant {n}") for n in range(2)]
            rows = []
            for number in range(COUNT):
                data = payload(dice, number)
                problem = "Nested too deep." if number % 13 == 0 else ""
                moment = now - timedelta(hours=20) * dice.random()
                receipt = made_at(moment, dice)
                rows.append(
                    Event(
                        id=made_at(moment + timedelta(milliseconds=3), dice),
                        tenant=tenant,
                        source=dice.choice([*sources, None]),
                        receipt_id=receipt,
                        site=dice.choice([*sites, None]),
                        type=dice.choice(TYPES),
                        severity=dice.choice(["low", "medium", "high"]),
                        content_type="application/json",
                        data_problem=problem,
                        title=dice.choice(["", "A door", "Rechnung bezahlt"]),
                        **({"body": b"[[["} if problem else kept_as(list(FORMS)[number % len(FORMS)], data)),
                    )
                )
            Event.objects.bulk_create(rows)
            made.append(SimpleNamespace(tenant=tenant, sources=sources, sites=sites, rows=rows, now=now))
    return made[0]


# ── The oracle ───────────────────────────────────────────────────────────────────────────────────────────────────────


def at(data, path):
    """(found, value) of a path, as `events.conditions` describes paths."""
    for name in path:
        if isinstance(data, dict) and name in data:
            data = data[name]
        elif isinstance(data, list) and name.lstrip("-").isdigit() and -len(data) <= int(name) < len(data):
            data = data[int(name)]
        else:
            return False, None
    return True, data


def says(value, text) -> bool:
    """Does a JSON value say what a condition's value says?"""
    if text[:1] == text[-1:] == '"' and len(text) > 1:
        return value == text[1:-1] and isinstance(value, str)
    if isinstance(value, bool) or value is None:
        return text == json.dumps(value)
    if isinstance(value, int | float):
        try:
            return Decimal(text) == Decimal(str(value))
        except ArithmeticError:
            return False
    return isinstance(value, str) and value == text


def holds(row, condition) -> bool:
    path, operator, value = condition
    found, there = at(row.payload, path)
    return {
        "=": found and says(there, value),
        "!=": not (found and says(there, value)),
        "exists": found,
        "absent": not found,
    }[operator]


def has_words(row, words) -> bool:
    text = "\n".join([row.type, row.title, "" if row.data_problem else json.dumps(row.payload, ensure_ascii=False)])
    return all(word.lower() in text.lower() for word in words.split())


FILTERS = [
    *(("type", value, lambda row, value=value: row.type == value) for value in [*TYPES, "nope"]),
    ("type", "order.*", lambda row: row.type.startswith("order.")),
    ("type", "50%_*", lambda row: row.type.startswith("50%_")),
    *(("severity", value, lambda row, value=value: row.severity == value) for value in ("low", "high")),
    ("parsed", "true", lambda row: not row.data_problem),
    ("parsed", "false", lambda row: bool(row.data_problem)),
    *(
        ("q", word, lambda row, word=word: has_words(row, word))
        for word in ("ada", "ORDER ada", "müde", "日本", "%", "_")
    ),
    ("q", "rechnung 42", lambda row: has_words(row, "rechnung 42")),
    ("q", "zzzz", lambda row: False),
    *(
        ("where", written, lambda row, condition=condition: holds(row, condition))
        for written, condition in [
            ("user.id=42", (("user", "id"), "=", "42")),
            ("user.id=42.00", (("user", "id"), "=", "42.00")),
            ('user.id="42"', (("user", "id"), "=", '"42"')),
            ("user.id=true", (("user", "id"), "=", "true")),
            ("user.id=null", (("user", "id"), "=", "null")),
            ("user.id!=42", (("user", "id"), "!=", "42")),
            ("user.name=müde", (("user", "name"), "=", "müde")),
            ("user.name=back\\slash", (("user", "name"), "=", "back\\slash")),
            ('user.name=quo"te', (("user", "name"), "=", 'quo"te')),
            (f"user.name={WORDS[-1]}", (("user", "name"), "=", WORDS[-1])),
            ("items.0.sku=A-1", (("items", "0", "sku"), "=", "A-1")),
            ("items.-1.sku=A-1", (("items", "-1", "sku"), "=", "A-1")),
            ("items.1", (("items", "1"), "exists", "")),
            ("!items.0", (("items", "0"), "absent", "")),
            ("odd\\.name\\=x=2", (("odd.name=x",), "=", "2")),
            ("n=1.5", (("n",), "=", "1.5")),
            ("n!=true", (("n",), "!=", "true")),
            ("nowhere", (("nowhere",), "exists", "")),
            ("2.deep=x", (("2", "deep"), "=", "x")),
        ]
    ),
]
ALONE = [(name, value, fits) for name, value, fits in FILTERS]
# Of each parameter the ones that find neither nothing nor nearly all.
TELLING = {"order.*", "door", "high", "true", "ada", "rechnung 42", "user.id=42", "user.id!=42", "items.1", "n!=true"}
PAIRS = [
    (one, other)
    for one, other in itertools.combinations([one for one in FILTERS if one[1] in TELLING], 2)
    if one[0] != other[0] or one[0] == "where"
]


def found_by(world, query: str) -> list[uuid.UUID]:
    """Every page of a search, put together."""
    with tenant_scope(world.tenant.pk):
        wanted = EventFilter(QueryDict(query), queryset=Event.objects.all())
        assert not wanted.errors, wanted.errors
        ids, before = [], None
        while True:
            page = page_of_search(wanted, 25, before=before)
            ids += [row.pk for row in page.rows]
            if page.older is None:
                return ids
            before = page.older


def expected(world, *fits) -> list[uuid.UUID]:
    return sorted((row.pk for row in world.rows if all(one(row) for one in fits)), reverse=True)


@pytest.fixture
def small_slices(monkeypatch):
    """Many slices, and a budget that one search of all rows does not come out with."""
    monkeypatch.setattr(looking, "FIRST_SLICE", 7)
    monkeypatch.setattr(looking, "GROWTH", 3)
    monkeypatch.setattr(looking, "PAGE", Budget(60, 60.0))


def test_every_filter_alone(world, small_slices):
    for name, value, fits in ALONE:
        assert found_by(world, urlencode([(name, value)])) == expected(world, fits), f"{name}={value}"


def test_every_two_filters(world, small_slices):
    found = 0
    for (name, value, fits), (other, text, also) in PAIRS:
        query = urlencode([(name, value), (other, text)])
        ids = found_by(world, query)
        assert ids == expected(world, fits, also), query
        found += bool(ids)
    assert found > len(PAIRS) / 2  # an oracle that expects nothing proves nothing


def test_ranges_of_the_index(world, small_slices):
    source, site = world.sources[0], world.sites[1]
    since, until = world.now - timedelta(hours=9), world.now - timedelta(hours=2)
    since, until = (moment.replace(microsecond=0) for moment in (since, until))
    ranges = {
        f"source={source.pk}": lambda row: row.source_id == source.pk,
        f"site={site.pk}": lambda row: row.site_id == site.pk,
        urlencode({"since": since.isoformat()}): lambda row: time_of(row.pk) >= since,
        urlencode({"until": until.isoformat()}): lambda row: time_of(row.pk) < until,
        f"receipt={world.rows[5].receipt_id}": lambda row: row.receipt_id == world.rows[5].receipt_id,
        f"q={world.rows[6].pk}": lambda row: row is world.rows[6],
        f"q={world.rows[7].receipt_id}": lambda row: row is world.rows[7],
    }
    for query, fits in ranges.items():
        assert found_by(world, query) == expected(world, fits), query
        for name, value, also in ALONE:
            if value in TELLING and (name != "q" or not query.startswith("q=")):
                both = f"{query}&{urlencode([(name, value)])}"
                assert found_by(world, both) == expected(world, fits, also), both


def test_of_another_tenant_nothing_is_found(world, cast):
    with tenant_scope(cast.other_tenant.pk):
        wanted = EventFilter(QueryDict(f"source={world.sources[0].pk}"), queryset=Event.objects.all())
        assert page_of_search(wanted, 50).rows == []


# ── Payloads that are kept once ──────────────────────────────────────────────────────────────────────────────────────

BODIES = [
    '{"id":42}', '{"id":42.0}', '{"id": 42.00 }', '{"id":\t42,"a":1}', '{"id"\n:\r\n"42"}', '{"id":-42}', '{"id":420}',
    '{"id":0}', '{"id":-0}', '{"id":0.0}', '{"id":-0.000}', '{"id":1.5}', '{"id":1.50}', '{"id":15}', '{"id":0.5}',
    '{"id":true}', '{"id":"true"}', '{"id":null}', '{"id":[42]}', '{"id":{"id":42}}', '{"ids":42}', '{"x":"id:42"}',
    '{"\\u0069d":42}', '{"id":"\\u00342"}', '{"id":"4\\u0032"}', '{"\\u0069\\u0064":"\\u0034\\u0032"}',
    '{"id":"a/b"}', '{"id":"a\\/b"}', '{"id":"a\\u002fb"}', '{"a/b":1}', '{"a\\/b":1}', '{"id":"\\"42\\""}',
    '{"id":"é"}', '{"id":"\\u00e9"}', '{"id":"\\u65e5"}', '{"id":"日"}', '{"é":"日"}', '{"\\u00e9":"\\u65e5"}',
    '{"id":"a\\\\b"}', '{"id":"a\\nb"}', '{"id":"a\\u000ab"}', '{"id":""}', '{"":42}', '{"id":"a.b*"}', '{"id":"axb"}',
    '{"id":1,"id":42}', '{"id":42,"id":1}', '{"id":"100000000000000000000"}', '{"id":100000000000000000000}',
    '[42]', '["42",{"0":42}]', '{"0":42}', '{"-1":42}', '{"+1":42}', '[1,{"id":42}]', '42', '"42"', '"id"', '{}', '[]',
    '{"note":"\\u0000x"}', '{"id":1e2}', '{"id":4.2e1}', '{"id":1E400}', '{"id":NaN}', '{"id":"\\ud800"}',
]  # fmt: skip
ASKED = [
    *(
        f"id{sign}{value}"
        for sign in ("=", "!=")
        for value in (
            "42", "42.00", "4.2e1", '"42"', "-42", "0", "-0", "-0.0e5", "1.5", "15e-1", "0.5", "true", "null", "a/b",
            "é", "日", "a\\b", "a\nb", '""', "", "a.b*", '\\"42\\"', '""42""', "1e20", "100", "1E2", "x", "4",
        )
    ),
    "id", "!id", "id.id=42", "id.id", "!id.id", "id.0=42", "id.0", "0=42", "-1=42", "+1=42", "1.id=42", "!1.0",
    "1.0=42", "a/b", "!a/b", "a/b=1", "é", "!é", "é=日", "ids", "!ids", "x=id:42", "nope",
    "!nope", "nope=42", "nope!=42",
]  # fmt: skip


@pytest.fixture
def twice(cast):
    """Each body as the door keeps it, and beside its projection: `{id of an event: (body, is the second)}`."""
    rows = {}
    with system_scope():
        for body in BODIES:
            (item,) = split(body.encode(), "json")
            for projected in (False, True):
                event = KeptEvent(
                    id=uuid7(), tenant_id=cast.tenant.pk, source_id=None, receipt_id=None, site_id=None, type="t",
                    severity="low", content_type=item.content_type, body=item.raw, data_problem=item.problem,
                    data=projection(item) if projected or not item.plain else None,
                    body_is_data=item.plain and not projected,
                )  # fmt: skip
                rows[event.id] = (body, projected)
                insert_events([event])
        assert Event.objects.filter(body_is_data=True).count() > len(BODIES) / 2
    return rows


def found_twice(twice, wanted) -> tuple[list[str], list[str]]:
    found = [twice[pk] for pk in wanted.qs.order_by("pk").values_list("pk", flat=True)]
    return [body for body, projected in found if not projected], [body for body, projected in found if projected]


def test_a_condition_finds_a_payload_however_it_is_kept(cast, twice):
    fitting = 0
    with tenant_scope(cast.tenant.pk):
        for asked in ASKED:
            wanted = EventFilter(QueryDict(urlencode({"where": asked})), queryset=Event.objects.all())
            assert not wanted.errors, asked
            once, projected = found_twice(twice, wanted)
            assert once == projected, asked
            fitting += 0 < len(once) < len(BODIES)
    assert fitting > len(ASKED) * 0.8


@pytest.mark.parametrize(
    "word", ["42", "ID", "a/b", "é", "日", "a\\\\b", "a\\nb", '"id":', "100000000000000000000", "%", "nope"]
)
def test_words_find_a_payload_however_it_is_kept(cast, twice, word):
    with tenant_scope(cast.tenant.pk):
        once, projected = found_twice(twice, EventFilter(QueryDict(urlencode({"q": word})), Event.objects.all()))
    told_apart = {
        '{"id":1,"id":42}',
        '{"id":42,"id":1}',
        '{"id"\n:\r\n"42"}',
    }  # jsonb knows of one of them, or no space
    assert set(once) ^ set(projected) <= told_apart
    assert len(set(once) - told_apart) > 0 or word in {"%", "nope"}


def test_only_what_is_marked_is_cast(cast):
    """A body that jsonb would not take, or make a gigabyte of, is never looked into."""
    with tenant_scope(cast.tenant.pk):
        for body in (b"no json", b"\xff", b'{"id": 1e131071}', b'{"id":"\\u0000 \\/"}'):
            Event.objects.create(tenant=cast.tenant, type="x", content_type="x", body=body, data_problem="No.")
        for query, count in {"where=id%3D42": 0, "where=id!%3D42": 4, "where=id": 0, "where=!id": 4, "q=id": 0}.items():
            assert EventFilter(QueryDict(query), Event.objects.all()).qs.count() == count, query


# ── Ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "identifier",
    [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-7fff-bfff-ffffffffffff",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "e7dc01bd-83a1-4f2c-9f2f-6c4f9b8d3a55",
    ],
)
def test_an_id_that_no_receipt_can_have(api, world, identifier):
    for name in ("receipt", "q"):
        assert api("viewer").get("/api/v1/events/", {name: identifier}).json()["results"] == []


def test_the_events_of_a_receipt_are_looked_for_near_its_time(world, django_assert_num_queries):
    with tenant_scope(world.tenant.pk), connection.cursor() as cursor:
        wanted = EventFilter(QueryDict(f"receipt={uuid7()}"), queryset=Event.objects.all())
        cursor.execute(f"EXPLAIN {wanted.qs.query.sql_with_params()[0]}", wanted.qs.query.sql_with_params()[1])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert plan.count(" on events_event_") <= 2, plan


# ── What nobody should be able to ask ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ([("where", "=1")], "field=value"),
        ([("where", "a..b=1")], "field=value"),
        ([("where", ".".join("abcdefghijk") + "=1")], "names deep"),
        ([("where", "a" * 101 + "=1")], "at most 100"),
        ([("where", "a=" + "x" * 300)], "at most 300"),
        ([("where", "a=\x00")], "NUL"),
        ([("where", "!a=1")], "takes no value"),
        ([("where", f"a={n}") for n in range(6)], "At most 5"),
    ],
    ids=["no-field", "empty-name", "deep", "long-name", "long", "nul", "absent-with-value", "six"],
)
def test_a_condition_that_cannot_be_asked_is_400(api, world, query, words):
    answer = api("viewer").get(f"/api/v1/events/?{urlencode(query)}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "where"
    assert words in answer.json()["errors"][0]["detail"]


HOSTILE = [
    "'; SELECT pg_sleep(9); --",
    "a'='1",
    "{a,b}=1",
    "a,b}'::text[] IS NULL OR true --=1",
    'a="\\u0000"',
    "a=1e131071",
    "a=" + "9" * 200,
    "a=%s%(x)s{0}",
    "$.a[*]=1",
    "a=‮evil",
    "NULL=NULL",
    '{"a":1}',
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_asked_is_a_value_and_never_a_statement(api, world, text):
    for name in ("where", "q", "type"):
        answer = api("viewer").get("/api/v1/events/", {name: text})
        assert answer.status_code in {200, 400}
        if answer.status_code == 200:
            assert answer.json()["results"] == []


# ── The budget ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_search_stops_says_where_and_goes_on(api, world, small_slices):
    viewer = api("viewer")
    first = viewer.get("/api/v1/events/?q=zzzz").json()
    assert first["results"] == []
    newest = sorted((row.pk for row in world.rows), reverse=True)
    assert first["searched_to"][:19] == time_of(newest[59]).isoformat()[:19]
    second = viewer.get(first["next"]).json()
    third = viewer.get(second["next"]).json()
    assert (third["next"], third["searched_to"]) == (None, None)


def test_no_statement_looks_at_more_than_its_slice(world, monkeypatch):
    monkeypatch.setattr(looking, "PAGE", Budget(50, 60.0))
    with tenant_scope(world.tenant.pk):
        found = page_of_search(EventFilter(QueryDict("q=zzzz"), queryset=Event.objects.all()), 25)
    assert (found.looked, found.rows) == (50, [])


def test_time_ends_a_search_too(world, monkeypatch):
    clock = itertools.count(step=10)
    monkeypatch.setattr(looking, "FIRST_SLICE", 10)
    monkeypatch.setattr(looking, "now", lambda: next(clock))
    with tenant_scope(world.tenant.pk):
        found = page_of_search(EventFilter(QueryDict("q=zzzz"), queryset=Event.objects.all()), 25)
    assert found.looked == 10
    assert found.searched_to is not None


def test_a_slice_that_takes_too_long_ends_the_search_with_what_there_is(world, monkeypatch):
    monkeypatch.setattr(looking, "FIRST_SLICE", 10)
    patience = iter([search.PATIENCE, 1])
    bounded = looking.bounded_time
    monkeypatch.setattr(looking, "bounded_time", lambda _=None: bounded(next(patience)))
    slow = "pg_sleep(0.05) IS NOT NULL"
    with tenant_scope(world.tenant.pk):
        wanted = EventFilter(QueryDict("severity=high"), queryset=Event.objects.all())
        newest = sorted((row.pk for row in world.rows), reverse=True)
        rows = Event.objects.extra(where=[f"(id >= '{newest[9]}' OR {slow})"])  # noqa: S610
        monkeypatch.setattr(EventFilter, "qs", property(lambda self: rows.filter(severity="high")))
        found = page_of_search(wanted, 25)
    assert found.stopped_at == newest[9]
    assert {row.pk for row in found.rows} == {
        row.pk for row in world.rows if row.pk >= newest[9] and row.severity == "high"
    }


def test_the_plan_walks_an_index_and_never_sorts(world):
    """Of few rows that it knows well: there reading all and sorting them looks cheapest."""
    with tenant_scope(world.tenant.pk), search.bounded_time(), connection.cursor() as cursor:
        cursor.execute("ANALYZE events_event")
        for query in ("", "severity=high", f"source={world.sources[0].pk}&type=x", "q=ada", "where=a%3D1"):
            wanted = EventFilter(QueryDict(query), queryset=Event.objects.all())
            for rows in (wanted.base.order_by("-pk").values_list("pk")[1999:2000], wanted.qs.order_by("-pk")[:51]):
                sql, params = rows.query.sql_with_params()
                cursor.execute(f"EXPLAIN {sql}", params)
                plan = "\n".join(line for (line,) in cursor.fetchall())
                assert "Sort" not in plan, plan
                assert "Seq Scan" not in plan, plan


# ── Pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("query", ["severity=high", "q=ada", "where=user.id!%3D42", "type=order.*&parsed=true"])
def test_pages_neither_skip_nor_repeat_while_more_comes(api, world, cast, small_slices, query):
    viewer = api("viewer")
    before = set(found_by(world, query))
    url, seen = f"/api/v1/events/?{query}&limit=7", []
    while url:
        page = viewer.get(url).json()
        seen += [uuid.UUID(row["id"]) for row in page["results"]]
        url = page["next"]
        with tenant_scope(cast.tenant.pk):
            row = world.rows[1]
            Event.objects.create(
                tenant=cast.tenant, type="order.paid", severity="high", content_type="x", body=b"",
                data={"user": {"id": "Ada"}},
                source_id=row.source_id,
            )  # fmt: skip
    assert len(seen) == len(set(seen))
    assert set(seen) == before


def test_pages_forth_and_back(api, world, small_slices):
    viewer = api("viewer")
    first = viewer.get("/api/v1/events/?severity=high&limit=9").json()
    second = viewer.get(first["next"]).json()
    back = viewer.get(second["previous"]).json()
    assert [row["id"] for row in back["results"]] == [row["id"] for row in first["results"]]


def test_a_list_page_back_and_forth(browser, cast, world, small_slices):
    client = browser(cast.viewer)
    older = client.get("/events/?severity=low").context["page"].older
    page = client.get(older).context["page"]
    assert page.newer
    newer = client.get(page.newer).context["page"]
    assert newer.rows[0].pk > page.rows[0].pk


# ── Receipts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_receipts_against_the_oracle(cast, api, small_slices):
    dice = random.Random(11)  # noqa: S311
    now = timezone.now()
    with tenant_scope(cast.tenant.pk):
        source, _ = Source.objects.create_with_secret(cast.tenant, None, "S", "none", {})
        rows = [
            Receipt(
                id=made_at(now - timedelta(hours=20) * dice.random(), dice),
                tenant=cast.tenant,
                source=source,
                status=(status := dice.choice(["accepted", "refused"])),
                status_code=202 if status == "accepted" else dice.choice([401, 400]),
                reason="" if status == "accepted" else dice.choice(["not_json", "header_missing"]),
                detail=dice.choice(["The X-Key header", ""]),
                headers=[["x-agent", dice.choice(["curl/8", "Go"])]],
            )
            for _ in range(120)
        ]
        Receipt.objects.bulk_create(rows)
    checks = {
        "status=refused": lambda row: row.status == "refused",
        "status=accepted": lambda row: row.status == "accepted",
        "reason=not_json": lambda row: row.reason == "not_json",
        "status_code=401": lambda row: row.status_code == 401,
        "q=curl": lambda row: "curl" in str(row.headers),
        "q=x-key+go": lambda row: "X-Key" in row.detail and "Go" in str(row.headers),
    }
    viewer = api("viewer")
    for (one, fits), (other, also) in itertools.product(checks.items(), repeat=2):
        if one.split("=")[0] == other.split("=")[0] and one != other:
            continue
        url, seen = f"/api/v1/receipts/?{one}&{other}&limit=20" if one != other else f"/api/v1/receipts/?{one}", []
        while url:
            page = viewer.get(url).json()
            seen += [row["id"] for row in page["results"]]
            url = page["next"]
        wanted = sorted((str(row.pk) for row in rows if fits(row) and also(row)), reverse=True)
        assert seen == wanted, f"{one} {other}"
