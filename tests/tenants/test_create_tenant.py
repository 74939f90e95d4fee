"""`manage.py create_tenant`: machine-readable set-up."""

import json
import os
import subprocess
import sys
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from tenants.models import AuditEntry, Tenant, User
from tenants.scope import system_scope, tenant_scope


def run(*arguments) -> str:
    out = StringIO()
    call_command("create_tenant", *arguments, stdout=out)
    return out.getvalue()


def made(*arguments) -> dict:
    return json.loads(run("Acme", "--owner", "Owner@example.com", "--json", *arguments))


def test_it_prints_exactly_the_four(db):
    assert set(made()) == {"tenant", "owner", "password", "api_key"}


def test_the_password_and_the_key_work(db):
    result = made()
    client = Client()
    answer = client.post("/accounts/login/", {"login": result["owner"], "password": result["password"]})
    assert answer.status_code == 302
    assert client.get("/members/").status_code == 200
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {result['api_key']}")
    assert api.get("/api/v1/tenant/").json()["id"] == result["tenant"]
    assert api.patch("/api/v1/tenant/", {"name": "Acme 2"}).status_code == 200


def test_the_role_of_the_key_can_be_less(db):
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {made('--role-of-key', 'viewer')['api_key']}")
    assert api.patch("/api/v1/tenant/", {"name": "x"}).status_code == 403


def test_an_existing_person_keeps_the_password(db):
    first, second = made(), made()
    assert second["password"] is None
    assert User.objects.get(email="owner@example.com").check_password(first["password"])


def test_a_one_time_password_has_to_be_changed(db):
    result = made("--one-time-password")
    client = Client()
    client.post("/accounts/login/", {"login": result["owner"], "password": result["password"]})
    assert client.get("/members/").url == "/accounts/password/change/"


def test_without_json_it_is_for_people(db):
    text = run("Acme", "--owner", "owner@example.com")
    assert "owner@example.com" in text
    assert "pk_" in text


def test_it_is_audited_without_secrets(db):
    result = made()
    with tenant_scope(result["tenant"]):
        entries = list(AuditEntry.objects.order_by("id"))
    assert [entry.action for entry in entries] == ["tenant.created", "api_key.created"]
    text = str([vars(entry) for entry in entries])
    assert result["password"] not in text
    assert result["api_key"] not in text


@pytest.mark.parametrize(
    "arguments",
    [["", "--owner", "a@example.com"], ["Acme", "--owner", "nobody"], ["A" * 101, "--owner", "a@example.com"]],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(db, arguments):
    with pytest.raises(CommandError):
        run(*arguments, "--json")
    with system_scope():
        assert not Tenant.objects.exists()


def as_process(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "manage.py", "create_tenant", *arguments],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [["Acme", "--owner", "nobody"], ["Acme"], ["Acme", "--owner", "a@example.com", "--role-of-key", "king"]],
)
def test_an_error_is_a_sentence_and_exit_code_1(arguments):
    result = as_process(*arguments)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.strip()


def test_without_the_bundled_database_it_says_what_to_do(tmp_path):
    result = as_process("Acme", "--owner", "a@example.com", "--json", DATABASE_URL="", VAR=str(tmp_path / "var"))
    assert result.returncode == 1
    assert "make serve" in result.stderr
    assert "Traceback" not in result.stderr


def test_without_another_database_it_says_so():
    result = as_process("Acme", "--owner", "a@example.com", DATABASE_URL="postgres://x:y@127.0.0.1:1/z")
    assert result.returncode == 1
    assert "DATABASE_URL" in result.stderr


def test_before_the_migrations_it_says_so():
    assert connection.vendor == "postgresql"  # the run's own database: the one outside the tests is empty
    result = as_process("Acme", "--owner", "a@example.com")
    assert result.returncode == 1
    assert "make serve" in result.stderr
    assert "Traceback" not in result.stderr
