"""What an admin may set for the door, and what the door lets through then."""

import pytest

from sources.authentication import ConfigError
from sources.rules import Rules, clean, compiled, merged, preflight


def complaint(raw):
    with pytest.raises(ConfigError) as refused:
        clean(raw)
    ((field, message),) = refused.value.errors.items()
    return field, message


def rules(**raw) -> Rules:
    return compiled(clean(raw))


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (["10.0.0.0/8", "192.0.2.7"], ["10.0.0.0/8", "192.0.2.7"]),
        ("10.0.0.0/8, 192.0.2.7\n\n2001:DB8::/32", ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]),
        (["192.0.2.7/32", "192.0.2.7"], ["192.0.2.7"]),
        (["::ffff:192.0.2.7", "::ffff:192.0.2.0/120"], ["192.0.2.7", "192.0.2.0/24"]),
        (["2001:0db8:0000::0001/128"], ["2001:db8::1"]),
        (["0.0.0.0/0", "::/0"], ["0.0.0.0/0", "::/0"]),
        (["10.0.0.0/255.0.0.0"], ["10.0.0.0/8"]),
    ],
)
def test_addresses_are_stored_in_one_spelling(typed, kept):
    assert clean({"allowed_addresses": typed}) == {"allowed_addresses": kept}
    assert clean({"allowed_addresses": kept}) == {"allowed_addresses": kept}


@pytest.mark.parametrize(
    ("raw", "field", "said"),
    [
        ({"allowed_addresses": ["10.0.0.0/8", "office"]}, "allowed_addresses", "“office” is neither"),
        ({"allowed_addresses": ["10.1.0.0/8"]}, "allowed_addresses", "Did you mean 10.0.0.0/8?"),
        ({"allowed_addresses": ["10.0.0.1/33"]}, "allowed_addresses", "neither an address nor a network"),
        ({"allowed_addresses": ["fe80::1%eth0"]}, "allowed_addresses", "neither an address nor a network"),
        ({"allowed_addresses": ["010.0.0.1"]}, "allowed_addresses", "neither an address nor a network"),
        ({"allowed_addresses": [f"10.0.0.{n}" for n in range(101)]}, "allowed_addresses", "at most 100; these are 101"),
        ({"allowed_addresses": [7]}, "allowed_addresses", "a list of texts"),
        ({"allowed_addresses": {"a": 1}}, "allowed_addresses", "Give a list"),
        ({"rate_limit_per_minute": 0}, "rate_limit_per_minute", "from 1 to 600000"),
        ({"rate_limit_per_minute": 600_001}, "rate_limit_per_minute", "from 1 to 600000"),
        ({"rate_limit_per_minute": "often"}, "rate_limit_per_minute", "whole number"),
        ({"rate_limit_per_minute": True}, "rate_limit_per_minute", "whole number"),
        ({"rate_limit_per_minute": 1.5}, "rate_limit_per_minute", "whole number"),
        ({"content_types": ["json"]}, "content_types", "“json” is no content type"),
        ({"content_types": ["*/*"]}, "content_types", "is no content type"),
        ({"content_types": ["application/json; charset=utf-8"]}, "content_types", "has parameters"),
        ({"cors_origins": ["app.example.com"]}, "cors_origins", "is no origin"),
        ({"cors_origins": ["https://app.example.com/page"]}, "cors_origins", "is no origin"),
        ({"cors_origins": ["https://u:p@app.example.com"]}, "cors_origins", "is no origin"),
        ({"cors_origins": ["https://app.example.com:99999"]}, "cors_origins", "is no origin"),
        ({"cors_origins": ["https://*.example.com"]}, "cors_origins", "is no origin"),
        ({"cors_origins": ["null"]}, "cors_origins", "is no origin"),
        ({"cors_origins": ["https://a\r\nX: y"]}, "cors_origins", "is no origin"),
        ({"cors_origins": ["https://[::g]"]}, "cors_origins", "is no origin"),
        ({"response": {"status": 302}}, "response.status", "from 200 to 299"),
        ({"response": {"content_type": "text/html"}}, "response.content_type", "Choose one of"),
        ({"response": {"content_type": "application/json"}}, "response.body", "Enter the JSON"),
        ({"response": {"content_type": "application/json", "body": "{"}}, "response.body", "Enter the JSON"),
        ({"response": {"content_type": "application/json", "body": "NaN"}}, "response.body", "Enter the JSON"),
        ({"response": {"content_type": "application/json", "body": "[" * 4000}}, "response.body", "Enter the JSON"),
        ({"response": {"body": "x" * 4097}}, "response.body", "at most 4096 bytes; these are 4097"),
        ({"response": {"body": "ü" * 2049}}, "response.body", "at most 4096 bytes"),
        ({"response": {"body": "a\x00"}}, "response.body", "Control characters"),
        ({"response": {"body": "\ud800"}}, "response.body", "not valid text"),
        ({"response": {"body": 7}}, "response.body", "Enter text"),
        ({"response": {"status": 204, "body": "x"}}, "response.body", "has no body"),
        ({"response": {"headers": "x"}}, "response.headers", "no such setting"),
        ({"response": "ok"}, "response", "Expected an object"),
        ({"colour": "red"}, "colour", "no such setting"),
        ({"response.status": 200, "colour": None}, "colour", "no such setting"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_what_cannot_be_a_rule_is_said_where(raw, field, said):
    where, message = complaint(raw)
    assert where == field
    assert said in message


def test_all_complaints_come_at_once():
    with pytest.raises(ConfigError) as refused:
        clean({"allowed_addresses": "x", "rate_limit_per_minute": -1, "response": {"status": 1, "body": "ok"}})
    assert set(refused.value.errors) == {"allowed_addresses", "rate_limit_per_minute", "response.status"}


def test_empty_and_null_take_a_rule_away():
    assert clean({"allowed_addresses": [], "rate_limit_per_minute": None, "content_types": "", "response": None}) == {}
    assert clean({"response": {"status": None, "body": "", "content_type": None}}) == {}


STORED = {"allowed_addresses": ["10.0.0.0/8"], "response": {"status": 201, "body": "ok"}}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, STORED),
        ({"rate_limit_per_minute": 5}, {**STORED, "rate_limit_per_minute": 5}),
        ({"allowed_addresses": None}, {"response": {"status": 201, "body": "ok"}}),
        ({"response": {"status": 200}}, {**STORED, "response": {"status": 200, "body": "ok"}}),
        ({"response": {"body": None}}, {**STORED, "response": {"status": 201}}),
        ({"response": None}, {"allowed_addresses": ["10.0.0.0/8"]}),
        ({"response": {}}, STORED),
    ],
    ids=str,
)
def test_a_change_changes_what_it_names(given, kept):
    assert clean(merged(STORED, given)) == kept


@pytest.mark.spec("P16")
@pytest.mark.parametrize(
    ("address", "admitted"),
    [
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("::ffff:10.0.0.1", True),
        ("::ffff:11.0.0.1", False),
        ("2001:db8:1::1", True),
        ("2001:db9::1", False),
        ("2001:db8:1::1%eth0", True),
        ("::10.0.0.1", False),
        ("", False),
        ("nonsense", False),
        (None, False),
    ],
)
def test_only_listed_addresses_are_let_in(address, admitted):
    allowed = rules(allowed_addresses=["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"])
    assert allowed.admits_address(address) is admitted


def test_without_a_list_everybody_is_let_in():
    assert rules().admits_address(None)
    assert rules(allowed_addresses=["0.0.0.0/0"]).admits_address("203.0.113.9")
    assert not rules(allowed_addresses=["0.0.0.0/0"]).admits_address("2001:db8::1")
    assert not rules(allowed_addresses=["::/0"]).admits_address("203.0.113.9")


@pytest.mark.spec("P16")
@pytest.mark.parametrize(
    ("declared", "admitted"),
    [
        (b"application/json", True),
        (b"Application/JSON; charset=utf-8", True),
        (b"application/cloudevents+json", True),
        (b"application/json+x", False),
        (b"text/csv", True),
        (b"text/", False),
        (b"text/plain, application/json", False),
        (b"application/xml", False),
        (b"", False),
        (b"\xff", False),
    ],
)
def test_only_listed_content_types_are_taken(declared, admitted):
    allowed = rules(content_types=["application/json", "application/*+json", "Text/*"])
    assert allowed.admits_content_type(declared) is admitted


def test_without_a_list_any_content_type_is_taken():
    assert rules().admits_content_type(b"")


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("https://App.Example.com/", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://app.example.com:0443", "http://app.example.com:443"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        ("*", "*"),
    ],
)
def test_origins_are_stored_as_browsers_write_them(typed, kept):
    assert clean({"cors_origins": [typed]}) == {"cors_origins": [kept]}


def test_an_origin_that_is_not_listed_is_told_nothing():
    allowed = rules(cors_origins=["https://app.example.com"])
    assert allowed.cors(b"https://app.example.com")["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert allowed.cors(b"https://app.example.com")["Vary"] == "Origin"
    for origin in (None, b"", b"null", b"https://evil.example", b"https://app.example.com.evil.example"):
        assert allowed.cors(origin) == {}
    assert rules().cors(b"https://app.example.com") == {}


def test_nothing_of_the_request_comes_back_where_every_origin_is_allowed():
    told = rules(cors_origins=["*"]).cors(b"https://any.example\r\nSet-Cookie: a=b")
    assert told["Access-Control-Allow-Origin"] == "*"


def asked(origin=b"https://app.example.com", method=b"POST", headers=None):
    pairs = [(b"origin", origin), (b"access-control-request-method", method)]
    return [*pairs, (b"access-control-request-headers", headers)] if headers is not None else pairs


def test_a_preflight_is_told_what_may_be_sent():
    allowed = rules(cors_origins=["https://app.example.com"])
    told = preflight(allowed, asked(headers=b"content-type, X-Webhook-Key,bad name, x\xff,, "))
    assert told["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert told["Access-Control-Allow-Methods"] == "POST"
    assert told["Access-Control-Allow-Headers"] == "content-type, X-Webhook-Key"
    assert int(told["Access-Control-Max-Age"]) > 0
    assert "Access-Control-Allow-Headers" not in preflight(allowed, asked())


@pytest.mark.parametrize(
    "headers",
    [asked(origin=b"https://evil.example"), asked(method=b"PUT"), asked()[:1], asked()[1:], []],
    ids=["origin", "method", "no method", "no origin", "nothing"],
)
def test_no_preflight_is_answered_for_what_is_not_allowed(headers):
    assert preflight(rules(cors_origins=["https://app.example.com"]), headers) is None
    assert preflight(rules(), asked()) is None


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (None, None),
        ({"body": "ok"}, (200, "text/plain; charset=utf-8", b"ok")),
        ({"status": 204}, (204, "text/plain; charset=utf-8", b"")),
        ({"content_type": "application/json", "body": '{"ü": 1}'}, (200, "application/json", '{"ü": 1}'.encode())),
        (
            {"status": 201, "content_type": "text/xml", "body": "<Response/>"},
            (201, "text/xml; charset=utf-8", b"<Response/>"),
        ),
    ],
    ids=str,
)
def test_an_answer_of_its_own(given, answer):
    assert rules(response=given).answer == answer
