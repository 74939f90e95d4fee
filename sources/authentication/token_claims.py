"""What a token says: its times, its ``jti``, and the fields of the body that it repeats (spec D3; RFC 7519).

The claims here are those of a token whose signature was proven. Errors are ``Refusal``.
"""

import json
import math
from collections.abc import Mapping
from hashlib import sha256

from sources.authentication.contract import Refusal

END_OF_TIME = 253_402_300_799  # the last second of the year 9999, UTC
MAX_JTI = 256
ONCE_KEY_BYTES = 16
NAMES_SHOWN = 8
NAME_SHOWN = 64

# Claims with a meaning of their own (RFC 7519 section 4.1) are no copies of the body's fields, so a body that has none
# does not contradict them. Of these the ones about the token itself are never compared with a field of that name.
REGISTERED_CLAIMS = frozenset(("iss", "sub", "aud", "exp", "nbf", "iat", "jti"))
ABOUT_THE_TOKEN = frozenset(("exp", "nbf", "iat", "jti"))


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A repeated key would let the portal and the receiver read different values."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found


def read_object(text: bytes) -> dict[str, object] | None:
    """A JSON object without repeated keys, or None for anything else."""
    try:
        found = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def same_value(first: object, second: object) -> bool:
    """JSON equality: numbers by value, booleans are not numbers, arrays in order.

    Numbers beyond double precision (1e400) are equal to nothing: read as infinity, any two would be the same.
    Iterative, because the nesting is the sender's.
    """
    pending = [(first, second)]
    while pending:
        one, other = pending.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pending.extend((one[key], other[key]) for key in one)
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pending.extend(zip(one, other, strict=True))
        elif not _same_scalar(one, other):
            return False
    return True


def _same_scalar(one: object, other: object) -> bool:
    """False for anything nested: the two are then of different kinds."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict | list) or isinstance(other, dict | list):
        return False
    return one == other and not (isinstance(one, float) and math.isinf(one))


def mismatched_claims(claims: Mapping[str, object], body_object: Mapping[str, object]) -> list[str]:
    """Names of claims that repeat a first-level key of the body with another value (D3)."""
    shared = [name for name in claims if name in body_object and name not in ABOUT_THE_TOKEN]
    return [name for name in shared if not same_value(claims[name], body_object[name])]


def check_body(claims: Mapping[str, object], opened_body: bytes) -> None:
    """Refuse unless the body, as it was before compression, agrees with the claims.

    A body that is no JSON object has no fields to agree with; it is refused when the token claims
    any, so that the check cannot be shaken off by sending something else.
    """
    if not claims.keys() - ABOUT_THE_TOKEN:
        return
    found = read_object(opened_body)
    if found is None:
        if own := sorted(claims.keys() - REGISTERED_CLAIMS - {"Timestamp"}):
            raise Refusal(
                "claims_mismatch",
                "The token repeats fields of the body; the body is no JSON object.",
                {"claims": _in_words(own)},
            )
        return
    if wrong := mismatched_claims(claims, found):
        counted = "1 claim of the token differs" if len(wrong) == 1 else f"{len(wrong)} claims of the token differ"
        raise Refusal("claims_mismatch", f"{counted} from the body's fields.", {"claims": _in_words(wrong)})


def _in_words(names: list[str]) -> str:
    """Names without values, in a bounded number of characters that any database stores."""
    shown = ["".join(c if c.isprintable() else "�" for c in name[:NAME_SHOWN]) for name in names[:NAMES_SHOWN]]
    return ", ".join(shown) + (", …" if len(names) > NAMES_SHOWN else "")


def _seconds(claims: Mapping[str, object], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2) or None. Text, NaN and astronomic dates are refused."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refusal("claim_malformed", f"The claim {name} is not a number of seconds.", {"claims": name})
    if not 0 <= value <= END_OF_TIME:  # false for NaN too
        raise Refusal("claim_malformed", f"The claim {name} is outside of any calendar.", {"claims": name})
    return float(value)


def _made(claims: Mapping[str, object]) -> list[float]:
    return [when for name in ("iat", "Timestamp") if (when := _seconds(claims, name)) is not None]


def check_times(
    claims: Mapping[str, object],
    now: float,
    *,
    max_age: int,
    leeway: int,
    require_timestamp: bool = True,
) -> None:
    """Refuse a token that is too old, not yet valid, or not bounded in time. Seconds throughout.

    Where the token says when it was made, that bounds its age. Where it has only ``exp``, that
    may lie at most ``max_age`` ahead: a token that holds for years is a password in disguise.
    """
    made = _made(claims)
    expires = _seconds(claims, "exp")
    not_before = _seconds(claims, "nbf")
    if require_timestamp and not made and expires is None:
        raise Refusal("token_unbounded", "The token has none of iat, Timestamp and exp.")
    for when in made:
        if when > now + leeway:
            raise Refusal(
                "token_not_yet_valid", f"It was made {when - now:.0f} s in the future.", _difference(now, when)
            )
        if when < now - max_age - leeway:
            raise Refusal(
                "token_too_old",
                f"It was made {now - when:.0f} s ago; at most {max_age} s are allowed.",
                {"age": round(now - when)},
            )
    if not_before is not None and not_before > now + leeway:
        raise Refusal("token_not_yet_valid", f"It is valid in {not_before - now:.0f} s.", _difference(now, not_before))
    if expires is not None and expires < now - leeway:
        raise Refusal("token_expired", f"It expired {now - expires:.0f} s ago.", _difference(now, expires))
    if expires is not None and not made and expires > now + max_age + leeway:
        raise Refusal(
            "token_unbounded",
            f"It expires in {expires - now:.0f} s; without iat, at most {max_age} s are allowed.",
        )


def _difference(now: float, told: float) -> dict[str, str | int]:
    """Seconds from the token's time to the portal's: negative where the sender's clock is ahead."""
    return {"clock_difference": round(now - told)}


def acceptable_until(claims: Mapping[str, object], *, max_age: int, leeway: int) -> float | None:
    """The last moment at which ``check_times`` lets these claims pass, in POSIX seconds; None: for ever."""
    ends = [when + max_age + leeway for when in _made(claims)]
    expires = _seconds(claims, "exp")
    if expires is not None:
        ends.append(expires + leeway)
    return min(ends, default=None)


def jti_of(claims: Mapping[str, object]) -> str | None:
    """The name of the token itself, or None where it has none (RFC 7519 section 4.1.7)."""
    if "jti" not in claims:
        return None
    jti = claims["jti"]
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI:
        raise Refusal(
            "claim_malformed", f"The claim jti is not a text of 1 to {MAX_JTI} characters.", {"claims": "jti"}
        )
    return jti


def jti_digest(jti: str) -> bytes:
    """What is kept of a ``jti``, so that a short row holds any. JSON may spell half a surrogate pair."""
    return sha256(jti.encode("utf-8", "surrogatepass")).digest()[:ONCE_KEY_BYTES]
