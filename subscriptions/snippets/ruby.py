"""Receivers in Ruby (3.0 and later; the key pair needs its openssl gem 3.2).

Base64 by `pack`: the module of that name is no part of Ruby any more from 3.4 on.
"""

_FRAME = """\
%(requires)srequire "openssl"

%(key)s

# headers: a Hash of the names as received; body: the raw body, before any parsing.
def verify(headers, body)
  given = headers.transform_keys(&:downcase)
%(lines)send
"""


def _receiver(lines: str, *requires: str, key: str = "SECRET = @KEY@") -> str:
    return _FRAME % {"requires": "".join(f'require "{name}"\n' for name in requires), "key": key, "lines": lines}


_STANDARD = _receiver(
    """\
  timestamp = given["webhook-timestamp"].to_s
  key = SECRET.delete_prefix("whsec_").unpack1("m")
  signed = [given["webhook-id"], timestamp, body.b].join(".")
  expected = "v1," + [OpenSSL::HMAC.digest("SHA256", key, signed)].pack("m0")
  # During a rotation there are several signatures: one has to fit.
  genuine = given["webhook-signature"].to_s.split(" ").any? { |one| OpenSSL.secure_compare(expected, one) }
  genuine && (Time.now.to_i - timestamp.to_i).abs <= 300
""",
)

_STANDARD_ED25519 = _receiver(
    """\
  timestamp = given["webhook-timestamp"].to_s
  signed = [given["webhook-id"], timestamp, body.b].join(".")
  # During a rotation there are several signatures: one has to fit.
  genuine = given["webhook-signature"].to_s.split(" ").any? do |one|
    one.start_with?("v1a,") && KEY.verify(nil, one.delete_prefix("v1a,").unpack1("m"), signed)
  end
  genuine && (Time.now.to_i - timestamp.to_i).abs <= 300
""",
    key="PUBLIC_KEY = @KEY@\n"
    'KEY = OpenSSL::PKey.new_raw_public_key("ED25519", PUBLIC_KEY.delete_prefix("whpk_").unpack1("m"))',
)

_STRIPE = _receiver("""\
  elements = given["@SIGNATURE@"].to_s.split(",").map { |element| element.split("=", 2) }
  timestamp = elements.assoc("t")&.last.to_s
  expected = OpenSSL::HMAC.hexdigest("SHA256", SECRET, timestamp + "." + body.b)
  # During a rotation there are several signatures: one has to fit.
  genuine = elements.any? { |name, value| name == "v1" && OpenSSL.secure_compare(expected, value.to_s) }
  genuine && (Time.now.to_i - timestamp.to_i).abs <= 300
""")

_TIMESTAMP_AND_BODY = _receiver("""\
  timestamp = given["@TIMESTAMP@"].to_s
  expected = OpenSSL::HMAC.hexdigest("SHA256", SECRET, timestamp + ":" + body.b)
  genuine = OpenSSL.secure_compare(expected, given["@SIGNATURE@"].to_s)
  genuine && (Time.now.to_i - timestamp.to_i).abs <= 300
""")

_SLACK = _receiver("""\
  timestamp = given["@TIMESTAMP@"].to_s
  expected = "v0=" + OpenSSL::HMAC.hexdigest("SHA256", SECRET, "v0:" + timestamp + ":" + body.b)
  genuine = OpenSSL.secure_compare(expected, given["@SIGNATURE@"].to_s)
  genuine && (Time.now.to_i - timestamp.to_i).abs <= 300
""")

_GITHUB = _receiver("""\
  expected = "sha256=" + OpenSSL::HMAC.hexdigest("SHA256", SECRET, body)
  # No time is signed: remember the ids of what you have dealt with, or it can be played again.
  OpenSSL.secure_compare(expected, given["@SIGNATURE@"].to_s)
""")

_TIMESTAMPED_BODY = _receiver(
    """\
  expected = OpenSSL::HMAC.hexdigest("SHA256", SECRET, body)
  return false unless OpenSSL.secure_compare(expected, given["@SIGNATURE@"].to_s)

  # The signed time is the one in the body; the @TIMESTAMP@ header only repeats it.
  (Time.now.to_i - JSON.parse(body)["timestamp"]).abs <= 300
""",
    "json",
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
