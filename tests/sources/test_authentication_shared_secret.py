"""A secret in a header (spec P5, D1)."""

from hashlib import sha256

import pytest

from sources.authentication import METHODS, ConfigError, InboundRequest, LiveSecret

METHOD = METHODS["shared_secret"]
CONFIG = METHOD.clean_config({})
OLD = LiveSecret("old", digest=sha256(b"old-secret-0123456789").digest())
NEW = LiveSecret("new", digest=sha256(b"new-secret-0123456789").digest())


def verify(*headers, config=CONFIG, secrets=(NEW, OLD)):
    return METHOD.verify(config, secrets, InboundRequest("POST", headers, b"", 0.0))


@pytest.mark.spec("P5")
def test_the_secret_in_the_default_header_is_accepted():
    verdict = verify((b"x-webhook-key", b"new-secret-0123456789"))
    assert (verdict.accepted, verdict.secret_id, verdict.reason) == (True, "new", "")


@pytest.mark.spec("B1")
def test_during_a_rotation_the_previous_secret_is_accepted_and_named():
    assert verify((b"x-webhook-key", b"old-secret-0123456789")).secret_id == "old"


@pytest.mark.spec("D1")
def test_the_header_can_be_chosen():
    config = METHOD.clean_config({"header": "D3Key"})
    assert verify((b"d3key", b"new-secret-0123456789"), config=config).accepted
    assert verify((b"x-webhook-key", b"new-secret-0123456789"), config=config).reason == ("header_missing")


@pytest.mark.parametrize("value", [b"new-secret-012345678", b"new-secret-01234567890", b"NEW-secret-0123456789"])
def test_another_value_is_refused(value):
    verdict = verify((b"x-webhook-key", value))
    assert verdict.reason == "secret_mismatch"
    assert value.decode() not in verdict.detail


def test_an_empty_value_counts_as_missing():
    assert verify((b"x-webhook-key", b"")).reason == "header_missing"


def test_a_repeated_header_is_refused_even_with_the_right_secret_twice():
    right = (b"x-webhook-key", b"new-secret-0123456789")
    assert verify(right, right).reason == "header_duplicated"


def test_an_underscore_is_not_a_hyphen():
    assert verify((b"x_webhook_key", b"new-secret-0123456789")).reason == "header_missing"


def test_every_secret_is_compared_although_the_first_one_matches(monkeypatch):
    compared = []
    matches = LiveSecret.matches
    monkeypatch.setattr(LiveSecret, "matches", lambda self, value: compared.append(self.id) or matches(self, value))
    verify((b"x-webhook-key", b"new-secret-0123456789"))
    assert compared == ["new", "old"]


def test_a_typed_secret_must_fit_into_a_header():
    assert METHOD.clean_secret("  Splunk 0123-4567-89ab ") == "Splunk 0123-4567-89ab"
    with pytest.raises(ConfigError):
        METHOD.clean_secret("gehe\u00efm" * 5)
