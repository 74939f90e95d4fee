"""Every reason that a refusal can have is told to the admin in words."""

import re

import pytest
from django.conf import settings

from events.reasons import EXPLANATIONS
from events.refusals import NEXT_STEPS

RAISED = re.compile(
    r'(?:Refusal|DecodeError|StreamError|Refused)\(\s*(?:\d{3},\s*)?"([a-z0-9_]+)"|reason="([a-z0-9_]+)"'
)


def codes():
    for room in ("sources", "events"):
        for path in sorted((settings.BASE_DIR / room).rglob("*.py")):
            for found in RAISED.finditer(path.read_text()):
                yield found[1] or found[2]


@pytest.mark.spec("B5")
def test_every_reason_has_words_and_a_next_step():
    raised = set(codes()) - {"source_unknown"}  # without a source there is no admin to tell
    assert len(raised) > 40
    assert raised - EXPLANATIONS.keys() == set()
    assert raised - NEXT_STEPS.keys() == set()
