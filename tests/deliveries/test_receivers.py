"""Each receiver's code judges what was really delivered to it, in every language that is here."""

import pytest

from subscriptions.signing import SCHEMES, generate_secret, sign
from subscriptions.snippets import LABELS, snippets
from tests import languages

SIGNING = [scheme.name for scheme in SCHEMES.values() if scheme.signs]
CASES = [(scheme, one.label) for scheme in SIGNING for one in snippets(scheme)]


def test_every_language_that_is_offered_can_be_run():
    assert set(LABELS) == set(languages.LABELS)


@pytest.mark.spec("B4", "S4", "N5", "N6")
@pytest.mark.parametrize(("scheme", "label"), CASES)
def test_a_receiver_believes_what_was_delivered_and_nothing_else(
    subscribe, happen, deliver, receiver, tmp_path, scheme, label
):
    if SCHEMES[scheme].has_public_key and not languages.can_verify_key_pairs(label):
        pytest.skip(f"The {label} of this machine is too old for key pairs: nothing is proven about that receiver.")
    _, told = subscribe(signing=scheme, shape=SCHEMES[scheme].shapes[0])
    happen("user.created", '{"user": "Ada Ünïcode", "n": 1.0}'.encode())
    deliver()
    (posted,) = receiver.posted
    headers, body = dict(posted.headers), posted.body
    old = sign(scheme, [generate_secret(scheme)], message_id="msg_1", timestamp=1_777_863_721, body=body)
    other = {**headers, **{name.lower(): value for name, value in old.headers}}
    without = {name: value for name, value in headers.items() if "signature" not in name.lower()}
    cases = [
        (headers, body),
        (headers, body.replace(b"Ada", b"Eve")),
        (headers, body + b" "),
        (other, old.body),
    ]
    code = next(one.code for one in snippets(scheme, told) if one.label == label)
    assert languages.answers(label, code, cases, tmp_path) == [True, False, False, False]
    if label in ("Go", "PHP", "Ruby"):  # these are written for headers that may be missing
        assert languages.answers(label, code, [(without, body)], tmp_path) == [False]
