"""A database that cannot be the portal's is noticed before anything is kept in it."""

import os
import uuid
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from config.checks import migrations_are_whole
from config.management.commands.serve import refuse_unfit_database
from tests.portal import free_port, manage


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def another_encoding(request, settings):
    """(encoding, DATABASE_URL) of an empty database beside the tests' own."""
    name = f"portcullis_{request.param.lower()}_{uuid.uuid4().hex[:8]}"  # several workers share one server
    database = settings.DATABASES["default"]
    options = {key: database["OPTIONS"][key] for key in ("host", "port") if key in database["OPTIONS"]}
    server = psycopg.conninfo.make_conninfo(
        dbname="postgres", user=database["USER"], password=database["PASSWORD"],
        host=database["HOST"] or options.get("host", ""), port=database["PORT"] or options.get("port", 5432),
    )  # fmt: skip
    with psycopg.connect(server, autocommit=True) as connected:
        connected.execute(
            f"CREATE DATABASE {name} ENCODING '{request.param}' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
        )
        yield request.param, name
        connected.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_utf8_is_no_trouble(db):
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_encoding")
        assert cursor.fetchone() == ("UTF8",)
    call_command("check", databases=["default"])


@pytest.mark.parametrize("command", [("serve", "--prepare"), ("check", "--database", "default"), ("migrate",)])
def test_another_encoding_stops_the_start_with_a_sentence(another_encoding, command, tmp_path):
    encoding, name = another_encoding
    parts = urlsplit(os.environ["DATABASE_URL"])
    url = urlunsplit(parts._replace(path=f"/{name}"))
    refused = manage(*command, VAR=str(tmp_path), PORT=str(free_port()), DATABASE_URL=url)
    assert refused.returncode != 0
    assert f'The database "{name}" has the encoding {encoding}; Portcullis needs UTF8.' in refused.stderr
    assert "ENCODING 'UTF8'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_old_migrations_that_were_all_applied_are_no_trouble(db):
    assert migrations_are_whole(None, ["default"]) == []


@pytest.mark.parametrize("absent", ["0010_lane_row_security", "0008_seen"])
def test_some_of_the_old_migrations_stop_the_start_with_a_sentence(db, absent):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'deliveries' AND name = %s", [absent])
    (error,) = migrations_are_whole(None, ["default"])
    assert error.id == "config.E002"
    assert error.msg.endswith(f" and lacks deliveries.{absent}.")
    with pytest.raises(CommandError, match=f"lacks deliveries.{absent}"):
        refuse_unfit_database()
