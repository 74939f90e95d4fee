"""Expressions of people we do not know: what they say, and that the hostile ones hurt nobody."""

import os
import resource
import time

import pytest

from subscriptions import evaluator as evaluating
from subscriptions.evaluator import Evaluator, OutOfOrder
from subscriptions.expressions import RESTING, TOO_LONG, TOO_MUCH, UNREADABLE, Verdict
from tests.choices import DOUBLING, HOSTILE, SLOW

EVENT = {
    "id": "e1", "type": "order.paid", "severity": "low", "source": "", "source_id": "", "site": "", "site_id": "",
    "title": "", "occurred_at": None, "received_at": "2026-01-02T03:04:05+00:00",
}  # fmt: skip
NUMBERS = b"[" + b",".join(b"%d" % n for n in range(20_000)) + b"]"


@pytest.fixture(scope="module")
def shared():
    with Evaluator() as running:
        yield running


@pytest.fixture
def evaluator():
    with Evaluator() as running:
        yield running


def ask(evaluator, text, payload=b"", **asked) -> Verdict:
    return evaluator.verdicts(EVENT, payload, [text], **asked)[text]


@pytest.mark.parametrize(
    ("text", "payload", "matched"),
    [
        ("payload.amount > 10", b'{"amount": 12}', True),
        ("payload.amount > 10", b'{"amount": 9.5}', False),
        ("payload.amount > 1e29", b'{"amount": 123456789012345678901234567890}', True),
        ('payload["a b"] == "\\u00e9"', '{"a b": "é"}'.encode(), True),
        ("payload == null", b"null", True),
        ("payload == null", b"", True),
        ('event.type == "order.paid"', b"{}", True),
        ('event.received_at < timestamp("2027-01-01T00:00:00Z")', b"{}", True),
        ("event.occurred_at == null", b"{}", True),
        ("payload.items.exists(i, i.n == 2)", b'{"items": [{"n": 1}, {"n": 2}]}', True),
        ("has(payload.a) && payload.a == 1", b"{}", False),
        ("payload.a == 1 || true", b"{}", True),
    ],
)
def test_what_is_true_is_a_match(shared, text, payload, matched):
    assert shared.check(text) == ""
    assert ask(shared, text, payload) == Verdict(matched)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("payload.b == 1", "There is no field b; has(…) asks whether there is."),
        ("payload.a", "Its value is a number, not true or false."),
        ("payload.a > 'x'", "Values of these kinds do not go together, or a value of this kind has no fields."),
        ("payload.a / 0 == 1", "It divides by zero."),
        (
            "string(payload.a).matches('(')",
            "Function 'matches' error: '(' not a valid regex: regex parse error: ( ^ error",
        ),
    ],
)
def test_an_error_is_no_match_and_says_what_is_wrong(shared, text, problem):
    said = ask(shared, text, b'{"a": 1}')
    assert not said.matched
    assert said.problem.startswith(problem)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("payload.a ==", "Line 1, column 13: something is missing at its end."),
        ("payload.a\n&& ((", "Line 2, column 6: something is missing at its end."),
        ("payload.a = 1", "Line 1, column 11: write == to compare."),
        ("payload.a and true", "Line 1, column 11: and is not expected here."),
        ("'abc", "Line 1, column 1: a text is not closed, or has a wrong \\ in it."),
        ("a @ b", "Line 1, column 3: @ is not understood."),
        ("a ? b", "Line 1, column 6: something is missing at its end."),
        ("(" * 100 + "true" + ")" * 100, "Line 1, column 97: it is nested too deeply."),
        ("payload.lower() == 'x'", "There is no function lower()."),
        ("body.x == 1", "There is no body: an expression sees event and payload."),
    ],
)
def test_a_wrong_expression_is_told_where_and_why(shared, text, sentence):
    assert shared.check(text) == sentence


@pytest.mark.parametrize(
    "text", ["[{!" * 40, "[!{" * 60 + "}" * 60, "!" * 1990 + "true", "payload" + "[0]" * 600, "\\", "'" * 1999]
)
def test_no_text_breaks_the_reader(shared, text):
    shared.check(text)
    assert shared.check("true") == ""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_expression_dies_of_its_limits(evaluator, name):
    payload = b"[" + b",".join([b'"aaaa"'] * 1000) + b"]" if "regular" in name else NUMBERS
    said = evaluator.verdicts(EVENT, payload, ["payload != null", HOSTILE[name], "payload[0] == payload[0]"])
    assert said[HOSTILE[name]] in (Verdict(False, TOO_LONG), Verdict(False, TOO_MUCH))
    assert said["payload != null"] == said["payload[0] == payload[0]"] == Verdict(True), "its neighbours are asked"


def test_memory_is_bounded(evaluator, monkeypatch, tmp_path):
    """Where the time would allow it: what cannot be had kills the process, not the machine."""
    patient = tmp_path / "patient.py"
    patient.write_text(evaluating.SCRIPT.read_text().replace("ASK_SECONDS = 0.1", "ASK_SECONDS = 30"))
    monkeypatch.setattr(evaluating, "SCRIPT", patient)
    assert ask(evaluator, DOUBLING) == Verdict(False, TOO_MUCH)


def test_one_that_is_killed_again_and_again_is_to_blame(monkeypatch, tmp_path):
    """A container that runs out of memory kills from outside."""
    suicide = tmp_path / "suicide.py"
    script = evaluating.SCRIPT.read_text()
    suicide.write_text(
        "import os\n" + script.replace("        value = compiled", "        os.kill(os.getpid(), 9), compiled")
    )
    monkeypatch.setattr(evaluating, "SCRIPT", suicide)
    with Evaluator() as own:
        assert ask(own, "true") == Verdict(False, TOO_MUCH)


def test_a_payload_that_takes_too_long_to_read_is_nobodys_strike(evaluator):
    huge = b"[" + b",".join([b'{"a":[]}'] * 1_000_000) + b"]"
    for _ in range(4):
        assert ask(evaluator, "payload != null", huge) == Verdict(False, UNREADABLE)
    assert ask(evaluator, "payload == 1", b"1") == Verdict(True)


def test_three_deaths_in_a_row_are_a_minutes_rest(evaluator, monkeypatch):
    for _ in range(3):
        assert ask(evaluator, SLOW).problem == TOO_LONG
    assert ask(evaluator, SLOW).problem == RESTING
    later = time.monotonic() + evaluating.REST
    monkeypatch.setattr(evaluating, "now", lambda: later)
    assert ask(evaluator, SLOW).problem == TOO_LONG
    assert ask(evaluator, SLOW).problem == RESTING


def test_an_answer_forgives_the_deaths_before(evaluator):
    text = "payload.all(x, payload.all(y, payload.all(z, x + y + z >= 0)))"
    for payload in (NUMBERS, NUMBERS, b"[1]", NUMBERS, NUMBERS):
        assert ask(evaluator, text, payload).problem != RESTING
    assert ask(evaluator, text, b"[1]") == Verdict(True)


def test_strikes_are_their_owners(evaluator):
    text = "payload.all(x, payload.all(y, payload.all(z, x + y + z >= 0)))"
    for _ in range(4):
        last = ask(evaluator, text, NUMBERS, owner="one tenant")
    assert last.problem == RESTING
    assert ask(evaluator, text, b"[1]", owner="another") == Verdict(True)


def test_the_process_knows_nothing_worth_having(evaluator, monkeypatch):
    monkeypatch.setenv("A_SECRET", "s3cret")
    ask(evaluator, "true")
    pid = evaluator._child.pid
    with open(f"/proc/{pid}/environ", "rb") as environ:
        assert b"s3cret" not in environ.read()
    assert set(os.listdir(f"/proc/{pid}/fd")) == {"0", "1", "2"}
    assert os.getpgid(pid) != os.getpgid(0)
    assert resource.prlimit(pid, resource.RLIMIT_FSIZE) == (0, 0)


def test_it_is_asked_again_where_somebody_killed_it(evaluator):
    ask(evaluator, "true")
    os.kill(evaluator._child.pid, 9)
    assert ask(evaluator, "true") == Verdict(True)


def test_closing_ends_the_process():
    with Evaluator() as own:
        ask(own, "true")
        child = own._child
    assert child.poll() is not None


def test_where_it_does_not_start_nothing_is_said(monkeypatch, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(3)")
    monkeypatch.setattr(evaluating, "SCRIPT", broken)
    with Evaluator() as own:
        with pytest.raises(OutOfOrder):
            ask(own, "true")
        with pytest.raises(OutOfOrder):
            own.check("true")


def test_one_that_does_not_answer_is_ended(monkeypatch, tmp_path):
    mute = tmp_path / "mute.py"
    mute.write_text("import time\nprint('{}', flush=True)\ntime.sleep(60)")
    monkeypatch.setattr(evaluating, "SCRIPT", mute)
    monkeypatch.setattr(evaluating, "PATIENCE", 0.2)
    with Evaluator() as own:
        assert ask(own, "true").problem == UNREADABLE
        assert own._child is None
