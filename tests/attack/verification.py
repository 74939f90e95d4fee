"""The verification matrix: what every way to prove who sends must take, and what it must refuse.

`SENDERS` sign as their vendors document it, written here anew without the portal's code. `cases(sender)` are the
right post and its mutations; `build(url, now)` makes the bytes to send. The unit tests put them to the pure methods,
an attack puts them to a running server: it makes a source with `sender.creation`, and leaves out the cases that are
`exact` (they need the receiver's clock to stand still) or `raw` (no HTTP client sends them).
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET = "f0e1d2c3b4a5968778695a4b3c2d1e0f"
OTHER_SECRET = "00112233445566778899aabbccddeeff"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of Standard Webhooks' own tests
OTHER_WHSEC = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLIC_KEY = "whpk_" + base64.b64encode(PRIVATE_KEY.public_key().public_bytes_raw()).decode()
KEY_ID = "key-1"  # of a token; where the portal names the key, replace it

BODY = b'{"type": "login.failed", "user": "ada", "attempts": 3}'


@dataclass(frozen=True)
class Post:
    """A request as it stands on the wire; `url` is whole, with its query."""

    headers: tuple[tuple[str, bytes], ...]
    body: bytes
    url: str

    def value(self, name: str) -> bytes:
        return next(value for key, value in self.headers if key == name)

    def with_header(self, name: str, value: bytes) -> "Post":
        return replace(self, headers=tuple((key, value if key == name else old) for key, old in self.headers))

    def without(self, name: str) -> "Post":
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0] != name))

    def plus(self, name: str, value: bytes) -> "Post":
        return replace(self, headers=(*self.headers, (name, value)))


Sign = Callable[[str, str, bytes, float], Post]  # secret, url, body, time → post


@dataclass(frozen=True)
class Sender:
    """A system that sends. `creation` is what the API is given to make a source for it, beside its name.

    `proof` is the header that proves; `spelling` how its signature is written: `hex`, `base64` or `text`. `tolerance`
    is in seconds, 0 where no time is signed. `lists` is true where one header may hold several signatures.
    """

    name: str
    creation: dict
    method: str
    secret: str
    other_secret: str
    sign: Sign
    proof: str
    spelling: str = "text"
    tolerance: int = 0
    signs_body: bool = True
    lists: bool = False
    body: bytes = BODY
    also_signed: tuple[str, ...] = field(default=())  # other headers that the signature covers

    def post(self, url: str, now: float) -> Post:
        return self.sign(self.secret, url, self.body, now)


@dataclass(frozen=True)
class Case:
    """One request and what must come of it."""

    name: str
    accepted: bool
    build: Callable[[str, float], Post]
    exact: bool = False
    raw: bool = False


def _digest(secret: bytes, message: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(secret, message, getattr(hashlib, algorithm)).digest()


def _post(url: str, body: bytes, *headers: tuple[str, str], content_type: str = "application/json") -> Post:
    pairs = (("Content-Type", content_type), *headers)
    return Post(tuple((name, value.encode("latin-1")) for name, value in pairs), body, url)


def hex_sender(header: str, *, start: str = "", algorithm: str = "sha256") -> Sign:
    def sign(secret: str, url: str, body: bytes, now: float) -> Post:
        return _post(url, body, (header, start + _digest(secret.encode(), body, algorithm).hex()))

    return sign


def _slack_like(signature: str, timestamp: str) -> Sign:
    def sign(secret: str, url: str, body: bytes, now: float) -> Post:
        message = f"v0:{int(now)}:".encode() + body
        return _post(
            url, body, (timestamp, str(int(now))), (signature, "v0=" + _digest(secret.encode(), message).hex())
        )

    return sign


def _standard(start: str) -> Sign:
    def sign(secret: str, url: str, body: bytes, now: float) -> Post:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signature = base64.b64encode(_digest(key, f"msg_1.{int(now)}.".encode() + body)).decode()
        return _post(
            url,
            body,
            (f"{start}-id", "msg_1"),
            (f"{start}-timestamp", str(int(now))),
            (f"{start}-signature", f"v1,{signature}"),
        )

    return sign


def _ed25519(secret: str, url: str, body: bytes, now: float) -> Post:
    key = PRIVATE_KEY if secret == PUBLIC_KEY else OTHER_PRIVATE_KEY
    signature = base64.b64encode(key.sign(f"msg_1.{int(now)}.".encode() + body)).decode()
    return _post(
        url,
        body,
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", str(int(now))),
        ("webhook-signature", f"v1a,{signature}"),
    )


def _stripe(secret: str, url: str, body: bytes, now: float) -> Post:
    signature = _digest(secret.encode(), f"{int(now)}.".encode() + body).hex()
    return _post(url, body, ("Stripe-Signature", f"t={int(now)},v1={signature}"))


def _shopify(secret: str, url: str, body: bytes, now: float) -> Post:
    signature = base64.b64encode(_digest(secret.encode(), body)).decode()
    return _post(url, body, ("X-Shopify-Hmac-SHA256", signature), ("X-Shopify-Topic", "orders/create"))


def _twilio_form(secret: str, url: str, body: bytes, now: float) -> Post:
    pairs = (pair.split("=") for pair in body.decode().split("&"))
    message = url + "".join(name + value for name, value in sorted(pairs))  # the sample needs no unquoting
    signature = base64.b64encode(_digest(secret.encode(), message.encode(), "sha1")).decode()
    form = "application/x-www-form-urlencoded; charset=utf-8"
    return _post(url, body, ("X-Twilio-Signature", signature), content_type=form)


def _twilio_json(secret: str, url: str, body: bytes, now: float) -> Post:
    url = f"{url}?{urlencode({'bodySHA256': hashlib.sha256(body).hexdigest()})}"
    signature = base64.b64encode(_digest(secret.encode(), url.encode(), "sha1")).decode()
    return _post(url, body, ("X-Twilio-Signature", signature))


def _linear(secret: str, url: str, body: bytes, now: float) -> Post:
    body = json.dumps({"action": "create", "type": "Issue", "webhookTimestamp": int(now) * 1000}).encode()
    return _post(url, body, ("Linear-Signature", _digest(secret.encode(), body).hex()), ("Linear-Event", "Issue"))


def _plain(header: str, start: str = "") -> Sign:
    def sign(secret: str, url: str, body: bytes, now: float) -> Post:
        return _post(url, body, (header, start + secret))

    return sign


def _basic(secret: str, url: str, body: bytes, now: float) -> Post:
    return _post(url, body, ("Authorization", "Basic " + base64.b64encode(f"ada:{secret}".encode()).decode()))


def _token(secret: str, url: str, body: bytes, now: float) -> Post:
    token = jwt.encode({"iat": int(now)}, secret, "HS256", headers={"kid": KEY_ID})
    return _post(url, body, ("X-Webhook-JWT", token))


def _hmac(name: str, sign: Sign, proof: str, **options) -> Sender:
    options = {"spelling": "hex", "secret": SECRET, "other_secret": OTHER_SECRET, **options}
    creation = options.pop("creation", {"preset": name})
    return Sender(name, creation, options.pop("method", "hmac"), sign=sign, proof=proof, **options)


_STANDARD = {
    "spelling": "base64", "tolerance": 300, "lists": True, "secret": WHSEC, "other_secret": OTHER_WHSEC,
}  # fmt: skip
_HUB = ("X-Hub-Signature-256", "X-Hub-Signature")

SENDERS: tuple[Sender, ...] = (
    _hmac("hmac", hex_sender("X-Signature", start="sha256="), "X-Signature", creation={"auth": {"method": "hmac"}}),
    _hmac(
        "hmac, SHA-512 and a prefix",
        hex_sender("X-Sig", start="HMAC ", algorithm="sha512"),
        "X-Sig",
        creation={"auth": {"method": "hmac", "header": "X-Sig", "algorithm": "sha512", "prefix": "HMAC "}},
    ),
    _hmac("github", hex_sender(_HUB[0], start="sha256="), _HUB[0]),
    _hmac("meta", hex_sender(_HUB[0], start="sha256="), _HUB[0]),
    _hmac("bitbucket", hex_sender(_HUB[1], start="sha256="), _HUB[1]),
    _hmac("intercom", hex_sender(_HUB[1], start="sha1=", algorithm="sha1"), _HUB[1]),
    _hmac("sentry", hex_sender("Sentry-Hook-Signature"), "Sentry-Hook-Signature"),
    _hmac("pagerduty", hex_sender("X-PagerDuty-Signature", start="v1="), "X-PagerDuty-Signature", lists=True),
    _hmac("shopify", _shopify, "X-Shopify-Hmac-SHA256", spelling="base64"),
    _hmac("stripe", _stripe, "Stripe-Signature", lists=True, tolerance=300, secret="whsec_" + SECRET),
    _hmac(
        "slack", _slack_like("X-Slack-Signature", "X-Slack-Request-Timestamp"), "X-Slack-Signature", tolerance=300,
        also_signed=("X-Slack-Request-Timestamp",),
    ),
    _hmac(
        "zoom", _slack_like("x-zm-signature", "x-zm-request-timestamp"), "x-zm-signature", tolerance=300,
        also_signed=("x-zm-request-timestamp",),
    ),
    _hmac("linear", _linear, "Linear-Signature", tolerance=300),
    _hmac("twilio", _twilio_form, "X-Twilio-Signature", spelling="base64", body=b"Body=Hello&From=ada&To=ben"),
    _hmac("twilio, JSON", _twilio_json, "X-Twilio-Signature", spelling="base64", creation={"preset": "twilio"}),
    _hmac("standard_webhooks", _standard("webhook"), "webhook-signature", **_STANDARD,
          also_signed=("webhook-id", "webhook-timestamp")),
    _hmac("gitlab_signed", _standard("webhook"), "webhook-signature", **_STANDARD,
          also_signed=("webhook-id", "webhook-timestamp")),
    _hmac("svix", _standard("svix"), "svix-signature", **_STANDARD, also_signed=("svix-id", "svix-timestamp")),
    _hmac("standard_webhooks_ed25519", _ed25519, "webhook-signature",
          **{**_STANDARD, "secret": PUBLIC_KEY, "other_secret": "another"}, method="ed25519",
          also_signed=("webhook-id", "webhook-timestamp")),
    Sender("shared_secret", {"auth": {"method": "shared_secret"}}, "shared_secret", SECRET, OTHER_SECRET,
           _plain("X-Webhook-Key"), "X-Webhook-Key", signs_body=False),
    Sender("gitlab", {"preset": "gitlab"}, "shared_secret", SECRET, OTHER_SECRET, _plain("X-Gitlab-Token"),
           "X-Gitlab-Token", signs_body=False),
    Sender("okta", {"preset": "okta"}, "shared_secret", SECRET, OTHER_SECRET, _plain("Authorization"),
           "Authorization", signs_body=False, body=b'{"data": {"events": [{"eventType": "user.session.start"}]}}'),
    Sender("bearer", {"auth": {"method": "bearer"}}, "bearer", SECRET, OTHER_SECRET,
           _plain("Authorization", "Bearer "), "Authorization", signs_body=False),
    Sender("basic", {"auth": {"method": "basic", "username": "ada"}}, "basic", SECRET, OTHER_SECRET, _basic,
           "Authorization", signs_body=False),
    Sender("jwt", {"auth": {"method": "jwt"}}, "jwt", SECRET, OTHER_SECRET, _token, "X-Webhook-JWT",
           signs_body=False),
)  # fmt: skip


def cases(sender: Sender) -> list[Case]:
    """The right post first. Every name occurs once."""
    return [
        Case("right", True, sender.post),
        *_bodies(sender),
        *_secrets(sender),
        *_proofs(sender),
        *_spellings(sender),
        *_copies(sender),
        *_times(sender),
        *_others_that_are_signed(sender),
        *_lists(sender),
    ]


def _mutated(sender: Sender, change: Callable[[Post], Post]) -> Callable[[str, float], Post]:
    return lambda url, now: change(sender.post(url, now))


def _proof(sender: Sender, change: Callable[[bytes], bytes]) -> Callable[[str, float], Post]:
    return _mutated(sender, lambda post: post.with_header(sender.proof, change(post.value(sender.proof))))


def _other_byte(value: bytes, at: int) -> bytes:
    """One byte replaced by another of the same alphabet: a digit by a digit, a letter by a letter."""
    old = value[at : at + 1]
    alphabet = b"0123456789" if old.isdigit() else b"abcdef" if old in b"abcdef" else b"QRSTUVWXYZ"
    new = next(alphabet[i : i + 1] for i in range(len(alphabet)) if alphabet[i : i + 1] != old)
    return value[:at] + new + value[at + 1 :]


def _bodies(sender: Sender) -> Iterator[Case]:
    if not sender.signs_body:
        return
    changes: dict[str, Callable[[bytes], bytes]] = {
        "a line break at the end": lambda body: body + b"\n",
        "a space before": lambda body: b" " + body,
        "without its last byte": lambda body: body[:-1],
        "without its first byte": lambda body: body[1:],
        "empty": lambda body: b"",
        "twice": lambda body: body + body,
        "a NUL at the end": lambda body: body + b"\x00",
        "in upper case": lambda body: body.upper(),
    }
    for at in (0, 7, 13, -1):
        changes[f"bit flipped at {at}"] = lambda body, at=at: _flipped(body, at % len(body))
    for name, change in changes.items():
        yield Case(
            f"body {name}", False, _mutated(sender, lambda post, change=change: replace(post, body=change(post.body)))
        )


def _flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def _secrets(sender: Sender) -> Iterator[Case]:
    yield Case("another secret", False, lambda url, now: sender.sign(sender.other_secret, url, sender.body, now))
    yield Case("no proof at all", False, _mutated(sender, lambda post: post.without(sender.proof)))
    yield Case("empty proof", False, _proof(sender, lambda value: b""))
    if sender.signs_body:
        yield Case(
            "the signature of another body",
            False,
            lambda url, now: (
                replace(sender.sign(sender.secret, url, sender.body + b"x", now), body=sender.body)
                if sender.name != "linear"
                else replace(sender.post(url, now), body=sender.post(url, now + 1).body)
            ),
        )
    if sender.method == "hmac" and sender.spelling == "hex" and not sender.tolerance:
        empty = lambda url, now: sender.sign("", url, sender.body, now)  # noqa: E731
        yield Case("signed with an empty secret", False, empty)


def _proofs(sender: Sender) -> Iterator[Case]:
    """The header's value, changed byte by byte and as a whole."""
    length = len(sender.post("https://receiver.example/in/key", 1_700_000_000.0).value(sender.proof))
    positions = range(length) if sender.method != "jwt" else range(0, length, 7)
    for at in positions:
        yield Case(f"proof changed at {at}", False, _proof(sender, lambda value, at=at: _other_byte(value, at)))
    changes: dict[str, Callable[[bytes], bytes]] = {
        "cut in half": lambda value: value[: len(value) // 2],
        "without its last byte": lambda value: value[:-1],
        "without its first byte": lambda value: value[1:],
        "with a byte more": lambda value: value + b"0",
        "with a space inside": lambda value: value[:-5] + b" " + value[-5:],
        "with a tab inside": lambda value: value[:-5] + b"\t" + value[-5:],
        "with a Latin-1 byte": lambda value: value[:-1] + b"\xb2",
        "with UTF-8 at the end": lambda value: value + "é".encode(),
        "in quotes": lambda value: b'"' + value + b'"',
        "as an asterisk": lambda value: b"*",
        "as zeros": lambda value: b"0" * len(value),
    }
    for name, change in changes.items():
        yield Case(f"proof {name}", False, _proof(sender, change))
    for name, byte in (("a NUL", b"\x00"), ("a line break", b"\n"), ("a folded line", b"\r\n ")):
        inside = _proof(sender, lambda value, byte=byte: value[:-5] + byte + value[-5:])
        after = _proof(sender, lambda value, byte=byte: value + byte + b"x")
        yield Case(f"proof with {name} inside", False, inside, raw=True)
        yield Case(f"proof with {name} at the end", False, after, raw=True)
    yield Case("proof with white space around", True, _proof(sender, lambda value: b" \t" + value + b"\t "))


def _spellings(sender: Sender) -> Iterator[Case]:
    if sender.spelling == "hex":
        yield Case("hex in upper case", True, _proof(sender, lambda value: value[:-32] + value[-32:].upper()))
    else:
        yield Case("letters in the other case", False, _proof(sender, bytes.swapcase))
    if sender.spelling == "base64":
        yield Case("base64 without padding", False, _proof(sender, lambda value: value.rstrip(b"=")))
        yield Case("base64 for URLs", False, _proof(sender, lambda value: value[:-9] + b"-_" + value[-7:]))
        yield Case("base64 with other unused bits", False, _proof(sender, _same_bytes_spelled_otherwise))
        yield Case("base64 in hex", False, _proof(sender, lambda value: value.hex().encode()))


def _same_bytes_spelled_otherwise(value: bytes) -> bytes:
    """The last letter before the padding has bits that decoders drop."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    bare = value.rstrip(b"=")
    at = alphabet.index(bare[-1:]) ^ 1
    return bare[:-1] + alphabet[at : at + 1] + b"=" * (len(value) - len(bare))


def _copies(sender: Sender) -> Iterator[Case]:
    name = sender.proof
    underscored = name.replace("-", "_")
    yield Case("proof twice", False, _mutated(sender, lambda post: post.plus(name, post.value(name))))
    yield Case("proof and a wrong one", False, _mutated(sender, lambda post: post.plus(name, b"0" * 64)))
    yield Case(
        "a wrong proof before it",
        False,
        _mutated(sender, lambda post: replace(post, headers=((name, b"0" * 64), *post.headers))),
    )
    if not sender.lists:
        yield Case("proof joined with itself", False, _proof(sender, lambda value: value + b", " + value))
        yield Case("proof joined with a wrong one", False, _proof(sender, lambda value: value + b"," + b"0" * 64))
    if underscored != name:
        yield Case(
            "a copy with underscores", False, _mutated(sender, lambda post: post.plus(underscored, post.value(name)))
        )
        yield Case(
            "underscores only",
            False,
            _mutated(sender, lambda post: post.without(name).plus(underscored, post.value(name))),
        )


def _times(sender: Sender) -> Iterator[Case]:
    if not sender.tolerance:
        return
    for offset, accepted in (
        (-sender.tolerance, True),
        (-sender.tolerance - 1, False),
        (sender.tolerance, True),
        (sender.tolerance + 1, False),
    ):
        yield Case(
            f"signed {offset:+} s", accepted, lambda url, now, offset=offset: sender.post(url, now + offset), exact=True
        )
    for offset, accepted in (
        (-sender.tolerance + 10, True),
        (-sender.tolerance - 10, False),
        (10 * 365 * 86_400, False),
    ):
        yield Case(
            f"signed {offset:+} s, about", accepted, lambda url, now, offset=offset: sender.post(url, now + offset)
        )


def _others_that_are_signed(sender: Sender) -> Iterator[Case]:
    for name in sender.also_signed:
        changes: dict[str, Callable[[bytes], bytes]] = {
            "changed": lambda value: _other_byte(value, len(value) - 1),
            "empty": lambda value: b"",
            "with a zero before": lambda value: b"0" + value,
            "with a zero after": lambda value: value + b"0",
            "negative": lambda value: b"-" + value,
            "with a fraction": lambda value: value + b".0",
            "with the next field's divider": lambda value: value + b".1",
            "in Arabic digits": lambda value: "".join(chr(0x660 + int(c)) for c in "1700000000").encode(),
            "very long": lambda value: value * 500,
        }
        for words, change in changes.items():
            yield Case(
                f"{name} {words}",
                False,
                _mutated(sender, lambda post, n=name, c=change: post.with_header(n, c(post.value(n)))),
            )
        yield Case(f"{name} missing", False, _mutated(sender, lambda post, n=name: post.without(n)))
        yield Case(f"{name} twice", False, _mutated(sender, lambda post, n=name: post.plus(n, post.value(n))))
        underscored = name.replace("-", "_")
        yield Case(
            f"{name} also with underscores",
            False,
            _mutated(sender, lambda post, n=name, u=underscored: post.plus(u, post.value(n))),
        )
        yield Case(
            f"{name} of a later post",
            False,
            lambda url, now, n=name: sender.post(url, now).with_header(
                n, _other_byte(sender.post(url, now).value(n), 3)
            ),
        )
    if {"webhook-id", "webhook-timestamp"} <= set(sender.also_signed):
        yield Case("a divider moved between id and timestamp", False, _mutated(sender, _divider_moved))


def _divider_moved(post: Post) -> Post:
    """`msg_1` + `.` + `1700…` + `.` + body, divided elsewhere: signed alike, if nobody looks."""
    identifier, timestamp = post.value("webhook-id"), post.value("webhook-timestamp")
    head, _, tail = post.body.partition(b".")
    moved = post.with_header("webhook-id", identifier + b"." + timestamp).with_header("webhook-timestamp", head or b"0")
    return replace(moved, body=tail)


def _lists(sender: Sender) -> Iterator[Case]:
    if not sender.lists:
        return
    space = sender.spelling == "base64"
    divider = b" " if space else b","
    start = b"v1a," if sender.method == "ed25519" else b"v1," if space else b"v1="
    other = b"v0," if space else b"v0="
    wrong = start + (b"A" * 43 + b"=" if space else b"0" * 64)

    yield Case("a signature of another key before it", True, _proof(sender, lambda v: wrong + divider + v))
    yield Case("a signature of another key after it", True, _proof(sender, lambda v: v + divider + wrong))
    yield Case("signatures of other keys only", False, _proof(sender, lambda v: _others_only(v, divider, start, wrong)))
    yield Case("its signature under another version", False, _proof(sender, lambda v: v.replace(start, other)))
    yield Case("too many signatures", False, _proof(sender, lambda v: divider.join([*[wrong] * 40, v])))
    yield Case("dividers only", False, _proof(sender, lambda v: divider * 10 + b"x"))
    if sender.name == "stripe":
        yield Case("two timestamps", False, _proof(sender, lambda v: v + b",t=1700000000"))
        yield Case("no timestamp", False, _proof(sender, lambda v: v.partition(b",")[2]))
        yield Case("another timestamp", False, _proof(sender, lambda v: b"t=1700000001," + v.partition(b",")[2]))


def _others_only(value: bytes, divider: bytes, start: bytes, wrong: bytes) -> bytes:
    return divider.join(wrong if item.startswith(start) else item for item in value.split(divider))
