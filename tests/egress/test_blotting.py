"""What a receiver repeats of its secrets is not kept."""

import json
from urllib.parse import quote

import pytest

from egress.blotting import MASK, blotted, spellings
from egress.exchange import Outcome

SECRET = 'key/"with" signs&more=1'


@pytest.mark.spec("T3")
@pytest.mark.parametrize(
    "spelled",
    [SECRET, json.dumps(SECRET), json.dumps(SECRET).replace("/", "\\/"), quote(SECRET), quote(SECRET, safe="")],
)
def test_in_the_body_and_in_headers_however_it_is_spelled(spelled):
    answer = Outcome(200, headers=(("X-Echo", f"<{spelled}>"), ("Date", "now")), body=f"you said {spelled}!".encode())
    found = blotted(answer, spellings([SECRET]))
    bare = spelled.strip('"')
    assert bare.encode() not in found.body
    assert found.body.decode().strip("!").strip('"').endswith(MASK)
    assert bare not in dict(found.headers)["X-Echo"]
    assert dict(found.headers)["Date"] == "now"


def test_nor_the_beginning_of_it_at_the_end_of_what_was_cut():
    cut = Outcome(200, body=b"the token is abcdefgh", body_truncated=True)
    assert blotted(cut, spellings(["abcdefghijkl"])).body.decode() == f"the token is {MASK}"
    whole = Outcome(200, body=b"the token is abcdefgh")
    assert blotted(whole, spellings(["abcdefghijkl"])) is whole


def test_what_is_short_is_no_secret():
    answer = Outcome(200, body=b"true is true", headers=(("A", "true"),))
    assert blotted(answer, spellings(["true"])) is answer
