"""The standing cast: an owner, colleagues with less power, a stranger from another tenant, an operator.

cast.owner / cast.admin / cast.member / cast.viewer / cast.stranger / cast.operator     users
cast.tenant, cast.other_tenant
browser(user)      a signed-in Django test client (pages; API with session)
api(user_role)     an API client with a key of that role: api("owner").post("/api/v1/sources/", {...})
stranger_api       the same with the other tenant's owner key
"""

from types import SimpleNamespace

import pytest
from django.conf import settings
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from django.test import Client
from rest_framework.test import APIClient

from config.celery import app as celery_app
from tenants.models import ApiKey, Membership, Tenant, User
from tenants.permissions import Role
from tenants.scope import system_scope


def pytest_configure(config):
    # The cast signs in for nearly every test, and a real password hash takes a quarter of a second each.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    # Wake-ups go nowhere: no worker reads the test database. The journeys start real ones.
    celery_app.conf.update(broker_url="memory://", broker_transport_options={})


def pytest_make_parametrize_id(val, argname):
    """Bytes are named after their argument: what compression makes of them differs from one worker's clock to the
    next, and workers that name a test differently do not run.
    """
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """pytest-xdist 3.8 writes the groups of `--dist loadgroup` into a name that pytest 9.2 reads no more, and says
    nothing (pytest-dev/pytest-xdist#1386): every worker would start its own portal and its own Chromium.
    """
    for item in items:
        if (grouped := vars(item).get("_nodeid")) and grouped != item.nodeid:
            item._id = type(item.id).parse(grouped)


@pytest.fixture(autouse=True, scope="session")
def flushable_audit_log():
    """Tests with real transactions empty all tables at their end, and the audit log refuses just that."""
    table, trigger = "tenants_auditentry", "append_only_whole"
    sql_flush = DatabaseOperations.sql_flush

    def without_the_trigger(self, style, tables, **options):
        truncate = sql_flush(self, style, tables, **options)
        return [
            f"ALTER TABLE {table} DISABLE TRIGGER {trigger}",
            *truncate,
            f"ALTER TABLE {table} ENABLE TRIGGER {trigger}",
        ]

    DatabaseOperations.sql_flush = without_the_trigger
    yield
    DatabaseOperations.sql_flush = sql_flush


@pytest.fixture
def cast(db):
    with system_scope():
        tenant = Tenant.objects.create(name="Acme")
        other = Tenant.objects.create(name="Globex")
        people = {}
        for role in Role.values:
            people[role] = User.objects.create_user(f"{role}@acme.example", "correct horse battery")
            Membership.objects.create(tenant=tenant, user=people[role], role=role)
        stranger = User.objects.create_user("stranger@globex.example", "correct horse battery")
        Membership.objects.create(tenant=other, user=stranger, role=Role.OWNER)
        operator = User.objects.create_user("operator@portal.example", "correct horse battery", is_staff=True)
    return SimpleNamespace(tenant=tenant, other_tenant=other, stranger=stranger, operator=operator, **people)


@pytest.fixture
def browser(cast):
    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def api(cast):
    def with_key(role: str = Role.OWNER, tenant: Tenant | None = None) -> APIClient:
        with system_scope():
            _, token = ApiKey.issue(tenant=tenant or cast.tenant, name=f"{role} key", role=role)
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        return client

    return with_key


@pytest.fixture
def stranger_api(api, cast):
    return api(Role.OWNER, cast.other_tenant)


@pytest.fixture
def nested_loops(db):
    """Django's connection joins in no other way, so that one side of a join is read once a row of the other."""
    others = "hashjoin mergejoin hashagg sort material memoize indexscan indexonlyscan bitmapscan"
    ways = [f"enable_{way}" for way in others.split()]
    with connection.cursor() as cursor:
        for way in ways:
            cursor.execute(f"SET {way} = off")
    yield
    with connection.cursor() as cursor:
        for way in ways:
            cursor.execute(f"RESET {way}")
