"""Ready-made senders that sign: HMAC in every scheme that the settings can say, and Ed25519 (spec P13, D7).

A scheme that signs the URL with a form's fields is shown with JSON, whose hash then stands in the URL. The private
key of Ed25519 is the sender's; it is read from the file that ``PORTCULLIS_PRIVATE_KEY`` names.
"""

import json
from shlex import quote

from sources.authentication.scheme import NOTHING, Place, template_parts
from sources.snippet_parts import Sender

PRIVATE_KEY_VARIABLE = "PORTCULLIS_PRIVATE_KEY"

_DIGEST = "openssl dgst"
_SHELL = {"body": '"$body"', "timestamp": '"$timestamp"', "id": '"$id"', "url": '"$url"', "form": ""}
_PYTHON = {
    "body": "body",
    "timestamp": "timestamp.encode()",
    "id": "identifier.encode()",
    "url": "url.encode()",
    "form": "",
}


def hmac_shell(sender: Sender) -> str:
    # "-r" prints the digest first in every release of OpenSSL and LibreSSL.
    algorithm, encoding = sender.setting("algorithm"), sender.setting("key_encoding")
    key = [] if encoding == "utf-8" else [f"key={_shell_key(encoding)}"]
    keyed = '-hmac "$secret"' if encoding == "utf-8" else '-mac HMAC -macopt "hexkey:$key"'
    command = f"{_DIGEST} -{algorithm} {keyed}"
    if sender.setting("encoding") == "hex":
        made = f"{command} -r | cut -d ' ' -f 1"
    else:
        made = f"{command} -binary | openssl base64 -A"
    return sender.shell(
        sender.shell_secret(),
        *key,
        *_shell_values(sender),
        f"signature=$(printf '%s' {_shell_message(sender)} | {made})",
        sender.curl(*_shell_headers(sender), url='"$url"' if "url" in _fields(sender) else ""),
        body=_shell_body(sender),
    )


def hmac_python(sender: Sender) -> str:
    algorithm, encoding = sender.setting("algorithm"), sender.setting("key_encoding")
    key = {
        "utf-8": "secret.encode()",
        "base64": 'base64.b64decode(secret.removeprefix("whsec_"))',
        "hex": "bytes.fromhex(secret)",
    }[encoding]
    digest = f"hmac.new({key}, {_python_message(sender)}, hashlib.{algorithm})"
    made = f"{digest}.hexdigest()" if sender.setting("encoding") == "hex" else _base64(f"{digest}.digest()")
    values, modules = _python_values(sender)
    return sender.python(
        *values,
        f"signature = {made}",
        imports=("hashlib", "hmac", *modules, *(["base64"] if "base64." in made else [])),
        headers=_python_headers(sender),
        body=_python_body(sender),
    )


def ed25519_shell(sender: Sender) -> str:
    made = f'openssl pkeyutl -sign -rawin -inkey "${PRIVATE_KEY_VARIABLE}" -in "$message"'
    written = "openssl base64 -A" if sender.setting("encoding") == "base64" else "od -An -v -tx1 | tr -d ' \\n'"
    return sender.shell(
        *_shell_values(sender),
        "message=$(mktemp)",
        f"printf '%s' {_shell_message(sender)} > \"$message\"",
        f"signature=$({made} | {written})",
        'rm "$message"',
        sender.curl(*_shell_headers(sender), url='"$url"' if "url" in _fields(sender) else ""),
        body=_shell_body(sender),
    )


def ed25519_python(sender: Sender) -> str:
    values, modules = _python_values(sender)
    made = f"key.sign({_python_message(sender)})"
    written = _base64(made) if sender.setting("encoding") == "base64" else f"{made}.hex()"
    return sender.python(
        *values,
        f'key = load_pem_private_key(pathlib.Path(os.environ["{PRIVATE_KEY_VARIABLE}"]).read_bytes(), None)',
        f"signature = {written}",
        imports=("os", "pathlib", *modules, *(["base64"] if "base64." in written else [])),
        installed=(
            "from cryptography.hazmat.primitives.serialization import load_pem_private_key  # pip install cryptography",
        ),
        headers=_python_headers(sender),
        body=_python_body(sender),
        secret=False,
    )


def _fields(sender: Sender) -> list[str]:
    return [part for part in template_parts(sender.setting("signed")) if isinstance(part, str)]


def _place(sender: Sender, name: str) -> Place | None:
    return Place.read(sender.setting(name))


def _prefix(sender: Sender) -> str:
    """What stands before the signature; where nothing is set, the name of the hash before a hex one."""
    prefix = sender.setting("prefix")
    if prefix == NOTHING:
        return ""
    implied = f"{sender.setting('algorithm')}=" if "algorithm" in sender.config else ""
    return prefix or (implied if sender.setting("encoding") == "hex" and sender.setting("signatures") == "one" else "")


def _timestamp_path(sender: Sender) -> list[str]:
    place = _place(sender, "timestamp")
    return place.name.split(".") if place and place.kind == "path" else []


def _dated_body(sender: Sender) -> tuple[str, str]:
    """The sample body in two parts, between which the timestamp belongs."""
    *outer, last = _timestamp_path(sender)
    mark = 1_234_567_890_123
    value: object = {last: mark}
    for key in reversed(outer):
        value = {key: value}
    sample = json.loads(sender.body) | (value if isinstance(value, dict) else {})
    before, _, after = json.dumps(sample).partition(str(mark))
    return before, after


# ── The shell ────────────────────────────────────────────────────────────────────────────────────


def _shell_key(encoding: str) -> str:
    if encoding == "hex":
        return '"$secret"'
    return "$(printf '%s' \"${secret#whsec_}\" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \\n')"


def _shell_body(sender: Sender) -> str:
    if not _timestamp_path(sender):
        return ""
    before, after = _dated_body(sender)
    return f'{quote(before)}"$(date +%s)000"{quote(after)}'


def _shell_values(sender: Sender) -> list[str]:
    fields = _fields(sender)
    lines = ["timestamp=$(date +%s)"] if "timestamp" in fields else []
    lines += ["id=msg_$(openssl rand -hex 16)"] if "id" in fields else []
    if "form" in fields:
        digest = f"$(printf '%s' \"$body\" | {_DIGEST} -sha256 -r | cut -d ' ' -f 1)"
        lines += [f'url={quote(sender.url + "?bodySHA256=")}"{digest}"']
    elif "url" in fields:
        lines += [f"url={quote(sender.url)}"]
    return lines


def _shell_message(sender: Sender) -> str:
    parts = template_parts(sender.setting("signed"))
    return "".join(_SHELL[part] if isinstance(part, str) else quote(part.decode()) for part in parts)


def _shell_headers(sender: Sender) -> list[str]:
    name, prefix = sender.setting("header"), _prefix(sender)
    place = _place(sender, "timestamp")
    if place and place.kind == "element":
        divider = "," if sender.setting("signatures") == "comma" else " "
        start, rest = quote(f"{name}: {place.name}="), quote(divider + prefix)
        options = [f'--header {start}"$timestamp"{rest}"$signature"']
    else:
        options = [f'--header {quote(f"{name}: {prefix}")}"$signature"']
    for setting, variable in (("timestamp", "timestamp"), ("id", "id")):
        place = _place(sender, setting)
        if place and place.kind == "header":
            options.append(f'--header {quote(place.name + ": ")}"${variable}"')
    return options


# ── Python ───────────────────────────────────────────────────────────────────────────────────────


def _base64(expression: str) -> str:
    return f"base64.b64encode({expression}).decode()"


def _python_body(sender: Sender) -> str:
    if not _timestamp_path(sender):
        return ""
    before, after = _dated_body(sender)
    return f"({ascii(before)} + str(int(time.time() * 1000)) + {ascii(after)})"


def _python_values(sender: Sender) -> tuple[list[str], list[str]]:
    """Lines, and the modules that they need."""
    fields = _fields(sender)
    lines, modules = [], []
    if "timestamp" in fields:
        lines.append("timestamp = str(int(time.time()))")
    if "timestamp" in fields or _timestamp_path(sender):
        modules.append("time")
    if "id" in fields:
        lines.append('identifier = "msg_" + uuid.uuid4().hex')
        modules.append("uuid")
    if "form" in fields:
        lines.append('url += "?bodySHA256=" + hashlib.sha256(body).hexdigest()')
    return lines, modules


def _python_message(sender: Sender) -> str:
    parts = template_parts(sender.setting("signed"))
    words = [_PYTHON[part] if isinstance(part, str) else ascii(part) for part in parts]
    return " + ".join(word for word in words if word)


def _python_headers(sender: Sender) -> str:
    prefix = _prefix(sender)
    value = f"{ascii(prefix)} + signature" if prefix else "signature"
    place = _place(sender, "timestamp")
    if place and place.kind == "element":
        divider = "," if sender.setting("signatures") == "comma" else " "
        value = f"{ascii(place.name + '=')} + timestamp + {ascii(divider + prefix)} + signature"
    found = [f", {ascii(sender.setting('header'))}: {value}"]
    for setting, variable in (("timestamp", "timestamp"), ("id", "identifier")):
        place = _place(sender, setting)
        if place and place.kind == "header":
            found.append(f", {ascii(place.name)}: {variable}")
    return "".join(found)
