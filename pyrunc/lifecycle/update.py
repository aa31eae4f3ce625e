"""update: other resource limits for a container that has a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc import log
from pyrunc.errors import PyruncError, StateError
from pyrunc.state.lock import Lock, stands_at

if TYPE_CHECKING:
    from pyrunc.config.types import Resources
    from pyrunc.state.container import Container
    from pyrunc.state.store import Store


def update(store: Store, container_id: str, resources: Resources, schemas: tuple[str, str] = ("", "")) -> None:
    """Apply linux.resources to the container's cgroup, all or nothing. Device rules are left as they are, as in runc.

    schemas: for L3 cache and memory bandwidth (linux.intelRdt), "" for as it is. Raises StateError for a stopped
    container, PyruncError when the kernel refuses; the old limits hold then.
    """
    lock = Lock(store.directory(container_id))
    try:
        container = store.load(container_id)
        if container.status() == "stopped":
            raise StateError("cannot update a container that has stopped: container not running")
        if schemas != ("", ""):
            from pyrunc.steps import intel_rdt

            intel_rdt.update(container.fields.get("intelRdt"), *schemas)
        for warning in container.manager().update(resources):
            log.warning(warning)
        _keep(container, resources, lock)
    finally:
        lock.release()


def _keep(container: Container, resources: Resources, lock: Lock) -> None:
    """Note what was asked for, for inspect. The new limits hold, whether or not that can be written."""
    from pyrunc.state import updated

    try:
        container.fields["updated"] = updated.add(container.fields.get("updated"), resources)
        # Not in the place of a later container's: delete --force asks for no lock.
        if stands_at(lock.fd, container.directory):
            container.save()
    except (OSError, PyruncError) as error:
        log.warning("the update is not noted in state.json: " + str(error))
