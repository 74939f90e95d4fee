"""A payload as a tree to unfold. Pure, and bounded: a page shows the beginning of the largest payload."""

from collections.abc import Iterable
from dataclasses import dataclass

from events.conditions import MAX_DEPTH, MAX_LENGTH, MAX_NAME, Condition, Operator

MAX_NODES = 1_000
MAX_UNFOLDED = 20  # levels; what lies deeper is only counted
MAX_TEXT = 500  # characters of one value
OPEN = 3  # levels that are unfolded at first


@dataclass(frozen=True)
class Node:
    """One value. `kind` is object, list, text, number, word (true, false, null).

    `condition` is what `where=` has to say to find events with this value here, or "".
    `left_out` counts the children that are not shown.
    """

    name: str
    kind: str
    text: str = ""
    size: int = 0
    children: tuple["Node", ...] = ()
    left_out: int = 0
    condition: str = ""
    is_open: bool = False


def tree_of(value: object) -> Node:
    """Of parsed JSON."""
    return _node("", value, (), [MAX_NODES])


def _node(name: str, value: object, path: tuple[str, ...], left: list[int]) -> Node:
    """`left` counts down the nodes that may still be made."""
    left[0] -= 1
    if isinstance(value, dict):
        return _branch(name, "object", value.items(), len(value), path, left)
    if isinstance(value, list):
        return _branch(name, "list", ((str(index), item) for index, item in enumerate(value)), len(value), path, left)
    if isinstance(value, str):
        shown = value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "…"
        return Node(name, "text", shown, len(value), condition=_condition(path, value, is_text=True))
    if value is None or isinstance(value, bool):
        word = {None: "null", True: "true", False: "false"}[value]
        return Node(name, "word", word, condition=_condition(path, word))
    return Node(name, "number", str(value)[:MAX_TEXT], condition=_condition(path, str(value)))


def _branch(
    name: str,
    kind: str,
    items: Iterable[tuple[str, object]],
    size: int,
    path: tuple[str, ...],
    left: list[int],
) -> Node:
    children: list[Node] = []
    if len(path) < MAX_UNFOLDED:
        for key, item in items:
            if left[0] <= 0:
                break
            children.append(_node(key, item, (*path, key), left))
    return Node(name, kind, "", size, tuple(children), size - len(children), is_open=len(path) < OPEN)


def _condition(path: tuple[str, ...], value: str, *, is_text: bool = False) -> str:
    """A text that reads like a number, a word or something quoted is asked for in quotes: it alone, as it stands."""
    if not path or len(path) > MAX_DEPTH or not all(path) or any(len(name) > MAX_NAME for name in path):
        return ""
    condition = Condition(path, Operator.IS, value)
    if is_text and (len(condition.wanted) > 1 or value != value.strip() or value[:1] == '"'):
        condition = Condition(path, Operator.IS, f'"{value}"')
    elif not is_text and len(condition.wanted) == 1:  # a number of more digits than a condition takes
        return ""
    return text if len(text := str(condition)) <= MAX_LENGTH else ""
