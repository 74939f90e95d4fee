"""Exports (P17): what a search finds, as NDJSON or CSV, one tenant's rows only, in memory of bounded size."""

import csv
import io
import json
import tracemalloc

import pytest
from django.db import connection
from django.http import QueryDict

from events import export
from events.export import FORMULA, batches, safe_cell
from events.models import Event, Receipt
from sources.models import Source
from tenants.models import AuditEntry
from tenants.scope import system_scope, tenant_scope

pytestmark = pytest.mark.spec("P17")

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"]


def add(tenant, count=1, **values):
    defaults = {"type": "order.paid", "content_type": "application/json", "body": b"{}", "data": {}}
    with tenant_scope(tenant.pk):
        return [Event.objects.create(tenant=tenant, **(defaults | values)) for _ in range(count)]


@pytest.fixture
def some(cast):
    """Events of every kind, newest last; and one of another tenant."""
    add(cast.other_tenant, type="secret.of.globex", data={"word": "Zanzibar"})
    made = add(cast.tenant, type="door.opened", severity="high", data={"a": [1, 2.5, None, True], "ü": "日本"})
    made += add(cast.tenant, type="line", data=None, body=b"plain text", data_problem="Not JSON.")
    made += add(cast.tenant, type="bytes", data=None, body=b"\xff\x00", data_problem="Not text.")
    made += add(cast.tenant, type="sent", data=None, body=b'{"b": 1.0, "a": "\\u00e9"}', body_is_data=True)
    made += add(cast.tenant, type="null", data=None, body=b"null")
    made += add(cast.tenant, type="text", data="=HYPERLINK()", title="=cmd|' /C calc'!A0")
    made += add(cast.tenant, type="number", data=None, body=b" -5", body_is_data=True)
    return made


def lines(answer) -> list[dict]:
    assert answer.status_code == 200, answer.content
    return [json.loads(line) for line in answer.getvalue().decode().splitlines()]


def cells(answer) -> list[list[str]]:
    assert answer.status_code == 200, answer.content
    return list(csv.reader(io.StringIO(answer.getvalue().decode(), newline="")))


def test_ndjson_is_what_the_api_says_of_each_event(api, some):
    viewer = api("viewer")
    rows = lines(viewer.get("/api/v1/events/export/"))
    assert [row["id"] for row in rows] == [row["id"] for row in viewer.get("/api/v1/events/").json()["results"]]
    for row in rows:
        body, coded = row.pop("body", None), row.pop("body_base64", None)
        assert row == viewer.get(f"/api/v1/events/{row['id']}/").json()
        unread = {"line": ("plain text", None), "bytes": (None, "/wA="), "null": ("null", None)}
        assert (body, coded) == unread.get(row["type"], (None, None))


def test_csv_holds_the_same(api, some):
    viewer = api("viewer")
    header, *rows = cells(viewer.get("/api/v1/events/export/?as=csv"))
    by_type = {row[header.index("type")]: dict(zip(header, row, strict=True)) for row in rows}
    assert list(by_type) == ["number", "text", "null", "sent", "bytes", "line", "door.opened"]
    assert json.loads(by_type["door.opened"]["data"]) == {"a": [1, 2.5, None, True], "ü": "日本"}
    assert by_type["sent"]["data"] == '{"b":1.0,"a":"é"}'
    assert by_type["door.opened"]["source"] == ""
    assert by_type["line"]["body"] == "plain text"
    assert by_type["bytes"]["body_base64"] == "/wA="


def test_no_cell_is_a_formula(api, some):
    header, *rows = cells(api("viewer").get("/api/v1/events/export/?as=csv"))
    assert not [cell for row in rows for cell in row if cell.startswith(FORMULA)]
    assert "'-5" in rows[0]
    assert "'=cmd|' /C calc'!A0" in rows[1]


@pytest.mark.parametrize("text", FORMULAS, ids=range(len(FORMULAS)))
def test_a_formula_gets_an_apostrophe(text):
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", " =1", "'=1", '"x"', "{}"], ids=range(6))
def test_what_is_no_formula_stays(text):
    assert safe_cell(text) == text


@pytest.mark.parametrize(
    ("query", "types"),
    [
        ("type=door.*", ["door.opened"]),
        ("severity=high", ["door.opened"]),
        ("where=a.0%3D1", ["door.opened"]),
        ("parsed=false", ["bytes", "line"]),
        ("q=hyperlink", ["text"]),
        ("q=zzzz", []),
    ],
)
def test_with_the_filters_of_the_list(api, some, query, types):
    assert [row["type"] for row in lines(api("viewer").get(f"/api/v1/events/export/?{query}"))] == types


def test_the_file_is_nothing_that_a_browser_runs(api, cast, some):
    with system_scope():
        type(cast.tenant).objects.filter(pk=cast.tenant.pk).update(name='Ac"me/../\r\nX: y')
    for kind, media in (("csv", "text/csv; charset=utf-8"), ("ndjson", "application/x-ndjson")):
        answer = api("viewer").get(f"/api/v1/events/export/?as={kind}")
        assert answer["Content-Type"] == media
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["X-Export-Limit"] == "100000"
        disposition = answer["Content-Disposition"]
        assert disposition.startswith('attachment; filename="events-acme')
        assert disposition.endswith(f'Z.{kind}"')
        assert not set("/\r\n\\") & set(disposition)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("as=xlsx", "as"),
        ("before=x", "before"),
        ("severity=urgent", "severity"),
        ("limit=5", "limit"),
        ("where=%3D", "where"),
    ],
)
def test_a_wrong_parameter_is_400_and_named(api, some, query, field):
    answer = api("viewer").get(f"/api/v1/events/export/?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("accept", ["text/csv", "application/x-ndjson", "*/*", "text/html,*/*;q=0.8"])
def test_whatever_is_accepted_the_file_comes(api, some, accept):
    assert api("viewer").get("/api/v1/events/export/?as=csv", HTTP_ACCEPT=accept).status_code == 200


def test_an_export_stands_in_the_audit_log(api, some):
    api("viewer").get("/api/v1/events/export/?as=csv&type=door.*&q=word")
    with system_scope():
        entry = AuditEntry.objects.get(action="events.exported")
    assert entry.actor_label.startswith("viewer key")
    assert entry.change == {"format": "csv", "filters": {"type": ["door.*"], "q": ["word"]}}


def test_an_export_that_is_refused_does_not(api, some):
    api("viewer").get("/api/v1/events/export/?as=pdf")
    with system_scope():
        assert not AuditEntry.objects.filter(action="events.exported").exists()


# ── Bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_many_batches_are_one_list(api, cast, monkeypatch):
    monkeypatch.setattr(export, "IDS", 7)
    monkeypatch.setattr(export, "BATCH_ROWS", 3)
    made = [event.pk for event in add(cast.tenant, 23)]
    rows = lines(api("viewer").get("/api/v1/events/export/"))
    assert [row["id"] for row in rows] == [str(pk) for pk in sorted(made, reverse=True)]


@pytest.mark.parametrize("query", ["", "&severity=low"])
def test_a_cut_file_says_so_and_where_to_go_on(api, cast, monkeypatch, query):
    monkeypatch.setattr(export, "ROWS", 4)
    add(cast.tenant, 6)
    viewer = api("viewer")
    *rows, last = lines(viewer.get(f"/api/v1/events/export/?as=ndjson{query}"))
    assert len(rows) == 4
    assert last["cut"]["rows"] == 4
    rest = lines(viewer.get(f"/api/v1/events/export/?before={last['cut']['before']}{query}"))
    assert len({row["id"] for row in rows + rest}) == 6
    table = cells(viewer.get(f"/api/v1/events/export/?as=csv{query}"))
    assert table[-1][0].startswith("# Cut after 4 rows")
    assert last["cut"]["before"] in table[-1][0]


def test_a_file_that_just_fits_is_not_called_cut(api, cast, monkeypatch):
    monkeypatch.setattr(export, "ROWS", 4)
    add(cast.tenant, 4)
    assert "cut" not in lines(api("viewer").get("/api/v1/events/export/"))[-1]


def test_an_export_looks_at_so_many_rows_and_no_more(api, cast, monkeypatch):
    monkeypatch.setattr(export, "LOOKED", 500)
    monkeypatch.setattr(export, "STEP", export.Budget(500, 60.0))
    with tenant_scope(cast.tenant.pk):
        Event.objects.bulk_create(
            Event(tenant=cast.tenant, type="x", content_type="x", body=b"", data={}) for _ in range(700)
        )
    [last] = lines(api("viewer").get("/api/v1/events/export/?type=nope"))
    assert "looks at 500" in last["cut"]["reason"]


def test_batches_are_bounded_by_size_and_by_number():
    rows = [type("Row", (), {"pk": n, "payload_size": size}) for n, size in enumerate([9, 3_999_999, 1, 5_000_000, 1])]
    assert list(batches(rows)) == [[0], [1, 2], [3], [4]]
    assert [len(batch) for batch in batches([rows[0]] * 450)] == [200, 200, 50]


def test_memory_does_not_grow_with_what_is_written(api, cast):
    """Sixty payloads of half a megabyte, of which at most eight are held at once."""
    add(cast.tenant, 60, data=None, body=b"x" * 500_000, data_problem="Not JSON.")
    answer = api("viewer").get("/api/v1/events/export/")
    tracemalloc.start()
    size = sum(len(part) for part in answer.streaming_content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 30_000_000
    assert peak < 24_000_000


# ── Whose rows ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_rows_of_the_tenant_alone(stranger_api, api, some):
    assert [row["type"] for row in lines(stranger_api.get("/api/v1/events/export/"))] == ["secret.of.globex"]
    assert "Zanzibar" not in api("viewer").get("/api/v1/events/export/?as=csv").getvalue().decode()


def test_another_scope_in_force_while_it_is_written_changes_nothing(api, cast, some):
    """The file is written after the view: by then the connection may serve somebody else."""
    answer = api("viewer").get("/api/v1/events/export/")
    with tenant_scope(cast.other_tenant.pk):
        rows = [json.loads(line) for line in answer.streaming_content]
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('app.tenant', true)")
            assert cursor.fetchone() == (str(cast.other_tenant.pk),)
    assert len(rows) == len(some)
    assert "Zanzibar" not in json.dumps(rows)


def test_row_level_security_holds_where_the_filter_would_not(cast, some):
    """A queryset without any filter of ours, written in the tenant's scope."""
    with system_scope():
        wanted = export.ArrivedFilter(QueryDict(), queryset=export.sized(Event.objects.all(), KIND))
    rows = list(export.Rows(KIND, wanted, cast.tenant, None))
    assert len(rows) == len(some)


KIND = export.Kind(
    name="events",
    columns=["id"],
    json_columns=frozenset(),
    load=lambda ids: Event.objects.filter(pk__in=ids),
    present=lambda event: {"id": str(event.pk)},
    size=export.models.Value(1),
)


# ── Receipts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_receipts_too(api, cast):
    with tenant_scope(cast.tenant.pk):
        source, _ = Source.objects.create_with_secret(cast.tenant, None, "S", "none", {})
        for reason in ("", "not_json"):
            Receipt.objects.create(
                tenant=cast.tenant, source=source, status="refused" if reason else "accepted", status_code=202,
                reason=reason, detail="@SUM(1)", headers=[["x-a", "b"]], evidence={"hint": "so"} if reason else None,
            )  # fmt: skip
    viewer = api("viewer")
    rows = lines(viewer.get("/api/v1/receipts/export/"))
    assert [row["reason"] for row in rows] == ["not_json", ""]
    assert rows[0] | {"unpacking": False} == viewer.get(f"/api/v1/receipts/{rows[0]['id']}/").json()
    header, *table = cells(viewer.get("/api/v1/receipts/export/?as=csv&status=refused"))
    [row] = [dict(zip(header, one, strict=True)) for one in table]
    assert row["detail"] == "'@SUM(1)"
    assert row["headers"] == '[["x-a","b"]]'
    assert row["evidence"] == '{"hint":"so"}'
