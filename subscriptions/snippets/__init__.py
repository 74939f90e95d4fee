"""Ready-made receivers: how a message is verified, in code that runs when pasted (B4, S4, N5, N6).

Pure: text out. A module a language; each has the code of every scheme, with these places in it:

    @KEY@         the expression for what the receiver verifies with: a literal, or a look into the environment
    @ID@, @TIMESTAMP@, @SIGNATURE@        the names of the headers, in small letters

docs/signatures.md shows the Python and the Node.js, and tests run what this machine has a language for against
`signing.py`. The order is the same for every scheme: the page that reveals a secret has a tab for each, filled from
the API's answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from subscriptions.signing import NO_OPTIONS, SCHEMES
from subscriptions.snippets import go, node, php, python, ruby, shell

SECRET_VARIABLE = "WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
PUBLIC_KEY_VARIABLE = "WEBHOOK_PUBLIC_KEY"


@dataclass(frozen=True)
class Snippet:
    """`language` is one a highlighter knows; `label` is what its tab says."""

    label: str
    language: str
    code: str


@dataclass(frozen=True)
class _Language:
    label: str
    name: str
    receivers: Mapping[str, str]
    literal: str
    environment: str
    # A line that only code with this in it needs: reading the environment takes a module.
    reads: tuple[str, str] = ("", "")


_LANGUAGES = (
    _Language("Python", "python", python.RECEIVERS, '"{}"', 'os.environ["{}"]', ("", "import os\n")),
    _Language("Node.js", "javascript", node.RECEIVERS, '"{}"', "process.env.{}"),
    _Language("Go", "go", go.RECEIVERS, '"{}"', 'os.Getenv("{}")', ('\t"net/http"\n', '\t"net/http"\n\t"os"\n')),
    _Language("PHP", "php", php.RECEIVERS, "'{}'", "getenv('{}')"),
    _Language("Ruby", "ruby", ruby.RECEIVERS, '"{}"', 'ENV.fetch("{}")'),
    _Language("Shell", "bash", shell.RECEIVERS, "'{}'", '"${}"'),
    _Language("Plain Python", "python", python.WITHOUT_LIBRARY, '"{}"', 'os.environ["{}"]', ("", "import os\n")),
)
LABELS = tuple(language.label for language in _LANGUAGES)


def snippets(scheme: str, key: str | None = None, options: Mapping[str, str] = NO_OPTIONS) -> list[Snippet]:
    """Verifiers for what `scheme` signs; none where it signs nothing.

    `key` is the secret or the public key. Without one they read it from the environment. Raises KeyError for an
    unknown scheme.
    """
    known = SCHEMES[scheme]
    names = known.headers(options)
    places = {"@ID@": names.id, "@TIMESTAMP@": names.timestamp, "@SIGNATURE@": names.signature}
    variable = PUBLIC_KEY_VARIABLE if known.has_public_key else SECRET_VARIABLE
    made = []
    for language in _LANGUAGES:
        code = language.receivers.get(scheme)
        if code is None:
            continue
        if key is None:
            before, after = language.reads
            code = code.replace(before, after, 1) if before else after + code
            code = code.replace("@KEY@", language.environment.format(variable))
        else:
            code = code.replace("@KEY@", language.literal.format(key))
        for place, name in places.items():
            code = code.replace(place, name.lower())
        made.append(Snippet(language.label, language.name, code))
    return made
