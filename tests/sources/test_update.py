"""PATCH of a source, while something else happens to it."""

import pytest

from sources.models import Source
from tenants.scope import system_scope
from tests.meanwhile import meanwhile

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/sources/"


@pytest.fixture
def source(api):
    return api().post(URL, {"name": "Orders", "auth": {"method": "hmac"}}).json()


@pytest.fixture
def patch_while(api, cast, source):
    """The answer to a PATCH that comes while `verb` has changed the source but is not committed."""

    def run(verb, change):
        client = api()
        return meanwhile(
            cast.tenant.pk,
            lambda: verb(Source.objects.get(pk=source["id"])),
            lambda: client.patch(f"{URL}{source['id']}/", change),
        )

    return run


def now(source):
    with system_scope():
        return Source.objects.get(pk=source["id"])


def test_a_deleted_source_does_not_come_back(patch_while, source):
    assert patch_while(Source.delete, {"name": "Renamed"}).status_code == 404
    assert now(source).deleted_at is not None
    assert now(source).ingest_key not in source["url"]


def test_a_url_that_was_replaced_stays_dead(patch_while, source):
    assert patch_while(Source.regenerate_url, {"name": "Renamed"}).status_code == 200
    assert now(source).name == "Renamed"
    assert now(source).url != source["url"]


def test_a_pause_is_not_undone(patch_while, source):
    assert patch_while(Source.pause, {"name": "Renamed"}).json()["status"] == "paused"
    assert now(source).status == "paused"


def test_two_updates_of_the_settings_both_count(patch_while, source):
    def other(found):
        found.auth_config = {**found.auth_config, "header": "X-Hub-Signature"}
        found.save(update_fields=["auth_config"])

    answer = patch_while(other, {"auth": {"algorithm": "sha1"}})
    assert answer.json()["auth"] == {"method": "hmac", "header": "X-Hub-Signature", "algorithm": "sha1"}
