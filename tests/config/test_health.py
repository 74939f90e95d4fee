"""The probes: is the process up, may it be sent traffic."""

from django.db import connection
from django.utils import timezone

from config import views
from config.celery import app


def test_healthz_touches_nothing_else(client):
    answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_readyz_is_ready(client, db):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "checks": ["database", "migrations", "partitions", "keyring", "broker"]}


def test_a_missing_partition_is_named(client, db):
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE deliveries_attempt_{timezone.now():%Y%m%d}")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer["Content-Type"] == "application/problem+json"
    assert "deliveries_attempt_" in answer.json()["errors"][0]["detail"]


def test_a_migration_to_come_is_said(client, db):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'config'")
    (error,) = client.get("/readyz").json()["errors"]
    assert error["field"] == "migrations"
    assert "migrate" in error["detail"]


def test_an_absent_broker_is_said_without_its_address(client, db, monkeypatch):
    monkeypatch.setattr(app.conf, "broker_url", "redis://:hunter2@127.0.0.1:1/0")
    monkeypatch.setattr(views, "BROKER_TIMEOUT", 0.2)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["errors"][0]["field"] == "broker"
    assert "hunter2" not in answer.content.decode()


def test_the_schema_and_its_page_are_served_from_here(client, db):
    assert client.get("/api/v1/schema/").status_code == 200
    page = client.get("/api/v1/docs/")
    assert page.status_code == 200
    assert b"https://" not in page.content
