"""Receivers for a shell: bash and openssl (3.0 and later for the key pair), for a check by hand or a small gateway.

The timestamp is only calculated with once it was seen to be a number: bash would run what stands in it.
"""

_FRAME = """\
#!/usr/bin/env bash
# verify.sh HEADERS BODY: a file of "Name: value" lines, and one of the body as received.
# Ends with 0 if the message is genuine. It compares in plain: not for measuring strangers.
set -euo pipefail

%(variable)s=@KEY@
headers=$1 body=$2

header() { grep -i "^$1:" "$headers" | head -n 1 | cut -d : -f 2- | tr -d '\\r' | sed 's/^ *//'; }

%(lines)s"""
_RECENT = """\
[[ $timestamp =~ ^[0-9]{1,12}$ ]] || exit 1
age=$(($(date +%s) - 10#$timestamp))
((${age#-} <= 300))
"""
_FITS = "[[ $genuine == yes ]] || exit 1\n"


def _receiver(lines: str, variable: str = "secret") -> str:
    return _FRAME % {"variable": variable, "lines": lines}


_STANDARD = _receiver(
    """\
timestamp=$(header webhook-timestamp)
key=$(printf '%s' "${secret#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \\n')
expected=$({ printf '%s.%s.' "$(header webhook-id)" "$timestamp"; cat "$body"; } |
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)
# During a rotation there are several signatures: one has to fit.
genuine=no
for signature in $(header webhook-signature); do
  if [[ $signature == "v1,$expected" ]]; then genuine=yes; fi
done
"""
    + _FITS
    + _RECENT
)

_STANDARD_ED25519 = _receiver(
    """\
timestamp=$(header webhook-timestamp)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The public key as openssl wants it: in DER, whose first twelve bytes say Ed25519.
{ printf '\\x30\\x2a\\x30\\x05\\x06\\x03\\x2b\\x65\\x70\\x03\\x21\\x00'
  printf '%s' "${public_key#whpk_}" | openssl base64 -d -A; } > "$work/key"
{ printf '%s.%s.' "$(header webhook-id)" "$timestamp"; cat "$body"; } > "$work/message"
# During a rotation there are several signatures: one has to fit.
genuine=no
for signature in $(header webhook-signature); do
  printf '%s' "${signature#v1a,}" | openssl base64 -d -A > "$work/signature"
  if openssl pkeyutl -verify -pubin -keyform DER -inkey "$work/key" -rawin -in "$work/message" \\
    -sigfile "$work/signature" > /dev/null 2>&1; then genuine=yes; fi
done
"""
    + _FITS
    + _RECENT,
    "public_key",
)

_STRIPE = _receiver(
    """\
elements=$(header @SIGNATURE@ | tr ',' '\\n')
timestamp=$(sed -n 's/^t=//p' <<< "$elements")
expected=$({ printf '%s.' "$timestamp"; cat "$body"; } | openssl dgst -sha256 -hmac "$secret" -r | cut -d ' ' -f 1)
# During a rotation there are several signatures: one has to fit.
genuine=no
for signature in $(sed -n 's/^v1=//p' <<< "$elements"); do
  if [[ $signature == "$expected" ]]; then genuine=yes; fi
done
"""
    + _FITS
    + _RECENT
)

_TIMESTAMP_AND_BODY = _receiver(
    """\
timestamp=$(header @TIMESTAMP@)
expected=$({ printf '%s:' "$timestamp"; cat "$body"; } | openssl dgst -sha256 -hmac "$secret" -r | cut -d ' ' -f 1)
[[ $(header @SIGNATURE@) == "$expected" ]] || exit 1
"""
    + _RECENT
)

_SLACK = _receiver(
    """\
timestamp=$(header @TIMESTAMP@)
expected=$({ printf 'v0:%s:' "$timestamp"; cat "$body"; } | openssl dgst -sha256 -hmac "$secret" -r | cut -d ' ' -f 1)
[[ $(header @SIGNATURE@) == "v0=$expected" ]] || exit 1
"""
    + _RECENT
)

_GITHUB = _receiver("""\
expected=$(openssl dgst -sha256 -hmac "$secret" -r < "$body" | cut -d ' ' -f 1)
# No time is signed: remember the ids of what you have dealt with, or it can be played again.
[[ $(header @SIGNATURE@) == "sha256=$expected" ]]
""")

_TIMESTAMPED_BODY = _receiver(
    """\
expected=$(openssl dgst -sha256 -hmac "$secret" -r < "$body" | cut -d ' ' -f 1)
[[ $(header @SIGNATURE@) == "$expected" ]] || exit 1
# The signed time is the last field of the body; the @TIMESTAMP@ header only repeats it.
timestamp=$(tail -c 40 "$body" | sed -n 's/.*"timestamp":\\([0-9]*\\)}$/\\1/p')
"""
    + _RECENT
)

RECEIVERS = {
    "standard_webhooks": _STANDARD,
    "standard_webhooks_ed25519": _STANDARD_ED25519,
    "stripe": _STRIPE,
    "timestamp_and_body": _TIMESTAMP_AND_BODY,
    "slack": _SLACK,
    "github": _GITHUB,
    "timestamped_body": _TIMESTAMPED_BODY,
}
