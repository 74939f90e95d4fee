"""What the snippets of all methods are made of: values in the spelling of a shell and of Python."""

from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote

from sources.token_snippets import SECRET_VARIABLE


@dataclass(frozen=True)
class Sender:
    """The values that a snippet is made of, in the spelling of each language."""

    config: Mapping[str, object]
    url: str
    secret: str | None
    body: str

    def setting(self, name: str) -> str:
        return str(self.config[name])

    def shell_secret(self) -> str:
        if self.secret is None:
            return f'secret="${SECRET_VARIABLE}"'
        return f"secret={quote(self.secret)}"

    def python_secret(self) -> str:
        if self.secret is None:
            return f'secret = os.environ["{SECRET_VARIABLE}"]'
        return f"secret = {ascii(self.secret)}"

    def curl(self, *options: str, url: str = "") -> str:
        """``url`` is a shell word in place of the source's own."""
        lines = [
            f"curl --include {url or quote(self.url)}",
            "--header 'Content-Type: application/json'",
            *options,
            '--data-binary "$body"',
        ]
        return " \\\n  ".join(lines)

    def shell(self, *lines: str, body: str = "") -> str:
        """``body`` is a shell word in place of the sample."""
        return "\n".join([f"body={body or quote(self.body)}", *lines]) + "\n"

    def python(
        self,
        *preparation: str,
        imports: tuple[str, ...] = (),
        installed: tuple[str, ...] = (),
        headers: str = "",
        body: str = "",
        secret: bool = True,
    ) -> str:
        """``installed`` are whole import lines; ``body`` is a Python expression in place of the sample."""
        modules = {"urllib.request", *imports, *(["os"] if secret and self.secret is None else [])}
        return "\n".join(
            [
                *(f"import {name}" for name in sorted(modules)),
                *(["", *installed] if installed else []),
                "",
                f"url = {ascii(self.url)}",
                *([self.python_secret()] if secret else []),
                f"body = {body or ascii(self.body)}.encode()",
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


def header_option(name: str, before: str, variable: str) -> str:
    """A curl option for a header with a literal beginning and a shell variable after it."""
    return f'--header {quote(f"{name}: {before}")}"${variable}"'
