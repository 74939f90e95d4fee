"""The process that expressions are asked in: the far side of `subscriptions.evaluator`, which starts it as a script.

Whoever asks loses nothing if this dies: it has no database, no secrets, no files, and knows nobody's events but the one
that it is asked about. So its bounds are simply deadly: a timer of CPU time whose signal ends the process in the middle
of whatever the library does, and a limit of address space. Only this module imports the library.

It reads a line of JSON, with `size` bytes of payload behind it where there is one, and answers with lines of JSON:
`{"check": text}` with what the text names; `{"event": …, "size": …, "ask": [text, …]}` with a line when event and
payload are read, then one line for each text.
"""

import json
import resource
import signal
import sys
from datetime import datetime
from functools import lru_cache
from types import ModuleType

LOAD_SECONDS = 0.25  # CPU, to read a payload
ASK_SECONDS = 0.1  # CPU, to compile and ask one expression
ADDRESS_SPACE = 512 << 20
CACHED = 500  # compiled expressions
MOMENTS = ("occurred_at", "received_at")
INT64 = range(-(2**63), 2**63)

sys.modules["cel.cli"] = ModuleType("cel.cli")  # its command line, with half a dozen libraries, 100 ms and 20 MB
import cel  # noqa: E402


def main() -> None:
    confine()
    say({"ready": True})
    while line := sys.stdin.buffer.readline():
        question = json.loads(line)
        if "check" in question:
            say(within(ASK_SECONDS, check, question["check"]))
            continue
        payload = sys.stdin.buffer.read(question["size"])
        context = within(LOAD_SECONDS, load, question["event"], payload)
        say({"loaded": True})
        for text in question["ask"]:
            say(within(ASK_SECONDS, ask, text, context))


def confine() -> None:
    """Signals to the worker's whole group are not meant for this one: it ends when its input does."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for limit, most in {
        resource.RLIMIT_AS: ADDRESS_SPACE,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 16,
    }.items():
        resource.setrlimit(limit, (most, most))


def within(seconds, work, *given):
    """Do it, or die by SIGPROF when it has used more CPU time than that."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return work(*given)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def say(answer: dict) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


def check(text: str) -> dict:
    try:
        return cel.compile(text).references()
    except ValueError as error:
        return {"syntax": str(error)}
    except BaseException as error:  # a panic of the library's is no Exception
        return {"syntax": "", "kind": type(error).__name__}


def load(event: dict, payload: bytes) -> cel.Context:
    for name in MOMENTS:
        event[name] = event[name] and datetime.fromisoformat(event[name])
    context = cel.Context()
    context.add_variable("event", event)
    context.add_variable("payload", json.loads(payload, parse_int=number) if payload else None)
    return context


def number(digits: str) -> int | float:
    """What does not fit into CEL's int is a double, as it is in JavaScript."""
    return value if len(digits) < 21 and (value := int(digits)) in INT64 else float(digits)


def ask(text: str, context: cel.Context) -> dict:
    try:
        value = compiled(text).execute(context)
    except BaseException as error:  # a panic of the library's is no Exception
        return {"failed": [type(error).__name__, str(error.args[0]) if error.args else ""]}
    return {"value": value} if type(value) is bool else {"not_bool": type(value).__name__}


@lru_cache(CACHED)
def compiled(text: str) -> cel.Program:
    return cel.compile(text)


if __name__ == "__main__":
    main()
