"""The audit log: read with filters, changed by nobody."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from tenants.actors import Actor
from tenants.models import AuditEntry, Site
from tenants.pagination import page_of
from tenants.permissions import Role
from tenants.scope import system_scope, tenant_scope

URL = "/api/v1/audit/"


@pytest.fixture
def log(cast):
    """Three acts: the owner makes two sites, the admin changes one of them."""
    with tenant_scope(cast.tenant.pk):
        north = Site.objects.create(tenant=cast.tenant, name="North")
        south = Site.objects.create(tenant=cast.tenant, name="South")
        owner = Actor("user", "owner@acme.example", cast.owner.pk, cast.tenant, address="192.0.2.7")
        admin = Actor("user", "admin@acme.example", cast.admin.pk, cast.tenant)
        entries = [
            AuditEntry.record(owner, "site.created", north),
            AuditEntry.record(owner, "site.created", south),
            AuditEntry.record(admin, "site.changed", north, {"name": ["N", "North"]}),
        ]
    return entries


def ids(client, query="") -> list[str]:
    return [row["id"] for row in client.get(URL + query).json()["results"]]


def test_it_says_who_what_on_what_from_where_when(api, log):
    row = api().get(URL).json()["results"][-1]
    assert (row["actor_label"], row["action"], row["object_label"], row["address"]) == (
        "owner@acme.example", "site.created", "North", "192.0.2.7",
    )  # fmt: skip
    assert row["at"].endswith("Z")


def test_newest_first(api, log):
    assert ids(api()) == [str(entry.pk) for entry in reversed(log)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("action=site.created", [1, 0]),
        ("action=site", [2, 1, 0]),
        ("action=sit", []),
        ("object_type=site", [2, 1, 0]),
        ("object_type=source", []),
        ("q=south", [1]),
        ("q=admin+north", [2]),
        ("q=%25", []),
    ],
)
def test_filters(api, log, query, found):
    assert ids(api(), f"?{query}") == [str(log[index].pk) for index in found]


def test_filter_by_actor_and_object(api, cast, log):
    assert ids(api(), f"?actor={cast.admin.pk}") == [str(log[2].pk)]
    assert ids(api(), f"?object={log[0].object_id}") == [str(log[2].pk), str(log[0].pk)]


def test_filter_by_time(api, cast, log):
    later = (timezone.now() + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert ids(api(), f"?since={later}") == []
    assert len(ids(api(), f"?until={later}")) == 3


@pytest.mark.parametrize("query", ["actor=x", "since=yesterday", "object=1"])
def test_a_filter_that_makes_no_sense_is_400(api, log, query):
    answer = api().get(f"{URL}?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == query.split("=")[0]


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_a_lesser_role_does_not_read_it(api, role):
    assert api(role).get(URL).status_code == 403


def test_a_stranger_sees_nothing_of_it(stranger_api, cast, log):
    assert ids(stranger_api) == []
    assert ids(stranger_api, f"?actor={cast.owner.pk}") == []
    assert stranger_api.get(f"{URL}{log[0].pk}/").status_code == 404


@pytest.mark.parametrize("method", ["put", "patch", "delete", "post"])
def test_no_endpoint_changes_it(api, log, method):
    assert getattr(api(), method)(f"{URL}{log[0].pk}/", {}).status_code in (403, 405)


@pytest.mark.spec("B10")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tenants_auditentry SET actor_label = 'nobody'",
        "DELETE FROM tenants_auditentry",
        "TRUNCATE tenants_auditentry",
    ],
)
def test_the_database_refuses_to_change_it(cast, log, statement):
    with system_scope():
        connection.cursor().execute("SET CONSTRAINTS ALL IMMEDIATE")  # else TRUNCATE fails for another reason
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            connection.cursor().execute(statement)
        assert AuditEntry.objects.count() == 3


def test_the_orm_cannot_either(log):
    with system_scope():
        for change in (lambda: AuditEntry.objects.update(action="x"), AuditEntry.objects.all().delete):
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                change()


def test_what_operators_do_to_the_portal_no_tenant_sees(api, cast):
    with system_scope():
        AuditEntry.record(Actor("system", "make serve"), "operator.created", cast.operator)
    assert ids(api()) == []


def test_the_page_shows_what_changed_and_filters(browser, cast, log):
    admin = browser(cast.admin)
    page = admin.get("/audit/").content.decode()
    assert "<del" in page
    assert "North" in page
    found = admin.get("/audit/?q=south").content.decode()
    assert found.count("<code>site.") == 1


def test_the_page_pages(cast, log, rf):
    def page(link):
        return page_of(AuditEntry.objects.all(), rf.get(link), size=2)

    with tenant_scope(cast.tenant.pk):
        first = page("/audit/?q=x")
        assert [row.pk for row in first.rows] == [log[2].pk, log[1].pk]
        assert first.newer is None
        assert "q=x" in first.older
        second = page(first.older)
        assert [row.pk for row in second.rows] == [log[0].pk]
        assert second.older is None
        back = page(second.newer)
        assert [row.pk for row in back.rows] == [log[2].pk, log[1].pk]
        assert back.newer is None
        assert len(page("/audit/?before=nonsense").rows) == 2


def test_user_text_is_escaped(browser, cast):
    with tenant_scope(cast.tenant.pk):
        site = Site.objects.create(tenant=cast.tenant, name="<script>alert(1)</script>", slug="x")
        AuditEntry.record(Actor("user", "<b>", None, cast.tenant), "site.created", site, {"<i>": ["<u>", "&"]})
    page = browser(cast.admin).get("/audit/").content.decode()
    assert "<script>alert" not in page
    assert "<u>" not in page
