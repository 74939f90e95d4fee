"""What the door of a source lets through, beside who proved itself, and what it says. Pure.

`SETTINGS` are the settings as an admin gives them; those of the answer are called `response.…`, and are stored as
`{"response": {…}}`. `Rules` is what the door asks.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType
from urllib.parse import urlsplit

from sources.authentication.contract import ConfigError, Setting, clean_whole_number
from sources.authentication.settings import clean_choice

MAX_ADDRESSES = 100
MAX_CONTENT_TYPES = 50
MAX_ORIGINS = 50
MAX_PER_MINUTE = 600_000
MAX_ANSWER_BYTES = 4096
MAX_HEADERS_ASKED = 50
PREFLIGHT_SECONDS = 600
ANY_ORIGIN = "*"
TEXT, JSON, XML = "text/plain", "application/json", "text/xml"
# Never HTML; and XML can hold a script too, which must not run as if it were the portal's.
ANSWER_HEADERS: Mapping[str, str] = MappingProxyType({"Content-Security-Policy": "sandbox; default-src 'none'"})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Headers = Sequence[tuple[bytes, bytes]]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  (RFC 9110 section 5.6.2)
_NAME = re.compile(_TOKEN)
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/(\*|(\*\+)?[a-z0-9][a-z0-9!#$&^_.+-]{0,126})")
_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]{1,253}|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_USUAL_PORTS = {"http": 80, "https": 443}


def _items(given: object, most: int) -> list[str]:
    """A list, or a text with one a line or separated by commas; each once, in order."""
    if isinstance(given, str):
        parts: list[object] = list(re.split(r"[\n,]", given))
    elif isinstance(given, list | tuple):
        parts = list(given)
    else:
        raise ValueError("Give a list, or one a line.")
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("Give a list of texts.")
    items = list(dict.fromkeys(text for part in parts if (text := str(part).strip())))
    if len(items) > most:
        raise ValueError(f"Give at most {most}; these are {len(items)}.")
    return items


def _each(most: int, clean_one: Callable[[str], str]) -> Callable[[object], list[str]]:
    def clean(given: object) -> list[str]:
        return list(dict.fromkeys(clean_one(item) for item in _items(given, most)))

    return clean


def _shown(text: str) -> str:
    """What was typed, fit for a sentence."""
    return "“" + "".join(character if character.isprintable() else "�" for character in text[:60]) + "”"


def _network(text: str) -> str:
    """An address or a network in its one spelling; what is IPv4 inside IPv6 becomes IPv4."""
    try:
        if "%" in text:
            raise ValueError
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{_shown(text)} is neither an address nor a network such as 203.0.113.0/24.") from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        network = ipaddress.ip_network(f"{mapped}/{network.prefixlen - 96}", strict=False)
    written = text.partition("/")[0]
    if ipaddress.ip_address(written) not in (network.network_address, _mapped(network.network_address)):
        raise ValueError(f"{_shown(text)} is an address inside a network. Did you mean {network}?")
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address if single else network)


def _mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> object:
    return ipaddress.ip_address(f"::ffff:{address}") if address.version == 4 else address


def _content_type(text: str) -> str:
    name = text.lower()
    if ";" in name:
        raise ValueError(f"{_shown(text)} has parameters. Name the type alone, such as application/json.")
    if not _MEDIA_TYPE.fullmatch(name):
        raise ValueError(f"{_shown(text)} is no content type such as application/json, application/*+json or text/*.")
    return name


def _origin(text: str) -> str:
    """An origin as browsers write it: lower case, no usual port, no slash at the end (RFC 6454 section 6.2)."""
    if text == ANY_ORIGIN:
        return text
    found = _ORIGIN.fullmatch(text.lower().removesuffix("/"))
    if not found or (found[3] and not 0 < int(found[3]) < 65536):
        raise ValueError(
            f"{_shown(text)} is no origin such as https://app.example.com, with a port where it is unusual."
        )
    scheme, host, port = found.groups()
    try:
        urlsplit(f"{scheme}://{host}/").hostname  # noqa: B018  (raises for what is no IPv6 address)
    except ValueError:
        raise ValueError(f"{_shown(text)} has no valid host.") from None
    return f"{scheme}://{host}" + (f":{int(port)}" if port and int(port) != _USUAL_PORTS[scheme] else "")


def _body(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError("Enter text.")
    text = given.replace("\r\n", "\n")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("This is not valid text.") from None
    if size > MAX_ANSWER_BYTES:
        raise ValueError(f"Use at most {MAX_ANSWER_BYTES} bytes; these are {size}.")
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text):
        raise ValueError("Control characters are not allowed.")
    return text


_STATUSES = clean_whole_number(200, 299)
ANSWER_TYPES = ((TEXT, "Text"), (JSON, "JSON"), (XML, "XML"))

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "allowed_addresses",
        "Allowed addresses",
        "IPv4 or IPv6 addresses and networks (CIDR), one a line. Everybody else is refused with 403. "
        "Empty: from everywhere.",
        _each(MAX_ADDRESSES, _network),
        default=(),
    ),
    Setting(
        "rate_limit_per_minute",
        "Posts a minute",
        "What is more than that within 60 seconds is refused with 429 and Retry-After. Empty: no limit.",
        clean_whole_number(1, MAX_PER_MINUTE),
    ),
    Setting(
        "content_types",
        "Allowed content types",
        "Such as application/json, application/*+json or text/*, one a line. Others are refused with 415. "
        "Empty: any, and none at all.",
        _each(MAX_CONTENT_TYPES, _content_type),
        default=(),
    ),
    Setting(
        "cors_origins",
        "Web pages that may post (CORS)",
        "Origins such as https://app.example.com, one a line; * for every page. Empty: no page of another origin.",
        _each(MAX_ORIGINS, _origin),
        default=(),
    ),
    Setting("response.status", "Status", "From 200 to 299. Empty: 200 where one of these is set.", _STATUSES),
    Setting(
        "response.content_type",
        "Content type",
        f"Unless chosen: {TEXT}.",
        clean_choice(ANSWER_TYPES),
        choices=ANSWER_TYPES,
    ),
    Setting(
        "response.body",
        "Body",
        "What the sender wants to hear instead of the receipt, at most 4 KB. A post that is a duplicate hears it too.",
        _body,
    ),
)


def clean(raw: Mapping[str, object]) -> dict[str, object]:
    """What is stored: the settings that are given. Raises `ConfigError`, fields of the answer as `response.…`."""
    known = {setting.name: setting.clean for setting in SETTINGS}
    errors: dict[str, str] = {}
    cleaned: dict[str, object] = {}
    for name, value in _flat(raw).items():
        if name not in known:
            errors[name] = "Expected an object." if name == "response" else "There is no such setting."
        elif value is not None and value != "" and value != []:
            try:
                cleaned[name] = known[name](value)
            except ValueError as error:
                errors[name] = str(error)
    errors = errors or _together(cleaned)
    if errors:
        raise ConfigError(errors)
    return _nested({name: value for name, value in cleaned.items() if value != []})


def merged(stored: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """The stored settings with the given ones in their place; an answer's one by one, all of it where it is None."""
    together = {**_flat(stored), **_flat(given)}
    if "response" in given and given["response"] is None:
        together = {name: value for name, value in together.items() if not name.startswith("response")}
    return _nested(together)


def _flat(raw: Mapping[str, object]) -> dict[str, object]:
    """`{"response": {"status": 200}}` → `{"response.status": 200}`."""
    flat: dict[str, object] = {}
    for name, value in raw.items():
        if name == "response" and isinstance(value, Mapping):
            flat |= {f"response.{part}": inner for part, inner in value.items()}
        elif name != "response" or value is not None:
            flat[str(name)] = value
    return flat


def _nested(flat: Mapping[str, object]) -> dict[str, object]:
    nested: dict[str, object] = {name: value for name, value in flat.items() if not name.startswith("response.")}
    answer = {name.removeprefix("response."): value for name, value in flat.items() if name.startswith("response.")}
    return {**nested, "response": answer} if answer else nested


def _together(cleaned: Mapping[str, object]) -> dict[str, str]:
    """What the settings of the answer demand of one another."""
    body = str(cleaned.get("response.body", ""))
    if body and cleaned.get("response.status") in (204, 205):
        return {"response.body": f"An answer {cleaned['response.status']} has no body."}
    if cleaned.get("response.content_type") == JSON:
        try:
            json.loads(body, parse_constant=_no_json)
        except (ValueError, RecursionError):
            return {"response.body": "Enter the JSON to answer: this is none."}
    return {}


def _no_json(text: str) -> object:
    raise ValueError(text)


@dataclass(frozen=True)
class Rules:
    """The rules of one source. Empty or None: no such rule.

    `per_minute` is a number of accepted posts. `answer` is (status, content type, body) in place of the receipt; it is
    sent with `ANSWER_HEADERS`.
    """

    networks: tuple[Network, ...] = ()
    per_minute: int | None = None
    content_types: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    answer: tuple[int, str, bytes] | None = None
    _patterns: tuple[re.Pattern[str], ...] = field(default=(), repr=False)

    @cached_property
    def _prefixes(self) -> tuple[tuple[int, int, frozenset[int]], ...]:
        """The networks as (version, bits that do not count, beginnings): one look-up for each length of a prefix."""
        found: dict[tuple[int, int], set[int]] = {}
        for network in self.networks:
            rest = network.max_prefixlen - network.prefixlen
            found.setdefault((network.version, rest), set()).add(int(network.network_address) >> rest)
        return tuple((version, rest, frozenset(starts)) for (version, rest), starts in found.items())

    def admits_address(self, address: str | None) -> bool:
        """Whether a client at this address may post. An address that is not known is let in by no list."""
        if not self.networks:
            return True
        version, number = _number(address or "")
        return any(version == known and number >> rest in starts for known, rest, starts in self._prefixes)

    def admits_content_type(self, content_type: bytes) -> bool:
        """Whether a body declared so is taken; `content_type` is the header's value, empty where there is none."""
        if not self.content_types:
            return True
        name = content_type.split(b";", 1)[0].strip().lower().decode("latin-1")
        return name in self.content_types or any(pattern.fullmatch(name) for pattern in self._patterns)

    def cors(self, origin: bytes | None) -> dict[str, str]:
        """Headers of an answer that let a page of this origin read it; none where the origin is not allowed."""
        allowed = self._allowed(origin)
        if allowed is None:
            return {}
        return {
            "Access-Control-Allow-Origin": allowed,
            "Access-Control-Expose-Headers": "Retry-After",
            "Vary": "Origin",
        }

    def _allowed(self, origin: bytes | None) -> str | None:
        """What `Access-Control-Allow-Origin` says to this origin: never anything that only the request said."""
        if origin is None or not self.origins:
            return None
        if ANY_ORIGIN in self.origins:
            return ANY_ORIGIN
        text = origin.decode("latin-1")
        return text if text in self.origins else None


def compiled(raw: Mapping[str, object]) -> Rules:
    """The rules as the door uses them, from the stored settings."""
    settings = _flat(raw)
    types = _texts(settings.get("content_types"))
    limit = settings.get("rate_limit_per_minute")
    return Rules(
        networks=tuple(ipaddress.ip_network(text) for text in _texts(settings.get("allowed_addresses"))),
        per_minute=limit if isinstance(limit, int) else None,
        content_types=frozenset(types),
        origins=frozenset(_texts(settings.get("cors_origins"))),
        answer=_answer(settings),
        _patterns=tuple(_pattern(name) for name in types if "*" in name),
    )


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r"\*", r"[a-z0-9!#$&^_.+-]+"))


def _answer(settings: Mapping[str, object]) -> tuple[int, str, bytes] | None:
    if not any(name.startswith("response.") for name in settings):
        return None
    status = settings.get("response.status")
    media_type = str(settings.get("response.content_type") or TEXT)
    charset = "" if media_type == JSON else "; charset=utf-8"
    return (
        status if isinstance(status, int) else 200,
        media_type + charset,
        str(settings.get("response.body") or "").encode(),
    )


def preflight(rules: Rules, headers: Headers) -> dict[str, str] | None:
    """Headers for a browser that asks whether a page may post (a CORS preflight, Fetch §3.2.2); None: it may not."""
    asked = {name: value for name, value in headers}
    allowed = rules._allowed(asked.get(b"origin"))
    if allowed is None or asked.get(b"access-control-request-method") != b"POST":
        return None
    names = [name.strip() for name in asked.get(b"access-control-request-headers", b"").decode("latin-1").split(",")]
    told = ", ".join([name for name in names if _NAME.fullmatch(name)][:MAX_HEADERS_ASKED])
    return {
        "Access-Control-Allow-Origin": allowed,
        "Access-Control-Allow-Methods": "POST",
        **({"Access-Control-Allow-Headers": told} if told else {}),
        "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    }


@lru_cache(maxsize=4096)
def _number(address: str) -> tuple[int, int]:
    """Version and number of an address, IPv4 inside IPv6 as IPv4; (0, 0) for what is none."""
    try:
        one = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return 0, 0
    if isinstance(one, ipaddress.IPv6Address) and one.ipv4_mapped is not None:
        one = one.ipv4_mapped
    return one.version, int(one)
