"""“Verify this signature”: what is judged right, what is told where it is wrong, and what is told to nobody."""

import base64
import re
import time

import pytest

from subscriptions import messages
from subscriptions.signature_check import SHOWN, check, read_headers
from subscriptions.signing import SCHEMES, clean_options, generate_secret, sign
from tenants.models import AuditEntry
from tenants.scope import tenant_scope

SIGNING = [scheme.name for scheme in SCHEMES.values() if scheme.signs]
OVERLAPPING = [name for name in SIGNING if SCHEMES[name].carries_two]
TIMED = [name for name in SIGNING if name != "github"]
BODY = '{"id": "msg_1", "data": {"user": "Ada Ünïcode"}}'.encode()
AT = 1_777_863_721


def body_of(scheme: str) -> bytes:
    return messages.timestamped("user.created", b'{"user":"ada"}') if scheme == "timestamped_body" else BODY


def signed(scheme, secrets, body=None, at=AT, options=None):
    message = sign(
        scheme, secrets, message_id="msg_1", timestamp=at, body=body or body_of(scheme), options=options or {}
    )
    return list(message.headers), message.body


def told(verdict) -> str:
    return repr(verdict)


@pytest.mark.parametrize("scheme", SIGNING)
def test_what_the_portal_signs_is_right(scheme):
    secret = generate_secret(scheme)
    headers, body = signed(scheme, [secret])
    verdict = check(scheme, [secret], [("User-Agent", "x"), *headers], body, at=AT + 90)
    assert verdict.is_valid
    assert "the current one" in verdict.proof
    assert (verdict.problem, verdict.missing_headers, verdict.expected_begins) == ("", (), "")
    assert (verdict.timestamp, verdict.age_seconds) == ((AT, 90) if scheme in TIMED else (None, None))
    before = {"stripe": 11, "timestamp_and_body": 11, "slack": 14, "github": 0, "timestamped_body": 0}.get(
        scheme, 6 + 11
    )
    assert verdict.signed_bytes == len(body) + before
    assert secret not in told(verdict)


@pytest.mark.parametrize("scheme", SIGNING)
def test_a_changed_body_is_wrong_and_of_the_right_signature_only_the_beginning_is_told(scheme):
    secret = generate_secret(scheme)
    headers, body = signed(scheme, [secret])
    changed = body.replace(b"a", b"b", 1)
    verdict = check(scheme, [secret], headers, changed, at=AT)
    right = signed(scheme, [secret], changed)[0][-1][1]
    assert not verdict.is_valid
    assert "not one of this subscription's" in verdict.problem
    assert len(verdict.expected_begins) == len(verdict.presented_begins) == SHOWN
    assert verdict.expected_begins in right
    core = re.split(r"v1a?[,=]|v0=|sha256=", right)[-1]
    assert core.startswith(verdict.expected_begins)
    assert core[: SHOWN + 1] not in told(verdict)
    assert secret not in told(verdict)


@pytest.mark.parametrize("scheme", SIGNING)
def test_another_secret_s_signature_is_wrong(scheme):
    headers, body = signed(scheme, [generate_secret(scheme)])
    verdict = check(scheme, [generate_secret(scheme)], headers, body, at=AT)
    assert not verdict.is_valid
    assert verdict.hint == ""


@pytest.mark.parametrize("scheme", OVERLAPPING)
def test_during_an_overlap_it_says_which_secret_made_it(scheme):
    new, old = generate_secret(scheme), generate_secret(scheme)
    headers, body = signed(scheme, [old])
    verdict = check(scheme, [new, old], headers, body, at=AT)
    assert "an earlier one" in verdict.proof
    assert verdict.secrets_tried == 2


@pytest.mark.parametrize("scheme", SIGNING)
def test_each_header_that_is_missing_is_named(scheme):
    secret = generate_secret(scheme)
    headers, body = signed(scheme, [secret])
    for name, _ in headers:
        verdict = check(scheme, [secret], [pair for pair in headers if pair[0] != name], body, at=AT)
        assert verdict.missing_headers == (name,)
        # Of X-Signature over the body only the signature is needed: the rest only repeats the body.
        needed = scheme != "timestamped_body" or name == headers[-1][0]
        assert verdict.is_valid is not needed
        assert ("is missing" in verdict.problem) is needed


@pytest.mark.parametrize("scheme", SIGNING)
def test_a_secret_in_place_of_the_signature_is_not_repeated(scheme):
    secret = generate_secret(scheme)
    headers, body = signed(scheme, [secret])
    pasted = [*headers[:-1], (headers[-1][0], f"Bearer {secret}")]
    verdict = check(scheme, [secret], pasted, body, at=AT)
    assert not verdict.is_valid
    assert secret not in told(verdict)
    assert verdict.presented_begins == verdict.expected_begins == ""


@pytest.mark.parametrize("scheme", SIGNING)
def test_a_header_that_is_there_twice_is_not_guessed_about(scheme):
    secret = generate_secret(scheme)
    headers, body = signed(scheme, [secret])
    assert "2 times" in check(scheme, [secret], [*headers, headers[-1]], body, at=AT).problem


@pytest.mark.parametrize("scheme", ["standard_webhooks", "github"])
@pytest.mark.parametrize(
    ("sent", "pasted", "words"),
    [
        (b'{"a": 1}', b'{"a": 1}\n', "without the line break"),
        (b'{"a": 1}\n', b'{"a": 1}', "with a line break"),
        (b'{\r\n"a": 1\r\n}', b'{\n"a": 1\n}', "CR and LF"),
        ('{"a":"ü"}'.encode(), '{\n  "a": "ü"\n}'.encode(), "reformatted"),
        (b'{"a":"\\u00fc"}', '{"a": "ü"}'.encode(), "reformatted"),
    ],
)
def test_what_usually_happens_to_a_body_is_recognised(scheme, sent, pasted, words):
    secret = generate_secret(scheme)
    headers, _ = signed(scheme, [secret], sent)
    verdict = check(scheme, [secret], headers, pasted, at=AT)
    assert not verdict.is_valid
    assert words in verdict.hint


def test_capital_letters_are_recognised():
    secret = generate_secret("github")
    headers, body = signed("github", [secret])
    shouted = [(headers[0][0], "sha256=" + headers[0][1].removeprefix("sha256=").upper())]
    assert "small letters" in check("github", [secret], shouted, body, at=AT).hint


@pytest.mark.parametrize("timestamp", ["", "soon", "1e9", "01777863721", "-5", "９", "1" * 13])
@pytest.mark.parametrize("scheme", ["standard_webhooks", "stripe", "timestamp_and_body"])
def test_a_time_that_is_none_is_said_to_be_none(scheme, timestamp):
    secret = generate_secret(scheme)
    headers, body = signed(scheme, [secret])
    pasted = [(name, value.replace(str(AT), timestamp)) for name, value in headers]
    verdict = check(scheme, [secret], pasted, body, at=AT)
    assert "has no time in it" in verdict.problem


@pytest.mark.parametrize("body", [b"", b"{}", b'{"timestamp":1}', b'{"a":1,"timestamp":1} ', b'{"a":1,"timestamp":01}'])
def test_a_body_without_its_time_is_said_to_lack_it(body):
    secret = generate_secret("timestamped_body")
    headers, _ = signed("timestamped_body", [secret])
    assert "does not end with" in check("timestamped_body", [secret], headers, body, at=AT).problem


def test_it_looks_for_the_headers_that_the_subscription_chose():
    options = clean_options("timestamp_and_body", {"prefix": "Acme"})
    secret = generate_secret("timestamp_and_body")
    headers, body = signed("timestamp_and_body", [secret], options=options)
    assert check("timestamp_and_body", [secret], headers, body, at=AT, options=options).is_valid
    assert check("timestamp_and_body", [secret], headers, body, at=AT).missing_headers == (
        "X-Portcullis-Timestamp",
        "X-Portcullis-Signature",
    )


def test_without_a_secret_there_is_nothing_to_verify_with():
    with pytest.raises(ValueError, match="nothing to verify"):
        check("github", [], [], b"", at=AT)
    with pytest.raises(ValueError, match="nothing to verify"):
        check("none", ["x"], [], b"", at=AT)


def test_headers_are_read_as_people_have_them():
    lines = "POST /hook HTTP/1.1\r\nWebhook-Id: a\r\n  webhook-timestamp :1\n\nX-Empty:\n"
    assert read_headers(lines) == [("Webhook-Id", "a"), ("webhook-timestamp", "1"), ("X-Empty", "")]
    assert read_headers('{"webhook-id": "a", "webhook-timestamp": 1, "x": ["b", "c"]}') == [
        ("webhook-id", "a"), ("webhook-timestamp", "1"), ("x", "b"), ("x", "c"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a: b\nnonsense", '{"a": ', '{"a": {"b": 1}}', '{"a": null}', "{" * 100_000])
def test_what_are_no_headers_is_refused_without_repeating_it(text):
    with pytest.raises(ValueError, match=r"Give one|begins like|must be") as refused:
        read_headers(text)
    assert text not in str(refused.value)


# In the API ---------------------------------------------------------------------------------------


@pytest.fixture
def verify(api, make, cast):
    """verify(scheme, role) → (post, secret of the subscription)."""

    def prepare(scheme="standard_webhooks", role="member"):
        subscription = make("idle", signing=scheme, shape=SCHEMES[scheme].shapes[0])

        with tenant_scope(cast.tenant.pk):
            secrets = subscription.live_secrets()
        client = api(role)
        url = f"/api/v1/subscriptions/{subscription.pk}/verify/"
        return (lambda body: client.post(url, body, format="json")), secrets

    return prepare


def pasted(headers, body, **more):
    return {"headers": "\n".join(f"{name}: {value}" for name, value in headers), "body": body.decode(), **more}


@pytest.mark.parametrize("scheme", SIGNING)
def test_the_api_judges_under_the_live_secrets_and_shows_none(verify, scheme):
    post, secrets = verify(scheme)
    headers, body = signed(scheme, secrets, at=int(time.time()) - 60)
    answer = post(pasted(headers, body))
    assert answer.status_code == 200, answer.content
    assert answer["Cache-Control"] == "no-store"
    found = answer.json()
    assert found["valid"] is True
    assert found["problem"] is None
    assert found["age_seconds"] is None if scheme == "github" else 60 <= found["age_seconds"] < 120
    wrong = post(pasted(headers, body.replace(b"a", b"b", 1)))
    assert wrong.json()["valid"] is False
    assert wrong.json()["missing_headers"] == []
    for answered in (answer, wrong):
        assert not any(secret in answered.content.decode() for secret in secrets)


def test_the_body_can_be_given_in_base64(verify):
    post, secrets = verify()
    headers, body = signed("standard_webhooks", secrets, b"\xff\xfe\r\n")
    packed = base64.b64encode(body)
    assert post(pasted(headers, packed, body_encoding="base64")).json()["valid"] is True
    assert post(pasted(headers, b"%%%", body_encoding="base64")).status_code == 400


def test_what_cannot_be_read_is_refused_at_its_field(verify):
    post, _ = verify()
    for body, field in [
        ({"headers": "a: b\nnonsense"}, "headers"),
        ({"headers": ""}, "headers"),
        ({"headers": "a: b", "body": "x" * 1_000_001}, "body"),
        ({"headers": "a: b", "secret": "x"}, "secret"),
    ]:
        answer = post(body)
        assert answer.status_code == 400, body
        assert answer.json()["errors"][0]["field"] == field


def test_a_time_beyond_all_calendars_is_no_error_of_ours(verify):
    post, secrets = verify("timestamp_and_body")
    headers, body = signed("timestamp_and_body", secrets, at=999_999_999_999)
    answer = post(pasted(headers, body))
    assert answer.status_code == 200
    assert answer.json()["signed_at"] is None


def test_a_viewer_may_not_and_what_is_not_signed_cannot(verify):
    assert verify(role="viewer")[0]({"headers": "a: b"}).status_code == 403
    assert verify("none")[0]({"headers": "a: b"}).status_code == 409


def test_after_thirty_in_a_minute_it_says_when_to_come_again(verify):
    post, _ = verify()
    answers = [post({"headers": "a: b"}) for _ in range(31)]
    assert [one.status_code for one in answers] == [200] * 30 + [429]
    assert int(answers[-1]["Retry-After"]) > 0


def test_nothing_of_it_is_kept_or_logged(verify, cast, caplog):

    post, _ = verify()
    caplog.set_level("DEBUG")
    post({"headers": "webhook-id: whsec_very_secret", "body": "very secret body"})
    assert "very" not in caplog.text
    with tenant_scope(cast.tenant.pk):
        assert not AuditEntry.objects.exists()


def test_the_page_has_the_form_for_those_who_may(browser, cast, make):
    subscription, unsigned = make("idle"), make("idle", name="Open", signing="none")
    url = f"/subscriptions/{subscription.pk}/"
    assert f"{subscription.pk}/verify/" in browser(cast.member).get(url).content.decode()
    assert "/verify/" not in browser(cast.viewer).get(url).content.decode()
    assert "/verify/" not in browser(cast.owner).get(f"/subscriptions/{unsigned.pk}/").content.decode()
