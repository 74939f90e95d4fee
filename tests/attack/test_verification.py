"""The verification matrix, put to the methods themselves: no false accept, nothing raised."""

from hashlib import sha256

import pytest

from sources.authentication import METHODS, InboundRequest, LiveSecret
from sources.presets import PRESETS
from tests.attack.verification import BODY, KEY_ID, SENDERS, Post, cases

NOW = 1_700_000_000.0
URL = "https://portal.example.com/in/abcdefghijklmnopqrstuvwxyz012345"


def inbound(post: Post) -> InboundRequest:
    headers = tuple((name.lower().encode(), value) for name, value in post.headers)
    return InboundRequest("POST", headers, post.body, NOW, post.url)


def config_of(sender):
    preset = PRESETS.get(sender.creation.get("preset", ""))
    given = {name: value for name, value in sender.creation.get("auth", {}).items() if name != "method"}
    return METHODS[sender.method].clean_config(preset.config_with(given) if preset else given)


def live(sender):
    method, config = METHODS[sender.method], config_of(sender)
    value = method.clean_secret(sender.secret, config).encode()
    if method.keeps_value:
        return LiveSecret("s1", key_id=KEY_ID, value=value)
    return LiveSecret("s1", key_id=KEY_ID, digest=sha256(value).digest())


def test_every_method_and_every_preset_is_in_the_matrix():
    assert {sender.method for sender in SENDERS} == set(METHODS) - {"none"}
    assert {sender.creation.get("preset") for sender in SENDERS} == set(PRESETS) | {None}


@pytest.mark.spec("P5", "P6", "P7", "P8", "B3")
@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.name)
def test_what_must_be_accepted_is_and_nothing_else(sender):
    wrong = []
    config, secrets = config_of(sender), [live(sender)]
    built = cases(sender)
    assert len({case.name for case in built}) == len(built)
    for case in built:
        post = case.build(URL, NOW)
        verdict = METHODS[sender.method].verify(config, secrets, inbound(post))
        if verdict.accepted != case.accepted:
            wrong.append((case.name, verdict.reason, post))
        if not verdict.accepted:
            assert verdict.reason
            assert verdict.detail
            told = repr((verdict.detail, verdict.evidence))
            assert sender.secret not in told
            assert sender.secret.removeprefix("whsec_") not in told
    assert wrong == []
    assert sum(case.accepted for case in built) >= 2


@pytest.mark.parametrize("sender", [one for one in SENDERS if one.signs_body], ids=lambda sender: sender.name)
def test_no_refusal_tells_a_signature_that_would_be_right(sender):
    config, secrets = config_of(sender), [live(sender)]
    right = sender.post(URL, NOW)
    proof = right.value(sender.proof).decode().partition("v1=")[2] or right.value(sender.proof).decode()
    for case in cases(sender):
        verdict = METHODS[sender.method].verify(config, secrets, inbound(case.build(URL, NOW)))
        told = repr((verdict.detail, dict(verdict.evidence)))
        assert proof[-40:] not in told
        assert BODY.decode() not in told
