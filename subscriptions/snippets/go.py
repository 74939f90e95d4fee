"""Receivers in Go (1.19 and later): a file to put beside the handler, its package name to be changed."""

_FRAME = """\
package receiver

import (
%(imports)s)

%(key)s

// Verify says whether a message is genuine; body is what was received, before any parsing.
func Verify(headers http.Header, body []byte) bool {
%(lines)s}
%(after)s"""

_DIGEST = """\

func digest(key []byte, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, key)
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}
"""
_RECENT = """\

func recent(timestamp string) bool {
	sent, err := strconv.ParseInt(timestamp, 10, 64)
	return err == nil && time.Since(time.Unix(sent, 0)).Abs() <= 5*time.Minute
}
"""


def _receiver(lines: str, *imports: str, after: str, key: str = "var secret = []byte(@KEY@)") -> str:
    named = "".join(f'\t"{name}"\n' for name in sorted({"net/http", *imports}))
    return _FRAME % {"imports": named, "key": key, "lines": lines, "after": after}


_HMAC = ("crypto/hmac", "crypto/sha256")
_TIME = ("strconv", "time")

_STANDARD = _receiver(
    """\
	id, timestamp := headers.Get("webhook-id"), headers.Get("webhook-timestamp")
	expected := "v1," + base64.StdEncoding.EncodeToString(digest(secret, []byte(id+"."+timestamp+"."), body))
	// During a rotation there are several signatures: one has to fit.
	genuine := false
	for _, given := range strings.Fields(headers.Get("webhook-signature")) {
		genuine = hmac.Equal([]byte(given), []byte(expected)) || genuine
	}
	return genuine && recent(timestamp)
""",
    *_HMAC,
    *_TIME,
    "encoding/base64",
    "strings",
    key='var secret, _ = base64.StdEncoding.DecodeString(strings.TrimPrefix(@KEY@, "whsec_"))',
    after=_DIGEST + _RECENT,
)

_STANDARD_ED25519 = _receiver(
    """\
	id, timestamp := headers.Get("webhook-id"), headers.Get("webhook-timestamp")
	signed := append([]byte(id+"."+timestamp+"."), body...)
	// During a rotation there are several signatures: one has to fit.
	genuine := false
	for _, given := range strings.Fields(headers.Get("webhook-signature")) {
		signature, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(given, "v1a,"))
		if strings.HasPrefix(given, "v1a,") && err == nil && len(publicKey) == ed25519.PublicKeySize {
			genuine = ed25519.Verify(publicKey, signed, signature) || genuine
		}
	}
	return genuine && recent(timestamp)
""",
    *_TIME,
    "crypto/ed25519",
    "encoding/base64",
    "strings",
    key='var publicKey, _ = base64.StdEncoding.DecodeString(strings.TrimPrefix(@KEY@, "whpk_"))',
    after=_RECENT,
)

_STRIPE = _receiver(
    """\
	timestamp, given := "", []string{}
	for _, element := range strings.Split(headers.Get("@SIGNATURE@"), ",") {
		switch name, value, _ := strings.Cut(element, "="); name {
		case "t":
			timestamp = value
		case "v1":
			given = append(given, value)
		}
	}
	expected := hex.EncodeToString(digest(secret, []byte(timestamp+"."), body))
	// During a rotation there are several signatures: one has to fit.
	genuine := false
	for _, signature := range given {
		genuine = hmac.Equal([]byte(signature), []byte(expected)) || genuine
	}
	return genuine && recent(timestamp)
""",
    *_HMAC,
    *_TIME,
    "encoding/hex",
    "strings",
    after=_DIGEST + _RECENT,
)

_TIMESTAMP_AND_BODY = _receiver(
    """\
	timestamp := headers.Get("@TIMESTAMP@")
	expected := hex.EncodeToString(digest(secret, []byte(timestamp+":"), body))
	return hmac.Equal([]byte(headers.Get("@SIGNATURE@")), []byte(expected)) && recent(timestamp)
""",
    *_HMAC,
    *_TIME,
    "encoding/hex",
    after=_DIGEST + _RECENT,
)

_SLACK = _receiver(
    """\
	timestamp := headers.Get("@TIMESTAMP@")
	expected := "v0=" + hex.EncodeToString(digest(secret, []byte("v0:"+timestamp+":"), body))
	return hmac.Equal([]byte(headers.Get("@SIGNATURE@")), []byte(expected)) && recent(timestamp)
""",
    *_HMAC,
    *_TIME,
    "encoding/hex",
    after=_DIGEST + _RECENT,
)

_GITHUB = _receiver(
    """\
	expected := "sha256=" + hex.EncodeToString(digest(secret, body))
	// No time is signed: remember the ids of what you have dealt with, or it can be played again.
	return hmac.Equal([]byte(headers.Get("@SIGNATURE@")), []byte(expected))
""",
    *_HMAC,
    "encoding/hex",
    after=_DIGEST,
)

_TIMESTAMPED_BODY = _receiver(
    """\
	expected := hex.EncodeToString(digest(secret, body))
	if !hmac.Equal([]byte(headers.Get("@SIGNATURE@")), []byte(expected)) {
		return false
	}
	// The signed time is the one in the body; the @TIMESTAMP@ header only repeats it.
	var message struct {
		Timestamp json.Number `json:"timestamp"`
	}
	return json.Unmarshal(body, &message) == nil && recent(message.Timestamp.String())
""",
    *_HMAC,
    *_TIME,
    "encoding/hex",
    "encoding/json",
    after=_DIGEST + _RECENT,
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
