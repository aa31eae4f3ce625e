"""delete: take back what create made."""

from __future__ import annotations

import posix
import time
from typing import TYPE_CHECKING, Any, Final

from pyrunc import log
from pyrunc.errors import PyruncError, StateError, reason
from pyrunc.jsontext import dumps
from pyrunc.lifecycle import kill
from pyrunc.linux.directories import remove_tree
from pyrunc.state import state_file
from pyrunc.state.container import FIFO, Container
from pyrunc.state.lock import PATIENCE, Busy, Lock, stands_at
from pyrunc.state.state_file import Malformed

if TYPE_CHECKING:
    from pyrunc.state.store import Store

# Seconds after which delete --force looks for a process again while it waits for another operation on the container.
_AGAIN: Final = 0.25
# What may be in a state directory without state.json, when a create or another delete was killed.
_LEFT: Final = ("config.json", FIFO, "notify", "criu")


def delete(store: Store, container_id: str, force: bool = False) -> None:
    """Delete a stopped container, or a created one (as runc and crun do); with force, any.

    Raises StateError when there is none (not with force), or when it runs and force is not given.
    """
    directory = store.directory(container_id)
    lock = _lock(store, container_id, directory, force)
    if lock is None:
        return
    try:
        try:
            container = store.load(container_id)
        except StateError:
            # A directory without state.json: of a create that was killed, or a delete.
            _check_is_ours(directory)
            remove_tree(directory)
            if force:
                return
            raise
        if not force:
            status = container.status()
            # "creating" says that the lock is taken: by this process, so nobody creates it any more.
            if status not in ("stopped", "created", "creating"):
                raise StateError(f"cannot delete container {container_id} that is not stopped: {status}")
        if not kill.kill_everything(container, PATIENCE):
            raise PyruncError("container init still running")
        # What force has ended has not ended badly.
        destroy(container, explain=container.is_zombie and not force)
    except Malformed as error:
        if not force:
            raise
        _delete_malformed(store, directory, error)
    finally:
        lock.release()


def _delete_malformed(store: Store, directory: str, error: Malformed) -> None:
    """What is certainly ours of a container whose state.json cannot be believed: its directory, and its process.

    That is the recorded one if it has started when the record says. Whatever else is named there may be anything.
    """
    _check_is_ours(directory)
    pid, start = error.fields.get("pid"), error.fields.get("start")
    if state_file.fits(pid, "pid") and state_file.fits(start, "number"):
        known: Any = {"id": directory.rpartition("/")[2], "pid": pid, "start": start, "cgroup": {}}
        if not kill.kill_everything(Container(store, directory, known), PATIENCE):
            raise PyruncError("container init still running")
    remove_tree(directory)
    log.warning(error.message + ": its cgroups and mounts, if there are any, are left as they are")


def _check_is_ours(directory: str) -> None:
    """Raises PyruncError for a directory that we cannot have left, as with `--root /var delete lib`."""
    try:
        fd = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    except OSError:
        return  # A link, of which the link is removed.
    try:
        names = posix.listdir(fd)
    finally:
        posix.close(fd)
    for name in names:
        # What is being written has a "." before its name (files.replace).
        if name != state_file.NAME and name not in _LEFT and not name.startswith((".config.json.", ".state.json.")):
            raise PyruncError(f"{directory} is no container's: there is a {name} in it")


def _lock(store: Store, container_id: str, directory: str, force: bool) -> Lock | None:
    """The container's lock. With force, its process is ended first, whoever has the lock; None when it is gone."""
    if not force:
        return Lock(directory)
    try:
        # While it is held no other directory has its inode's number, so that a later one of the name is told from it.
        own = posix.open(directory, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError:
        return _lock_at_once(directory)
    try:
        return _end_and_lock(store, container_id, directory, own)
    finally:
        posix.close(own)


def _lock_at_once(directory: str) -> Lock | None:
    """Of what cannot be looked at. None when there is nothing."""
    try:
        return Lock(directory)
    except StateError:
        return None


def _end_and_lock(store: Store, container_id: str, directory: str, own: int) -> Lock | None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            container = store.load(container_id)
            if not stands_at(own, directory):
                return None  # somebody has made another of its name
            # A create or a start fails by that, takes back what it made, and lets go of the lock.
            kill.kill_everything(container, PATIENCE)
        except (StateError, Malformed):
            pass
        try:
            # Again and again: a create that is under way may have made its process since.
            lock = Lock(directory, _AGAIN)
        except StateError:
            return None
        except Busy:
            if time.monotonic() > deadline:
                raise
            continue
        if stands_at(own, directory):
            return lock
        lock.release()
        return None


def destroy(container: Container, explain: bool = False) -> None:
    """Remove the cgroup, mounts of ours on the host, the state; then run the poststop hooks. Raises PyruncError.

    explain: keep how its process has ended, which nobody has waited for yet, for `why`.
    """
    if container.fields["cgroup"]:
        # Recorded, but perhaps never made: then what is in there is somebody else's, and nothing is killed. Nor is it
        # where the pid namespace has ended: another container may have been made in the empty cgroup.
        certain = container.fields["phase"] != "creating" or container.pid != 0
        manager = container.manager()
        if container.fields["phase"] != "creating" and (explain or manager.oom_kills()):
            from pyrunc.lifecycle import why_record

            why_record.found(container, manager, explain)
        manager.delete(kill=certain and not container.fields.get("privatePids"))
    if container.fields.get("intelRdt"):
        from pyrunc.steps import intel_rdt

        intel_rdt.remove(container.fields["intelRdt"])
    if not container.fields.get("ownMounts", True):
        from pyrunc.steps.rootfs import root

        root.unmount_below(container.fields["rootfs"])
    try:
        remove_tree(container.directory)
    except OSError as error:
        raise PyruncError(f"remove {container.directory}: {reason(error)}", errno=error.errno) from None
    if container.fields["hooks"].get("poststop"):
        poststop(container)


def poststop(container: Container) -> None:
    """Run the poststop hooks, all of them, whatever happens to one: runtime.md asks for a warning and to go on."""
    from pyrunc.steps import hooks

    state = container.state_json("stopped")
    state.pop("owner")
    text = dumps(state).encode("utf-8", "surrogateescape")
    failures: list[str] = []
    bundle: str | None = container.fields["bundle"]
    try:
        posix.stat(container.fields["bundle"])
    except OSError:
        bundle = None
    wanted = container.fields["hooks"]["poststop"]
    hooks.run(wanted, "poststop", text, bundle, (), failures, container.annotations())
    for failure in failures:
        log.warning(failure)
