"""Receivers in Node.js (18 and later), as modules."""

_HMAC = """\
import { createHmac, timingSafeEqual } from "node:crypto";

const secret = @KEY@;

// headers: as Node gives them; body: a Buffer, before any parsing.
export function verify(headers, body) {
%s}
"""
_EQUAL = """\

function equal(given, expected) {
  return given.length === expected.length && timingSafeEqual(given, expected);
}
"""


def _receiver(lines: str, after: str = "") -> str:
    return _HMAC % lines + after


_STANDARD = _receiver("""\
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const start = [headers["webhook-id"], headers["webhook-timestamp"], ""].join(".");
  const expected = createHmac("sha256", key).update(start).update(body).digest();
  const genuine = headers["webhook-signature"].split(" ").some((signature) => {
    const given = Buffer.from(signature.replace(/^v1,/, ""), "base64");
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
  const age = Math.abs(Date.now() / 1000 - Number(headers["webhook-timestamp"]));
  return genuine && age <= 300;
""")

_STANDARD_ED25519 = """\
import { createPublicKey, verify as fits } from "node:crypto";

const publicKey = @KEY@;
const x = Buffer.from(publicKey.replace(/^whpk_/, ""), "base64").toString("base64url");
const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });

// headers: as Node gives them; body: a Buffer, before any parsing.
export function verify(headers, body) {
  const start = [headers["webhook-id"], headers["webhook-timestamp"], ""].join(".");
  const signed = Buffer.concat([Buffer.from(start), body]);
  // During a rotation there are several signatures: one has to fit.
  const genuine = headers["webhook-signature"].split(" ").some((signature) =>
    signature.startsWith("v1a,") && fits(null, signed, key, Buffer.from(signature.slice(4), "base64")));
  const age = Math.abs(Date.now() / 1000 - Number(headers["webhook-timestamp"]));
  return genuine && age <= 300;
}
"""

_STRIPE = _receiver(
    """\
  const elements = headers["@SIGNATURE@"].split(",").map((element) => element.split("="));
  const timestamp = elements.find(([name]) => name === "t")?.[1] ?? "";
  const expected = createHmac("sha256", secret).update(timestamp + ".").update(body).digest();
  // During a rotation there are several signatures: one has to fit.
  const genuine = elements.some(([name, value]) => name === "v1" && equal(Buffer.from(value, "hex"), expected));
  return genuine && Math.abs(Date.now() / 1000 - Number(timestamp)) <= 300;
""",
    _EQUAL,
)

_TIMESTAMP_AND_BODY = _receiver(
    """\
  const timestamp = headers["@TIMESTAMP@"];
  const expected = createHmac("sha256", secret).update(timestamp + ":").update(body).digest();
  const genuine = equal(Buffer.from(headers["@SIGNATURE@"], "hex"), expected);
  return genuine && Math.abs(Date.now() / 1000 - Number(timestamp)) <= 300;
""",
    _EQUAL,
)

_SLACK = _receiver(
    """\
  const timestamp = headers["@TIMESTAMP@"];
  const hmac = createHmac("sha256", secret).update("v0:" + timestamp + ":").update(body);
  const genuine = equal(Buffer.from(headers["@SIGNATURE@"]), Buffer.from("v0=" + hmac.digest("hex")));
  return genuine && Math.abs(Date.now() / 1000 - Number(timestamp)) <= 300;
""",
    _EQUAL,
)

_GITHUB = _receiver(
    """\
  const expected = "sha256=" + createHmac("sha256", secret).update(body).digest("hex");
  // No time is signed: remember the ids of what you have dealt with, or it can be played again.
  return equal(Buffer.from(headers["@SIGNATURE@"]), Buffer.from(expected));
""",
    _EQUAL,
)

_TIMESTAMPED_BODY = _receiver("""\
  const expected = createHmac("sha256", secret).update(body).digest();
  const given = Buffer.from(headers["@SIGNATURE@"], "hex");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return false;
  return Math.abs(Date.now() / 1000 - JSON.parse(body).timestamp) <= 300;
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
