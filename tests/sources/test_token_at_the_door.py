"""Tokens sent to the door itself: what is kept, what is refused with which reason (D3, B2, B5)."""

import gzip
import json
import time

import jwt
import pytest

from events.models import Event, Receipt
from sources.models import Source
from tenants.scope import system_scope, tenant_scope
from tests.attack.tokens import TOKENS

pytestmark = [pytest.mark.spec("D3", "B2"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def make(cast):
    def make_source(**settings):
        with tenant_scope(cast.tenant.pk):
            source, secret = Source.objects.create_with_secret(cast.tenant, None, "Tokens", "jwt", settings)
            return source, secret, source.current_credential.key_id

    return make_source


@pytest.fixture
def post(client):
    def post_to(source, token, body=b"{}", **headers):
        return client.post(
            f"/in/{source.ingest_key}",
            body,
            content_type="application/json",
            headers={"X-Webhook-JWT": token, **headers},
        ).status_code

    return post_to


def token(secret, key_id, **claims):
    return jwt.encode({"iat": int(time.time()), **claims}, secret, "HS256", headers={"kid": key_id})


def reasons():
    with system_scope():
        return [receipt.reason for receipt in Receipt.objects.filter(status="refused").order_by("id")]


def kept():
    with system_scope():
        return Event.objects.count()


def test_none_of_what_somebody_might_try_comes_in(make, post):
    """One after another to one source; the table says which are good."""
    source, secret, key_id = make()
    answers = {case.name: post(source, case.build(secret, key_id, time.time())) for case in TOKENS}
    assert answers == {case.name: 401 if case.reason else 202 for case in TOKENS}
    assert kept() == len([case for case in TOKENS if not case.reason])


def test_a_jti_comes_in_once(make, post):
    source, secret, key_id = make()
    first = token(secret, key_id, jti="7")
    assert post(source, first) == 202
    assert post(source, first) == 401
    assert post(source, token(secret, key_id, jti="7", sub="another")) == 401
    assert reasons()[:1] == ["token_replayed"]
    assert post(source, token(secret, key_id, jti="8")) == 202
    assert kept() == 2


def test_another_source_has_jtis_of_its_own(make, post, cast):
    one, one_secret, one_key = make()
    with tenant_scope(cast.tenant.pk):
        Source.objects.update(name="Other")
    other, other_secret, other_key = make()
    assert post(one, token(one_secret, one_key, jti="7")) == 202
    assert post(other, token(other_secret, other_key, jti="7")) == 202


def test_a_token_without_jti_or_where_nobody_asks_may_come_again(make, post):
    source, secret, key_id = make(single_use="accept")
    named = token(secret, key_id, jti="7")
    assert [post(source, named) for _ in range(2)] == [202, 202]
    assert [post(source, token(secret, key_id)) for _ in range(2)] == [202, 202]


def test_where_a_jti_is_required_one_without_is_refused(make, post):
    source, secret, key_id = make(single_use="required")
    assert post(source, token(secret, key_id)) == 401
    assert reasons() == ["jti_missing"]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
def test_the_body_must_say_what_the_token_says(make, post, packed):
    source, secret, key_id = make()
    wrap = gzip.compress if packed else bytes
    body = json.dumps({"Username": "Admin", "Site": "x"}).encode()
    assert post(source, token(secret, key_id, Username="Admin"), wrap(body)) == 202
    assert post(source, token(secret, key_id, Username="Eve"), wrap(body)) == 401
    assert reasons() == ["claims_mismatch"]
    with system_scope():
        refused = Receipt.objects.get(status="refused")
    assert refused.evidence["claims"] == "Username"


def test_a_refused_body_does_not_use_the_jti_up(make, post):
    source, secret, key_id = make()
    sent = token(secret, key_id, jti="7", Username="Admin")
    assert post(source, sent, b'{"Username": "Eve"}') == 401
    assert post(source, sent, b'{"Username": "Admin"}') == 202


def test_the_empty_payload_comes_in_where_no_time_is_required(make, post):
    source, secret, key_id = make(require_timestamp=False)
    assert post(source, jwt.encode({}, secret, "HS256", headers={"kid": key_id})) == 202


@pytest.mark.spec("B5")
def test_a_refusal_is_on_record_without_token_or_secret(make, post):
    source, secret, key_id = make()
    sent = token(secret + "x", key_id)
    assert post(source, sent) == 401
    with system_scope():
        refused = Receipt.objects.get()
        kept_text = json.dumps([refused.reason, refused.detail, refused.evidence, refused.headers])
    assert refused.reason == "signature_mismatch"
    assert refused.evidence["alg"] == "HS256"
    assert (refused.evidence["key"], refused.evidence["key_id"]) == ("known", key_id)
    assert secret not in kept_text
    assert not [part for part in sent.split(".") if part in kept_text]
