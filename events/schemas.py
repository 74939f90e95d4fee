"""Which schema an event fits (P12)."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from events.schema_language import (
    MAX_STEPS,
    SMALL_BREADTH,
    TOO_LARGE,
    UNREADABLE,
    CompiledSchema,
    SchemaError,
    places_within,
)
from events.schema_models import SchemaVersion

log = logging.getLogger(__name__)

COMPILED_KEPT = 256  # versions, in one process
MAX_POST_STEPS = 3 * MAX_STEPS  # that all events of one post may cost, each against every schema of the source


class Effort:
    """What classifying the events of one post may still cost, in steps (`events.schema_language`)."""

    def __init__(self, steps: int = MAX_POST_STEPS) -> None:
        self._left = steps

    def allows(self, document: object, breadth: int) -> bool:
        """Whether there is enough left for one more event, which is then taken."""
        places = places_within(document, self._left // breadth)
        if places is None:
            return False
        self._left -= places * breadth
        return True


class Classifier(Protocol):
    """The published schemas that are attached to a source, in their order."""

    def classify(self, document: object, effort: Effort | None = None) -> tuple[UUID | None, str]:
        """The version of the first schema that accepts the document; else None and why none did.

        `effort` is one for all events of a post.
        """


class Candidate(NamedTuple):
    """A version that may name an event."""

    version_id: UUID
    name: str
    schema: CompiledSchema


class FirstThatAccepts:
    """Tries the candidates one after another. Holds nothing of the database, and may be kept."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = tuple(candidates)
        self._breadth = sum(one.schema.breadth for one in self.candidates)

    def classify(self, document: object, effort: Effort | None = None) -> tuple[UUID | None, str]:
        """None stands for an event without a reading as JSON. A problem names places and types, never values."""
        if document is None:
            return None, UNREADABLE
        if effort is not None and self._breadth > SMALL_BREADTH and not effort.allows(document, self._breadth):
            return None, TOO_LARGE
        for version_id, _, schema in self.candidates:
            if schema.accepts(document):
                return version_id, ""
        problem = f"{self.candidates[0].name}: {self.candidates[0].schema.problem_of(document)}"
        others = len(self.candidates) - 1
        more = f" (and {others} more {'schema' if others == 1 else 'schemas'})" if others else ""
        return None, problem[: 300 - len(more)] + more


def classifier_of(source_id: UUID) -> Classifier | None:
    """The schemas of a source as they are now, or None where there are none. In the caller's scope."""
    in_order = (
        SchemaVersion.objects.in_force()
        .filter(schema__attachments__source=source_id)
        .order_by("schema__attachments__position")
        .values_list("pk", "schema__name")
    )
    candidates = []
    for version_id, name in in_order:
        schema = compiled_version(version_id)
        if schema is not None:
            candidates.append(Candidate(version_id, name, schema))
    return FirstThatAccepts(candidates) if candidates else None


_compiled: OrderedDict[UUID, CompiledSchema] = OrderedDict()
_lock = threading.Lock()


def compiled_version(version_id: UUID) -> CompiledSchema | None:
    """A published version ready to use, compiled once in a process: it never changes. In the caller's scope.

    None for one that an earlier release of the portal accepted and this one does not: it names nothing, and the
    log says so, for the door must stay open.
    """
    with _lock:
        if (known := _compiled.get(version_id)) is not None:
            _compiled.move_to_end(version_id)
            return known
    try:
        schema = CompiledSchema(SchemaVersion.objects.published().get(pk=version_id).document)
    except SchemaError as error:
        log.error("The schema version %s cannot be used. %s", version_id, error)
        return None
    with _lock:
        _compiled[version_id] = schema
        while len(_compiled) > COMPILED_KEPT:
            _compiled.popitem(last=False)
    return schema
