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
from sources.signed_snippets import ed25519_python, ed25519_shell, hmac_python, hmac_shell
from sources.snippet_parts import Sender, header_option
from sources.token_snippets import token_snippets

SAMPLE_BODY = '{"type": "login.failed", "severity": "high", "user": "ada", "attempts": 3}'
PLACEHOLDER_KEY_ID = "YOUR_KEY_ID"


@dataclass(frozen=True)
class Snippet:
    """``language`` is one a highlighter knows: ``bash``, ``python``, ``javascript`` or ``go``."""

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
    """A curl and a Python sender that this source accepts; for tokens in more languages (`sources.token_snippets`).

    ``config`` is what ``clean_config`` returned; ``secret`` is None once it is no longer shown.
    ``key_id`` is the JWT ``kid``. Raises ``KeyError`` for an unknown method.
    """
    if method == "jwt":
        made = token_snippets(config, url, secret, key_id or PLACEHOLDER_KEY_ID, json.loads(body))
        return [Snippet(*one) for one in made]
    settings = {item.name: item.default for item in METHODS[method].settings} | dict(config)
    shell, python = _SENDERS[method]
    return [
        Snippet("bash", "curl", shell(Sender(settings, url, secret, body))),
        Snippet("python", "Python", python(Sender(settings, url, secret, body))),
    ]


def _shared_secret_shell(sender: Sender) -> str:
    option = header_option(sender.setting("header"), "", "secret")
    return sender.shell(sender.shell_secret(), sender.curl(option))


def _shared_secret_python(sender: Sender) -> str:
    return sender.python(headers=f", {ascii(sender.setting('header'))}: secret")


def _bearer_shell(sender: Sender) -> str:
    option = header_option("Authorization", "Bearer ", "secret")
    return sender.shell(sender.shell_secret(), sender.curl(option))


def _bearer_python(sender: Sender) -> str:
    return sender.python(headers=', "Authorization": "Bearer " + secret')


def _basic_shell(sender: Sender) -> str:
    option = f'--user {quote(sender.setting("username") + ":")}"$secret"'
    return sender.shell(sender.shell_secret(), sender.curl(option))


def _basic_python(sender: Sender) -> str:
    return sender.python(
        f"credentials = {ascii(sender.setting('username'))} + ':' + secret",
        "encoded = base64.b64encode(credentials.encode()).decode()",
        imports=("base64",),
        headers=', "Authorization": "Basic " + encoded',
    )


def _none_shell(sender: Sender) -> str:
    return sender.shell(sender.curl())


def _none_python(sender: Sender) -> str:
    return sender.python(secret=False)


_SENDERS = {
    "shared_secret": (_shared_secret_shell, _shared_secret_python),
    "hmac": (hmac_shell, hmac_python),
    "ed25519": (ed25519_shell, ed25519_python),
    "bearer": (_bearer_shell, _bearer_python),
    "basic": (_basic_shell, _basic_python),
    "none": (_none_shell, _none_python),
}
