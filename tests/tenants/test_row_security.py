"""The net under the managers: with the ORM's filter taken away, the database itself keeps tenants apart (B10)."""

import os
import subprocess
import sys
import threading
import uuid
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from django.apps import apps
from django.db import DatabaseError, connection, connections, transaction

from config.embedded import Embedded
from events.models import Event
from tenants.checks import role_obeys_row_security
from tenants.models import ApiKey, Site, Tenant
from tenants.scope import ScopedManager, current_scope, system_scope, tenant_scope
from tests.world import fill

pytestmark = pytest.mark.spec("B10")


def tenant_column(model) -> str | None:
    if model is Tenant:
        return "id"
    return next((f.column for f in model._meta.concrete_fields if f.related_model is Tenant), None)


OWNED = [model for model in apps.get_models() if tenant_column(model)]
BY_LABEL = {model._meta.label: model for model in OWNED}


@pytest.fixture
def world(cast):
    with system_scope():
        for tenant in (cast.tenant, cast.other_tenant):
            fill(tenant)
    return cast


def rows(sql: str, *parameters) -> list:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def owners_in(model, table: str | None = None) -> set:
    """Whose rows raw SQL sees."""
    return {owner for (owner,) in rows(f'SELECT "{tenant_column(model)}" FROM "{table or model._meta.db_table}"')}


# ── Which tables ─────────────────────────────────────────────────────────────────────────────────────────────────────


TABLES = """
    SELECT c.oid::regclass::text, c.relrowsecurity, c.relforcerowsecurity, c.relispartition,
           EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname = 'public'
      AND (EXISTS (SELECT 1 FROM pg_attribute a
                   WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
           OR c.relname = 'tenants_tenant')
"""


def test_every_table_with_a_tenant_is_secured_by_force(db):
    tables = rows(TABLES)
    names = {name for name, *_ in tables}
    assert {model._meta.db_table for model in OWNED} <= names
    assert any(partition for *_, partition, _ in tables)
    bare = [name for name, enabled, forced, _, _ in tables if not (enabled and forced)]
    assert bare == [], "call tenants.scope.enable_row_security in a migration for these tables"
    # A partition needs no policy: addressed by its own name it shows nothing at all.
    unruled = [name for name, _, _, partition, policy in tables if not policy and not partition]
    assert unruled == []


def test_a_table_that_was_forgotten_is_noticed(db):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE forgotten (id uuid, tenant_id uuid)")
    assert ("forgotten", False, False, False, False) in rows(TABLES)


def test_every_owned_model_filters_by_scope(db):
    unscoped = [model._meta.label for model in OWNED if not isinstance(model._default_manager, ScopedManager)]
    assert unscoped == []


@pytest.mark.parametrize("label", BY_LABEL)
def test_every_owned_table_has_a_row_of_both_in_these_tests(world, label):
    with system_scope():
        assert {world.tenant.pk, world.other_tenant.pk} <= owners_in(BY_LABEL[label])


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("label", BY_LABEL)
def test_raw_sql_sees_only_the_tenant_in_force(world, label):
    with tenant_scope(world.tenant.pk):
        assert owners_in(BY_LABEL[label]) == {world.tenant.pk}


@pytest.mark.parametrize("label", BY_LABEL)
def test_the_unfiltered_manager_sees_only_the_tenant_in_force(world, label):
    model = BY_LABEL[label]
    assert not isinstance(model._base_manager, ScopedManager)
    with tenant_scope(world.tenant.pk):
        seen = set(model._base_manager.values_list(tenant_column(model), flat=True))
    assert seen == {world.tenant.pk}


@pytest.mark.parametrize("label", BY_LABEL)
def test_without_a_scope_nothing_is_seen(world, label):
    assert owners_in(BY_LABEL[label]) == set()
    assert not BY_LABEL[label]._base_manager.exists()
    assert not BY_LABEL[label].objects.exists()


def test_a_partition_addressed_by_its_own_name_shows_nothing(world):
    partitions = [name for name, _, _, partition, _ in rows(TABLES) if partition]
    with tenant_scope(world.tenant.pk):
        assert all(rows(f"SELECT 1 FROM {name} LIMIT 1") == [] for name in partitions)


@pytest.mark.parametrize("setting", ["", "*'", "%", "null", str(uuid.UUID(int=0)), "x" * 5000])
def test_a_setting_that_is_no_tenant_sees_nothing(world, setting):
    with transaction.atomic():
        rows("SELECT set_config('app.tenant', %s, true)", setting)
        assert owners_in(Site) == set()


def test_the_managers_hold_where_the_database_does_not(world):
    """The upper net alone: with row security out of force, a scoped manager still shows one tenant."""
    with tenant_scope(world.tenant.pk):
        rows("SELECT set_config('app.tenant', '*', true)")
        assert owners_in(Site) == {world.tenant.pk, world.other_tenant.pk}
        for model in OWNED:
            assert set(model.objects.values_list(tenant_column(model), flat=True)) == {world.tenant.pk}


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_row_for_another_tenant_is_refused(world):
    with tenant_scope(world.tenant.pk):
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            Site.objects.create(tenant=world.other_tenant, name="Planted")
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            Event.objects.create(tenant=world.other_tenant, type="t", content_type="x", body=b"x")


def test_a_row_cannot_be_moved_to_another_tenant(world):
    with (
        tenant_scope(world.tenant.pk),
        pytest.raises(DatabaseError, match="row-level security"),
        transaction.atomic(),
    ):
        Site._base_manager.update(tenant=world.other_tenant)


def test_another_tenants_rows_are_neither_changed_nor_deleted(world):
    with tenant_scope(world.tenant.pk), connection.cursor() as cursor:
        cursor.execute("UPDATE tenants_site SET name = 'x' WHERE tenant_id = %s", [world.other_tenant.pk])
        assert cursor.rowcount == 0
        cursor.execute("DELETE FROM tenants_site WHERE tenant_id = %s", [world.other_tenant.pk])
        assert cursor.rowcount == 0


def test_without_a_scope_nothing_is_written(world):
    with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
        Site.objects.create(tenant=world.tenant, name="Orphan")


# ── The scope itself ─────────────────────────────────────────────────────────────────────────────────────────────────


def setting() -> str:
    return rows("SELECT current_setting('app.tenant', true)")[0][0] or ""


def test_the_scope_ends_with_its_block(world):
    with tenant_scope(world.tenant.pk):
        assert setting() == str(world.tenant.pk)
    assert (setting(), current_scope()) == ("", "")


def test_nested_scopes_give_back_the_outer_one(world):
    with tenant_scope(world.tenant.pk):
        with system_scope():
            assert len(owners_in(Site)) == 2
            with tenant_scope(world.other_tenant.pk):
                assert owners_in(Site) == {world.other_tenant.pk}
            assert len(owners_in(Site)) == 2
        assert owners_in(Site) == {world.tenant.pk}
        assert current_scope() == str(world.tenant.pk)


def test_an_exception_gives_back_the_outer_one(world):
    with tenant_scope(world.tenant.pk):
        with pytest.raises(ZeroDivisionError), tenant_scope(world.other_tenant.pk):
            1 / 0  # noqa: B018
        assert owners_in(Site) == {world.tenant.pk}
        with pytest.raises(DatabaseError), system_scope():
            rows("SELECT 1 / 0")
        assert owners_in(Site) == {world.tenant.pk}
    assert (setting(), current_scope()) == ("", "")


def test_a_query_made_in_one_scope_shows_nothing_in_another(world):
    with tenant_scope(world.tenant.pk):
        lazy = Site.objects.all()
    with tenant_scope(world.other_tenant.pk):
        assert list(lazy) == []


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_is_used_again_has_no_scope(world):
    with tenant_scope(world.tenant.pk):
        backend = rows("SELECT pg_backend_pid()")
    assert rows("SELECT pg_backend_pid()") == backend
    assert setting() == ""
    assert owners_in(Site) == set()


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_failed_in_a_scope_has_none_afterwards(world):
    with pytest.raises(DatabaseError), system_scope():
        rows("SELECT 1 / 0")
    assert owners_in(Site) == set()


@pytest.mark.django_db(transaction=True)
def test_threads_have_scopes_of_their_own(world):
    seen, meet = {}, threading.Barrier(3)

    def look(name, scope):
        try:
            if scope is None:
                meet.wait(10)
                seen[name] = owners_in(Site)
            else:
                with tenant_scope(scope):
                    meet.wait(10)
                    seen[name] = owners_in(Site)
        finally:
            connections["default"].close()

    with system_scope():  # a new thread does not inherit it
        cases = {"a": world.tenant.pk, "b": world.other_tenant.pk, "none": None}
        threads = [threading.Thread(target=look, args=case) for case in cases.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == {"a": {world.tenant.pk}, "b": {world.other_tenant.pk}, "none": set()}


def test_the_async_door_has_the_scope_too(world):
    """Under ASGI a request crosses threads on its way; what it sees is the same."""
    from asgiref.sync import async_to_sync
    from django.test import AsyncClient

    with system_scope():
        _, token = ApiKey.issue(tenant=world.tenant, name="k", role="owner")

    async def ask():
        return await AsyncClient().get("/api/v1/sites/", headers={"authorization": f"Bearer {token}"})

    answer = async_to_sync(ask)()
    assert answer.status_code == 200
    assert len(answer.json()["results"]) == 1


# ── The role ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def superuser(django_db_setup, django_db_blocker):
    """A libpq connection string of the server's superuser; a server of somebody else's has none for us."""
    directory = Path(connection.settings_dict.get("OPTIONS", {}).get("host") or connection.settings_dict["HOST"])
    if not (directory.parent / "database.json").exists():
        pytest.skip("needs the superuser of the bundled PostgreSQL")
    with django_db_blocker.unblock():
        yield Embedded(directory.parent).superuser_conninfo()


@contextmanager
def as_role(superuser: str, attribute: str):
    """A Django connection, by its alias, to a new database as its new owner with that attribute."""
    name = f"plain_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(superuser, autocommit=True) as server:
        server.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'plain' {attribute}")
        server.execute(f"CREATE DATABASE {name} OWNER {name}")
        settings = {**connection.settings_dict, "NAME": name, "USER": name, "PASSWORD": "plain"}
        connections.settings[name] = settings
        try:
            yield name
        finally:
            connections[name].close()
            del connections[name], connections.settings[name]
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")
            server.execute(f"DROP ROLE {name}")


def test_the_tests_own_role_obeys(db):
    assert role_obeys_row_security(None, ["default"]) == []
    assert role_obeys_row_security(None, None) == []


@pytest.mark.parametrize("attribute", ["SUPERUSER", "BYPASSRLS"])
def test_a_role_that_bypasses_is_warned_of(superuser, attribute):
    with as_role(superuser, attribute) as alias:
        (warning,) = role_obeys_row_security(None, [alias])
    assert warning.id == "tenants.W001"
    assert "bypasses" in warning.msg


def test_the_migrations_run_as_a_role_that_only_owns_its_database(superuser):
    """No superuser, nothing granted: what a hosted PostgreSQL usually gives. In a process, as it is done there."""
    with as_role(superuser, "NOCREATEDB NOCREATEROLE") as name:
        plain = connections[name].settings_dict
        host = quote(str(plain["OPTIONS"].get("host") or plain["HOST"]), safe="")
        port = plain["OPTIONS"].get("port") or plain["PORT"]
        result = subprocess.run(
            [sys.executable, "manage.py", "migrate", "-v", "0"],
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "config.settings",
                "DATABASE_URL": f"postgres://{name}:plain@/{name}?host={host}&port={port}",
            },
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        with connections[name].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_class WHERE relforcerowsecurity")
            assert cursor.fetchone()[0] > len(OWNED)
