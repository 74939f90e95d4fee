"""Ready-made senders that sign a JSON Web Token: PyJWT, curl, Node, Go (spec D3, D7).

Pure: text out. Every one runs when pasted as it stands, with the key's own values: URL, header name, ``kid``, the
fields that the payload repeats. Where the secret is no longer known it is taken from the environment. Each token
is a new one (``iat``, ``jti``). All values are quoted for their language and ASCII where a file's encoding could
matter, so that no name becomes code. The shell one has no comments: zsh does not accept those when pasted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from sources.authentication.token_claims import REGISTERED_CLAIMS

SECRET_VARIABLE = "PORTCULLIS_SECRET"  # noqa: S105 - the name of a variable
EXAMPLE = "example"
DEFAULT_HEADER = "X-Webhook-JWT"

# What a body calls so has a meaning of its own as a claim, and would have to be a time or a name of the token.
_NOT_REPEATED = REGISTERED_CLAIMS | {"Timestamp"}

Code = tuple[str, str, str]


def token_header(key_id: str) -> dict[str, str]:
    """The header object of a token for this key (D3). The algorithm is not configurable."""
    return {"alg": "HS256", "kid": key_id, "typ": "JWT"}


def repeated_fields(config: Mapping[str, object]) -> list[str]:
    """The first-level keys of the sample body that the payload repeats, in their order."""
    keys = config.get("sample_keys")
    return [key for key in keys if key not in _NOT_REPEATED] if isinstance(keys, list | tuple) else []


def token_payload(config: Mapping[str, object], now: int) -> dict[str, object]:
    """The payload to copy (D3): a place for each field, and when it was made. ``now`` is POSIX seconds.

    A body with a ``Timestamp`` of its own keeps that name for itself, and the time goes into ``iat``.
    """
    keys = config.get("sample_keys")
    taken = isinstance(keys, list | tuple) and "Timestamp" in keys
    fields: dict[str, object] = {name: f"<{name} of the body>" for name in repeated_fields(config)}
    fields["iat" if taken else "Timestamp"] = now
    if config.get("single_use") == "required":
        fields["jti"] = "<a new one for each token>"
    return fields


def token_snippets(
    config: Mapping[str, object], url: str, secret: str | None, key_id: str, body: Mapping[str, object]
) -> list[Code]:
    """``(language, title, code)`` of each. ``body`` is sent where the source knows no keys of a sample body."""
    keys = config.get("sample_keys")
    if isinstance(keys, list | tuple) and keys:
        body = {str(key): EXAMPLE for key in keys}
    sender = _Sender(
        url, secret, token_header(key_id), str(config.get("header") or DEFAULT_HEADER), body, repeated_fields(config)
    )
    return [
        ("bash", "curl", _shell(sender)),
        ("python", "Python (PyJWT)", _python(sender)),
        ("javascript", "Node", _node(sender)),
        ("go", "Go", _go(sender)),
    ]


@dataclass(frozen=True)
class _Sender:
    url: str
    secret: str | None
    header: Mapping[str, str]
    header_name: str
    body: Mapping[str, object]
    repeated: Sequence[str]

    @property
    def scheme(self) -> str:
        return "Bearer " if self.header_name.lower() == "authorization" else ""


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _shell(sender: _Sender) -> str:
    secret = f'"${SECRET_VARIABLE}"' if sender.secret is None else quote(sender.secret)
    fields = {name: sender.body[name] for name in sender.repeated}
    place, given = ("%s", '"$fields" ') if fields else ("", "")
    option = quote(f"{sender.header_name}: {sender.scheme}")
    return "\n".join(
        [
            f"body={quote(json.dumps(sender.body))}",
            f"secret={secret}",
            "base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }",
            f"header=$(printf '%s' {quote(_compact(sender.header))} | base64url)",
            *([f"fields={quote(_compact(fields)[1:-1] + ',')}"] if fields else []),
            "jti=$(openssl rand -hex 16)",
            f'payload=$(printf \'{{{place}"iat":%s,"jti":"%s"}}\' {given}"$(date +%s)" "$jti" | base64url)',
            'signature=$(printf \'%s\' "$header.$payload" | openssl dgst -sha256 -hmac "$secret" -binary | base64url)',
            f"curl --include {quote(sender.url)} \\",
            "  --header 'Content-Type: application/json' \\",
            f'  --header {option}"$header.$payload.$signature" \\',
            '  --data-binary "$body"',
            "",
        ]
    )


def _python(sender: _Sender) -> str:
    unknown = sender.secret is None
    secret = f'os.environ["{SECRET_VARIABLE}"]' if unknown else ascii(sender.secret)
    own = f"{{name: body[name] for name in {ascii(list(sender.repeated))}}} | " if sender.repeated else ""
    token = f'"{sender.scheme}" + token' if sender.scheme else "token"
    return "\n".join(
        [
            "import json",
            *(["import os"] if unknown else []),
            "import time",
            "import urllib.request",
            "import uuid",
            "",
            "import jwt  # pip install pyjwt",
            "",
            f"url = {ascii(sender.url)}",
            f"secret_key = {secret}",
            f"body = {ascii(dict(sender.body))}",
            "",
            f'payload = {own}{{"iat": int(time.time()), "jti": str(uuid.uuid4())}}',
            f"jwt_header = {ascii(dict(sender.header))}",
            'token = jwt.encode(payload, secret_key, algorithm="HS256", headers=jwt_header)',
            "",
            "request = urllib.request.Request(",
            "    url,",
            "    data=json.dumps(body).encode(),",
            f'    headers={{"Content-Type": "application/json", {ascii(sender.header_name)}: {token}}},',
            '    method="POST",',
            ")",
            "with urllib.request.urlopen(request) as response:",
            "    print(response.status, response.read().decode())",
            "",
        ]
    )


def _node(sender: _Sender) -> str:
    secret = f"process.env.{SECRET_VARIABLE}" if sender.secret is None else json.dumps(sender.secret)
    fields = "".join(f"{json.dumps(name)}: body[{json.dumps(name)}], " for name in sender.repeated)
    return "\n".join(
        [
            'const { createHmac, randomUUID } = require("node:crypto");',
            "",
            f"const url = {json.dumps(sender.url)};",
            f"const secretKey = {secret};",
            f"const body = {json.dumps(sender.body)};",
            "",
            'const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");',
            f"const payload = {{ {fields}iat: Math.floor(Date.now() / 1000), jti: randomUUID() }};",
            f"const signed = base64url({json.dumps(sender.header)}) + '.' + base64url(payload);",
            'const signature = createHmac("sha256", secretKey).update(signed).digest("base64url");',
            "",
            "fetch(url, {",
            '  method: "POST",',
            "  headers: {",
            '    "Content-Type": "application/json",',
            f"    {json.dumps(sender.header_name)}: {json.dumps(sender.scheme)} + signed + '.' + signature,",
            "  },",
            "  body: JSON.stringify(body),",
            "}).then(async (response) => console.log(response.status, await response.text()));",
            "",
        ]
    )


def _go(sender: _Sender) -> str:
    unknown = sender.secret is None
    secret = f"os.Getenv({_go_text(SECRET_VARIABLE)})" if unknown else _go_text(sender.secret or "")
    names = ", ".join(_go_text(name) for name in sender.repeated)
    repeat = [f"\tfor _, name := range []string{{{names}}} {{", "\t\tpayload[name] = body[name]", "\t}"]
    modules = [
        "bytes", "crypto/hmac", "crypto/rand", "crypto/sha256", "encoding/base64", "encoding/hex", "encoding/json",
        "fmt", "io", "net/http", *(["os"] if unknown else []), "time",
    ]  # fmt: skip
    return "\n".join(
        [
            "package main",
            "",
            "import (",
            *(f'\t"{name}"' for name in modules),
            ")",
            "",
            "func must[T any](value T, err error) T {",
            "\tif err != nil {",
            "\t\tpanic(err)",
            "\t}",
            "\treturn value",
            "}",
            "",
            "func base64url(value any) string {",
            "\treturn base64.RawURLEncoding.EncodeToString(must(json.Marshal(value)))",
            "}",
            "",
            "func main() {",
            f"\turl := {_go_text(sender.url)}",
            f"\tsecretKey := {secret}",
            f"\tbody := {_go_value(dict(sender.body))}",
            "",
            "\tid := make([]byte, 16)",
            "\tmust(rand.Read(id))",
            '\tpayload := map[string]any{"iat": time.Now().Unix(), "jti": hex.EncodeToString(id)}',
            *(repeat if names else []),
            f'\tsigned := base64url({_go_value(dict(sender.header))}) + "." + base64url(payload)',
            "\tmac := hmac.New(sha256.New, []byte(secretKey))",
            "\tmac.Write([]byte(signed))",
            '\ttoken := signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))',
            "",
            '\trequest := must(http.NewRequest("POST", url, bytes.NewReader(must(json.Marshal(body)))))',
            '\trequest.Header.Set("Content-Type", "application/json")',
            f"\trequest.Header.Set({_go_text(sender.header_name)}, {_go_text(sender.scheme)}+token)",
            "\tresponse := must(http.DefaultClient.Do(request))",
            "\tdefer response.Body.Close()",
            "\tfmt.Println(response.StatusCode, string(must(io.ReadAll(response.Body))))",
            "}",
            "",
        ]
    )


def _go_text(text: str) -> str:
    """An interpreted string literal in ASCII (Go's specification, "String literals")."""

    def spelt(character: str) -> str:
        if character in '"\\':
            return f"\\{character}"
        number = ord(character)
        if 0x20 <= number < 0x7F:
            return character
        return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"

    return '"' + "".join(spelt(character) for character in text) + '"'


def _go_value(value: object) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_go_text(str(key))}: {_go_value(item)}" for key, item in value.items())
        return f"map[string]any{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[]any{{{', '.join(_go_value(item) for item in value)}}}"
    if value is None or isinstance(value, bool):
        return {None: "nil", True: "true", False: "false"}[value]
    return _go_text(value) if isinstance(value, str) else repr(value)
