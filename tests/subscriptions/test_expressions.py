"""The language of filters: what is taken, and what people are told of what is not. Pure."""

import pytest

from subscriptions.expressions import (
    MAX_LENGTH,
    clean_expression,
    explain_failure,
    explain_kind,
    explain_syntax,
    looks_into_payload,
    unknown_names,
)


@pytest.mark.parametrize(("text", "clean"), [("", ""), ("  \n ", ""), (" a == 1 \r\n|| b ", "a == 1 \n|| b")])
def test_white_space_around_it_does_not_count(text, clean):
    assert clean_expression(text) == clean


@pytest.mark.parametrize("text", ["x" * (MAX_LENGTH + 1), "a\x00b", "a\x1bb"])
def test_what_is_no_plain_text_is_refused(text):
    with pytest.raises(ValueError, match="A filter"):
        clean_expression(text)


@pytest.mark.parametrize(
    ("text", "looks"), [("payload.a == 1", True), ("payload", True), ('event.type == "x"', False), ("payloads", False)]
)
def test_only_who_names_the_payload_looks_into_it(text, looks):
    assert looks_into_payload(text) is looks


@pytest.mark.parametrize(
    ("text", "variables", "functions", "sentence"),
    [
        ("payload.a", ["payload"], [], ""),
        ("pay.a", ["pay"], [], "There is no pay: an expression sees event and payload."),
        ("payload.l.all( x , x > 1)", ["payload", "x"], ["_>_"], ""),
        ("payload.l.all(x, y)", ["payload", "x", "y"], [], "There is no y: an expression sees event and payload."),
        ("payload.l.map(i, i > 1, i)", ["payload", "i"], [], ""),
        ("lower(payload)", ["payload"], ["lower"], "There is no function lower()."),
        ("type(payload) == string", ["payload", "string"], ["type"], ""),
    ],
)
def test_names_that_there_are_not(text, variables, functions, sentence):
    assert unknown_names(text, variables, functions) == sentence


def test_a_place_is_told_in_words():
    message = (
        "Failed to parse expression 'a\n&&': ERROR: <input>:2:3: Syntax error: mismatched input '<EOF>' expecting {'['}"
    )
    assert explain_syntax(message) == "Line 2, column 3: something is missing at its end."
    assert explain_syntax("no place in it") == "This is not an expression."


@pytest.mark.parametrize(
    ("kind", "message", "sentence"),
    [
        ("KeyError", "x", "There is no field x; has(…) asks whether there is."),
        ("ZeroDivisionError", "division by zero in CEL expression", "It divides by zero."),
        ("IndexError", "index out of bounds: 7", "Index out of bounds: 7."),
        ("RuntimeError", "", "It failed."),
    ],
)
def test_failures_in_words(kind, message, sentence):
    assert explain_failure(kind, message) == sentence


def test_a_failure_is_a_sentence_of_bounded_length():
    assert len(explain_failure("KeyError", "x" * 5000)) < 300
    assert explain_kind("NoneType") == "Its value is null, not true or false."
