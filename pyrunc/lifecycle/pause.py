"""pause and resume: the freezer cgroup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.errors import StateError
from pyrunc.state.lock import Lock

if TYPE_CHECKING:
    from pyrunc.state.store import Store


def pause(store: Store, container_id: str) -> None:
    """Freeze all processes of a created or running container. Raises StateError in any other state."""
    lock = Lock(store.directory(container_id))
    try:
        container = store.load(container_id)
        if container.status() not in ("created", "running"):
            raise StateError("container not running")
        container.manager().freeze()
    finally:
        lock.release()


def resume(store: Store, container_id: str) -> None:
    """Thaw a paused container. Raises StateError when it is not paused."""
    lock = Lock(store.directory(container_id))
    try:
        container = store.load(container_id)
        if container.status() != "paused":
            raise StateError("container not paused")
        container.manager().thaw()
    finally:
        lock.release()
