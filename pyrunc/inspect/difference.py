"""pyrunc diff: what the plans of two bundles differ in, step by step, with the properties behind it. Pure."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from pyrunc.inspect.report import escaped

_Step = dict[str, Any]


class Side(NamedTuple):
    """One of the two. bundle: its absolute path. steps: as Plan.as_json() gives them.

    objects: of steps that name several objects, by what they do: the words without these, and the objects.
    """

    bundle: str
    config: Any
    steps: Sequence[_Step]
    objects: Mapping[str, tuple[str, list[str]]] = {}

    def as_json(self, step: _Step | None) -> dict[str, Any] | None:
        """A step as it is told of."""
        if step is None:
            return None
        told = {"does": self.words(step), "pointer": step["pointer"]}
        if step["does"] in self.objects:
            heading, objects = self.objects[step["does"]]
            told |= {"heading": heading, "objects": [one.replace(self.bundle + "/", "BUNDLE/") for one in objects]}
        return told

    def words(self, step: _Step) -> str:
        """What a step does, without the bundle's own place, in which two bundles always differ."""
        return str(step["does"]).replace(self.bundle + "/", "BUNDLE/")


class Value(NamedTuple):
    """A property that differs. left, right: its pointer and value on each side, None where it is not there."""

    left: tuple[str, Any] | None
    right: tuple[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        sides = {"left": self.left, "right": self.right}
        return {name: side and {"pointer": side[0], "value": side[1]} for name, side in sides.items()}


class Change:
    """A step that is on one side alone, or differs. left, right: the step on each side, or None."""

    def __init__(self, left: _Step | None, right: _Step | None) -> None:
        self.left = left
        self.right = right
        self.moved = False
        self.values: list[Value] = []


def compare(left: Side, right: Side) -> dict[str, Any]:
    """The differences as data: steps in the order of the right plan; values: properties that no step names."""
    pairs = _paired(left, right)
    rest = _attribute(pairs, values(left.config, right.config))
    steps = []
    for change in pairs:
        one, other = change.left, change.right
        words = [side.words(step) if step else None for side, step in ((left, one), (right, other))]
        kind = "removed" if other is None else "added" if one is None else "moved" if change.moved else "changed"
        if kind == "changed" and words[0] == words[1] and not change.values:
            continue
        step = other or one or {}
        steps.append(
            {
                "change": kind,
                "side": step["side"],
                "step": step["step"],
                "left": left.as_json(one),
                "right": right.as_json(other),
                "values": [value.as_json() for value in change.values],
            }
        )
    return {
        "left": left.bundle,
        "right": right.bundle,
        "same": not steps and not rest,
        "steps": steps,
        "values": [value.as_json() for value in rest],
    }


def _paired(left: Side, right: Side) -> list[Change]:
    """Every step of both plans, those that are the same or stand for each other together."""
    keys = [[(step["side"], step["step"], side.words(step)) for step in side.steps] for side in (left, right)]
    partner: dict[int, int] = {}
    for first, second, size in SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_matching_blocks():
        partner |= {second + at: first + at for at in range(size)}
    moved: set[int] = set()
    # By less and less: the same at another place; what the same property asks for; the only one of its kind.
    likenesses: tuple[Callable[[int, int], tuple[Any, ...]], ...] = (
        lambda side, at: keys[side][at],
        lambda side, at: (*keys[side][at][:2], (left, right)[side].steps[at]["pointer"]),
        lambda side, at: keys[side][at][:2],
    )
    for number, likeness in enumerate(likenesses):
        free = [at for at in range(len(left.steps)) if at not in partner.values()]
        for second in range(len(right.steps)):
            alike = [at for at in free if likeness(0, at) == likeness(1, second)]
            others = [
                at for at in range(len(right.steps)) if at not in partner and likeness(1, at) == likeness(1, second)
            ]
            if second in partner or not alike or (number == 2 and (len(alike), len(others)) != (1, 1)):
                continue
            partner[second] = alike[0]
            free.remove(alike[0])
            if number == 0:
                moved.add(second)
    return _in_order(left, right, partner, moved)


def _in_order(left: Side, right: Side, partner: dict[int, int], moved: set[int]) -> list[Change]:
    """The right plan's steps, and before each those that only the left plan has there."""
    alone = [at for at in range(len(left.steps)) if at not in partner.values()]
    found = []
    for second, step in enumerate(right.steps):
        first = partner.get(second)
        while first is not None and second not in moved and alone and alone[0] < first:
            found.append(Change(left.steps[alone.pop(0)], None))
        change = Change(None if first is None else left.steps[first], step)
        change.moved = second in moved
        found.append(change)
    return found + [Change(left.steps[at], None) for at in alone]


def _attribute(changes: list[Change], found: list[Value]) -> list[Value]:
    """Give each property to the step that it belongs to, by the longest pointer. Returns those of no step."""
    rest = []
    for value in found:
        best, length = None, -1
        for change in changes:
            for side, step in ((value.left, change.left), (value.right, change.right)):
                pointer = step and step["pointer"]
                if side and pointer and (side[0] + "/").startswith(pointer + "/") and len(pointer) > length:
                    best, length = change, len(pointer)
        if best is None:
            rest.append(value)
        elif (best.left and best.right) or len(value[0][0] if value[0] else value[1][0] if value[1] else "") > length:
            best.values.append(value)
        # Else it is what the step on one side alone is there for.
    return rest


def values(left: Any, right: Any, pointers: tuple[str, str] = ("", "")) -> list[Value]:
    """Where two JSON values differ, as deep as they are alike."""
    # Not by ==, to which true is 1.
    if json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True):
        return []
    if isinstance(left, dict) and isinstance(right, dict):
        found = []
        for name in [*left, *(name for name in right if name not in left)]:
            here = (f"{pointers[0]}/{escaped(name)}", f"{pointers[1]}/{escaped(name)}")
            if name in left and name in right:
                found += values(left[name], right[name], here)
            else:
                found.append(_one(left.get(name), right.get(name), here, name in left))
        return found
    if isinstance(left, list) and isinstance(right, list):
        return list(_lists(left, right, pointers))
    return [Value((pointers[0], left), (pointers[1], right))]


def _one(left: Any, right: Any, pointers: tuple[str, str], is_left: bool) -> Value:
    return Value((pointers[0], left), None) if is_left else Value(None, (pointers[1], right))


def _lists(left: list[Any], right: list[Any], pointers: tuple[str, str]) -> Iterator[Value]:
    keys = [[json.dumps(item, sort_keys=True) for item in some] for some in (left, right)]
    for kind, a, b, c, d in SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        if b - a == d - c:
            for first, second in zip(range(a, b), range(c, d), strict=True):
                yield from values(left[first], right[second], (f"{pointers[0]}/{first}", f"{pointers[1]}/{second}"))
            continue
        for first in range(a, b):
            yield Value((f"{pointers[0]}/{first}", left[first]), None)
        for second in range(c, d):
            yield Value(None, (f"{pointers[1]}/{second}", right[second]))
