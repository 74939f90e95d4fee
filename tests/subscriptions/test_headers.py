"""A subscription's own headers."""

import pytest

from subscriptions.headers import HeadersRefused, clean_headers
from subscriptions.signing import SCHEMES

pytestmark = pytest.mark.spec("T3")


def errors_of(headers):
    with pytest.raises(HeadersRefused) as refusal:
        clean_headers(headers)
    return refusal.value.errors


def test_ordinary_headers_pass():
    headers = {"Authorization": "Bearer abc", "X-Team": "blue\tgreen", "X-A": "é"}
    assert clean_headers(headers) == headers


def test_white_space_around_names_and_values_is_taken_off():
    assert clean_headers({" X-A ": " b c "}) == {"X-A": "b c"}


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-length",
        "Content-Type",
        "Content-Encoding",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Cookie",
        "webhook-id",
        "Webhook-Signature",
        "webhook-anything",
        "X-Signature",
        "x-timestamp",
        "X-Webhook-Event-Id",
        "Proxy-Authorization",
        "Proxy-Connection",
        "X-Forwarded-For",
    ],
)
def test_a_name_that_is_not_the_subscribers_is_refused(name):
    errors = errors_of({name: "x", "X-Fine": "y"})
    assert list(errors) == [name]
    assert name in errors[name]


def test_no_header_of_a_signing_scheme_can_be_replaced():
    for scheme in SCHEMES.values():
        if scheme.signs and "prefix" not in scheme.options:  # which are known for a subscription only
            names = scheme.headers().all()
            assert set(errors_of(dict.fromkeys(names, "x"))) == set(names)


@pytest.mark.parametrize("name", ["X-Portal-Event-Type", "x-portal-event-id", "ce-type", "CE-Anything"])
def test_no_header_of_a_shape_can_be_replaced(name):
    assert list(errors_of({name: "x"})) == [name]


@pytest.mark.parametrize("name", ["", "X A", "X:A", "X-Ü", "X\r\nY", "X\x00", "(x)"])
def test_a_name_that_is_not_a_token_is_refused(name):
    assert list(errors_of({name: "x"})) == [name]


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\rb", "a\x00b", "a\x7fb", "a\x85b", "€", "😀", ""])
def test_a_value_that_no_header_can_carry_is_refused(value):
    assert list(errors_of({"X-A": value})) == ["X-A"]


def test_a_refusal_does_not_repeat_the_value():
    with pytest.raises(HeadersRefused) as refusal:
        clean_headers({"X-Key": "s3cret\n"})
    assert "s3cret" not in f"{refusal.value}{refusal.value.errors}"


def test_names_are_told_apart_without_their_case():
    assert list(errors_of({"X-A": "1", "x-a": "2"})) == ["x-a"]


def test_every_offending_header_gets_its_own_message():
    assert set(errors_of({"Host": "x", "X-A": "\n\x00", "X-B": "y"})) == {"Host", "X-A"}


def test_twenty_headers_pass_and_one_more_does_not():
    clean_headers({f"X-{n}": "v" for n in range(20)})
    assert list(errors_of({f"X-{n}": "v" for n in range(21)})) == [""]


def test_four_kilobytes_pass_and_one_byte_more_does_not():
    room = 4096 - len("X-A: \r\n")
    clean_headers({"X-A": "v" * room})
    assert list(errors_of({"X-A": "v" * (room + 1)})) == [""]
