"""Receivers in PHP (8.0 and later; sodium comes with it)."""

_FRAME = """\
<?php
// $headers: what getallheaders() gives; $body: file_get_contents('php://input').
function verify(array $headers, string $body): bool
{
    $%(variable)s = @KEY@;
    $given = array_change_key_case($headers, CASE_LOWER);
%(lines)s}
"""


def _receiver(lines: str, variable: str = "secret") -> str:
    return _FRAME % {"variable": variable, "lines": lines}


_STANDARD = _receiver("""\
    $timestamp = $given['webhook-timestamp'] ?? '';
    $signed = ($given['webhook-id'] ?? '') . '.' . $timestamp . '.' . $body;
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret));
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', $signed, $key, true));
    // During a rotation there are several signatures: one has to fit.
    $genuine = false;
    foreach (explode(' ', $given['webhook-signature'] ?? '') as $signature) {
        $genuine = hash_equals($expected, $signature) || $genuine;
    }
    return $genuine && abs(time() - (int) $timestamp) <= 300;
""")

_STANDARD_ED25519 = _receiver(
    """\
    $timestamp = $given['webhook-timestamp'] ?? '';
    $signed = ($given['webhook-id'] ?? '') . '.' . $timestamp . '.' . $body;
    $key = base64_decode(preg_replace('/^whpk_/', '', $publicKey));
    // During a rotation there are several signatures: one has to fit.
    $genuine = false;
    foreach (explode(' ', $given['webhook-signature'] ?? '') as $one) {
        $signature = str_starts_with($one, 'v1a,') ? base64_decode(substr($one, 4)) : '';
        if (strlen($signature) === SODIUM_CRYPTO_SIGN_BYTES) {
            $genuine = sodium_crypto_sign_verify_detached($signature, $signed, $key) || $genuine;
        }
    }
    return $genuine && abs(time() - (int) $timestamp) <= 300;
""",
    "publicKey",
)

_STRIPE = _receiver("""\
    $timestamp = '';
    $signatures = [];
    foreach (explode(',', $given['@SIGNATURE@'] ?? '') as $element) {
        [$name, $value] = explode('=', $element, 2) + ['', ''];
        if ($name === 't') {
            $timestamp = $value;
        } elseif ($name === 'v1') {
            $signatures[] = $value;
        }
    }
    $expected = hash_hmac('sha256', $timestamp . '.' . $body, $secret);
    // During a rotation there are several signatures: one has to fit.
    $genuine = false;
    foreach ($signatures as $signature) {
        $genuine = hash_equals($expected, $signature) || $genuine;
    }
    return $genuine && abs(time() - (int) $timestamp) <= 300;
""")

_TIMESTAMP_AND_BODY = _receiver("""\
    $timestamp = $given['@TIMESTAMP@'] ?? '';
    $expected = hash_hmac('sha256', $timestamp . ':' . $body, $secret);
    return hash_equals($expected, $given['@SIGNATURE@'] ?? '') && abs(time() - (int) $timestamp) <= 300;
""")

_SLACK = _receiver("""\
    $timestamp = $given['@TIMESTAMP@'] ?? '';
    $expected = 'v0=' . hash_hmac('sha256', 'v0:' . $timestamp . ':' . $body, $secret);
    return hash_equals($expected, $given['@SIGNATURE@'] ?? '') && abs(time() - (int) $timestamp) <= 300;
""")

_GITHUB = _receiver("""\
    $expected = 'sha256=' . hash_hmac('sha256', $body, $secret);
    // No time is signed: remember the ids of what you have dealt with, or it can be played again.
    return hash_equals($expected, $given['@SIGNATURE@'] ?? '');
""")

_TIMESTAMPED_BODY = _receiver("""\
    $expected = hash_hmac('sha256', $body, $secret);
    if (!hash_equals($expected, $given['@SIGNATURE@'] ?? '')) {
        return false;
    }
    // The signed time is the one in the body; the @TIMESTAMP@ header only repeats it.
    return abs(time() - json_decode($body)->timestamp) <= 300;
""")

RECEIVERS = {
    "standard_webhooks": _STANDARD,
    "standard_webhooks_ed25519": _STANDARD_ED25519,
    "stripe": _STRIPE,
    "timestamp_and_body": _TIMESTAMP_AND_BODY,
    "slack": _SLACK,
    "github": _GITHUB,
    "timestamped_body": _TIMESTAMPED_BODY,
}
