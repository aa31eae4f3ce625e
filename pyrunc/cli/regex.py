"""kill and delete --regex, as crun has them: one command for every container whose name matches."""

from __future__ import annotations

import posix
import re
from typing import TYPE_CHECKING

from pyrunc import log
from pyrunc.errors import PyruncError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.state.store import Store


def each(store: Store, pattern: str, act: Callable[[str], None]) -> None:
    """Call act with each container's name that pattern is found in, by name; none is no error.

    One that fails does not stop the others. Raises UsageError for what is no pattern, then PyruncError for the first
    failure; the others are warnings.
    """
    try:
        expression = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"invalid regular expression {pattern}: {error}") from None
    try:
        names = sorted(posix.listdir(store.root))
    except FileNotFoundError:
        return
    failures: list[PyruncError] = []
    for name in names:
        if name[:1] == "@" or not expression.search(name):
            continue
        try:
            act(name)
        except PyruncError as error:
            error.message = f"{name}: {error.message}"
            failures.append(error)
    for failure in failures[1:]:
        log.warning(failure.line())
    if failures:
        raise failures[0]
