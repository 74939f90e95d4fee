"""Ready-made senders for a source: what its page shows after it was made (spec P13, D7, D3).

Pure: text out. Every snippet runs when pasted as it stands; where the secret is no longer known
it is taken from the environment variable ``PORTCULLIS_SECRET``. All values are quoted for the
shell or written as ASCII Python literals, so a name or URL can never become code. The shell
snippets have no comments: zsh does not accept those when pasted.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote

from sources.authentication import METHODS

SAMPLE_BODY = '{"type": "login.failed", "severity": "high", "user": "ada", "attempts": 3}'
PLACEHOLDER_KEY_ID = "YOUR_KEY_ID"
SECRET_VARIABLE = "PORTCULLIS_SECRET"  # noqa: S105 - the name of a variable


@dataclass(frozen=True)
class Snippet:
    """``language`` is one a highlighter knows: ``bash`` or ``python``."""

    language: str
    title: str
    code: str


def snippets(
    method: str,
    config: Mapping[str, object],
    url: str,
    secret: str | None,
    *,
    key_id: str = "",
    body: str = SAMPLE_BODY,
) -> list[Snippet]:
    """A curl and a Python sender that this source accepts.

    ``config`` is what ``clean_config`` returned; ``secret`` is None once it is no longer shown.
    ``key_id`` is the JWT ``kid``. Raises ``KeyError`` for an unknown method.
    """
    settings = {item.name: item.default for item in METHODS[method].settings} | dict(config)
    shell, python = _SENDERS[method]
    key_id = key_id or PLACEHOLDER_KEY_ID
    python_title = "Python (PyJWT)" if method == "jwt" else "Python"
    return [
        Snippet("bash", "curl", shell(_Sender(settings, url, secret, key_id, body))),
        Snippet("python", python_title, python(_Sender(settings, url, secret, key_id, body))),
    ]


def jwt_header(config: Mapping[str, object], key_id: str) -> dict[str, str]:
    """The header object of a token for this key (D3). The algorithm is not configurable."""
    return {"alg": "HS256", "kid": key_id, "typ": "JWT"}


def jwt_payload(body: Mapping[str, object], timestamp: float) -> dict[str, object]:
    """The payload template (D3): the body's first-level fields, and when it was made.

    ``timestamp`` is POSIX seconds. A body with its own ``Timestamp`` keeps that one, since the
    claim must then equal it, and the time goes into ``iat``.
    """
    name = "iat" if "Timestamp" in body else "Timestamp"
    return {**body, name: timestamp}


@dataclass(frozen=True)
class _Sender:
    """The values that a snippet is made of, in the spelling of each language."""

    config: Mapping[str, object]
    url: str
    secret: str | None
    key_id: str
    body: str

    def setting(self, name: str) -> str:
        return str(self.config[name])

    def tied_to_body(self) -> dict[str, object]:
        """The body's fields, if the source wants them repeated as claims."""
        return dict(json.loads(self.body)) if self.config.get("claims_match_body") else {}

    def shell_secret(self) -> str:
        if self.secret is None:
            return f'secret="${SECRET_VARIABLE}"'
        return f"secret={quote(self.secret)}"

    def python_secret(self) -> str:
        if self.secret is None:
            return f'secret = os.environ["{SECRET_VARIABLE}"]'
        return f"secret = {ascii(self.secret)}"

    def curl(self, *options: str) -> str:
        lines = [
            f"curl --include {quote(self.url)}",
            "--header 'Content-Type: application/json'",
            *options,
            '--data-binary "$body"',
        ]
        return " \\\n  ".join(lines)

    def shell(self, *lines: str) -> str:
        return "\n".join([f"body={quote(self.body)}", *lines]) + "\n"

    def python(
        self,
        *preparation: str,
        imports: tuple[str, ...] = (),
        headers: str = "",
        secret: bool = True,
    ) -> str:
        modules = {"urllib.request", *imports, *(["os"] if secret and self.secret is None else [])}
        standard = [f"import {name}" for name in sorted(modules - {"jwt"})]
        installed = ["", "import jwt  # pip install pyjwt"] if "jwt" in modules else []
        return "\n".join(
            [
                *standard,
                *installed,
                "",
                f"url = {ascii(self.url)}",
                *([self.python_secret()] if secret else []),
                f"body = {ascii(self.body)}.encode()",
                *preparation,
                "",
                "request = urllib.request.Request(",
                "    url,",
                "    data=body,",
                f'    headers={{"Content-Type": "application/json"{headers}}},',
                '    method="POST",',
                ")",
                "with urllib.request.urlopen(request) as response:",
                "    print(response.status, response.read().decode())",
                "",
            ]
        )


def _header_option(name: str, before: str, variable: str) -> str:
    """A curl option for a header with a literal beginning and a shell variable after it."""
    return f'--header {quote(f"{name}: {before}")}"${variable}"'


def _shared_secret_shell(sender: _Sender) -> str:
    option = _header_option(sender.setting("header"), "", "secret")
    return sender.shell(sender.shell_secret(), sender.curl(option))


def _shared_secret_python(sender: _Sender) -> str:
    return sender.python(headers=f", {ascii(sender.setting('header'))}: secret")


def _bearer_shell(sender: _Sender) -> str:
    option = _header_option("Authorization", "Bearer ", "secret")
    return sender.shell(sender.shell_secret(), sender.curl(option))


def _bearer_python(sender: _Sender) -> str:
    return sender.python(headers=', "Authorization": "Bearer " + secret')


def _basic_shell(sender: _Sender) -> str:
    option = f'--user {quote(sender.setting("username") + ":")}"$secret"'
    return sender.shell(sender.shell_secret(), sender.curl(option))


def _basic_python(sender: _Sender) -> str:
    return sender.python(
        f"credentials = {ascii(sender.setting('username'))} + ':' + secret",
        "encoded = base64.b64encode(credentials.encode()).decode()",
        imports=("base64",),
        headers=', "Authorization": "Basic " + encoded',
    )


def _hmac_shell(sender: _Sender) -> str:
    # "-r" prints the digest first in every release of OpenSSL and LibreSSL.
    algorithm = sender.setting("algorithm")
    command = f'openssl dgst -{algorithm} -hmac "$secret" -r'
    option = _header_option(sender.setting("header"), f"{algorithm}=", "signature")
    return sender.shell(
        sender.shell_secret(),
        f"signature=$(printf '%s' \"$body\" | {command} | cut -d ' ' -f 1)",
        sender.curl(option),
    )


def _hmac_python(sender: _Sender) -> str:
    algorithm = sender.setting("algorithm")
    return sender.python(
        f"signature = hmac.new(secret.encode(), body, hashlib.{algorithm}).hexdigest()",
        imports=("hashlib", "hmac"),
        headers=f", {ascii(sender.setting('header'))}: {ascii(algorithm + '=')} + signature",
    )


def _compact(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _jwt_shell(sender: _Sender) -> str:
    header = _compact(jwt_header(sender.config, sender.key_id))
    fields = _compact(sender.tied_to_body())[1:-1]
    beginning = "{" + (fields + "," if fields else "") + '"iat":'
    return sender.shell(
        sender.shell_secret(),
        "base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }",
        f"header=$(printf '%s' {quote(header)} | base64url)",
        f"payload=$(printf '%s' {quote(beginning)}\"$(date +%s)\"'}}' | base64url)",
        'signature=$(printf \'%s\' "$header.$payload" | openssl dgst -sha256 -hmac "$secret" -binary | base64url)',
        'token="$header.$payload.$signature"',
        sender.curl(_header_option(sender.setting("header"), "", "token")),
    )


def _jwt_python(sender: _Sender) -> str:
    tied = bool(sender.config.get("claims_match_body"))
    header = jwt_header(sender.config, sender.key_id)
    return sender.python(
        f'payload = {{{"**json.loads(body), " if tied else ""}"iat": int(time.time())}}',
        f"header = {ascii(header)}",
        'token = jwt.encode(payload, secret, algorithm="HS256", headers=header)',
        imports=("time", "jwt", "json") if tied else ("time", "jwt"),
        headers=f", {ascii(sender.setting('header'))}: token",
    )


def _none_shell(sender: _Sender) -> str:
    return sender.shell(sender.curl())


def _none_python(sender: _Sender) -> str:
    return sender.python(secret=False)


_SENDERS = {
    "shared_secret": (_shared_secret_shell, _shared_secret_python),
    "hmac": (_hmac_shell, _hmac_python),
    "bearer": (_bearer_shell, _bearer_python),
    "basic": (_basic_shell, _basic_python),
    "jwt": (_jwt_shell, _jwt_python),
    "none": (_none_shell, _none_python),
}
