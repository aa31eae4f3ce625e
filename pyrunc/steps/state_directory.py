"""The container's state directory."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Final

from pyrunc.errors import PyruncError, StateError, reason
from pyrunc.linux import files
from pyrunc.linux.directories import make_directories, remove_tree
from pyrunc.state.container import Container
from pyrunc.state.lock import Lock
from pyrunc.steps.context import Context
from pyrunc.steps.step import Step

if TYPE_CHECKING:
    from pyrunc.cgroups.protocol import CgroupManager

_EXISTS: Final = "container with given ID already exists"


class StateDirectory(Step):
    """The container's state directory, its name claimed by mkdir(2), and the first state.json.

    state.json is written before anything that it lists is made, so that delete --force can clean up after a runtime
    that was killed at any moment.
    """

    __slots__ = ("config", "container", "inode", "lock", "manager", "notify")
    name = "state"
    section = "runtime.md#state"

    def __init__(
        self, container: Container, config: bytes, manager: CgroupManager | None, notify: bool = False
    ) -> None:
        """notify: with a directory for the container's notify socket."""
        Step.__init__(self)
        self.notify = notify
        self.manager = manager
        self.container = container
        self.config = config
        self.lock: Lock | None = None
        self.inode = 0

    def describe(self) -> str:
        return "make the state directory " + self.container.directory

    def apply(self, context: Context) -> None:
        directory = self.container.directory
        self._check_free(directory)
        if self.manager is not None:
            try:
                # Before it is recorded: whoever deletes a recorded container kills what is in its cgroup.
                self.manager.check()
            except PyruncError:
                # Its processes may be those of another create of this name, which was faster.
                self._check_free(directory)
                raise
        try:
            make_directories(self.container.store.root, 0o700)
            posix.mkdir(directory, 0o700)
        except FileExistsError:
            raise StateError(_EXISTS, errno=errno.EEXIST) from None
        except OSError as error:
            raise PyruncError(f"make {directory}: {reason(error)}", errno=error.errno) from None
        try:
            self.lock = Lock(directory)
        except StateError:
            raise StateError("container was deleted while it was made") from None
        except PyruncError:
            posix.rmdir(directory)
            raise
        if files.exists(directory + "/state.json"):
            # Deleted, and made by somebody else, before we had the lock.
            self.lock.release()
            raise StateError(_EXISTS, errno=errno.EEXIST)
        self.inode = posix.fstat(self.lock.fd).st_ino
        self.container.save()
        files.replace(directory + "/config.json", self.config)
        if self.notify:
            posix.mkdir(directory + "/notify")
            posix.chmod(directory + "/notify", 0o755)

    def _check_free(self, directory: str) -> None:
        if files.exists(directory):
            raise StateError(_EXISTS, errno=errno.EEXIST) from None

    def undo(self, context: Context) -> None:
        if not self.inode:
            return
        # Not what somebody else may have made in its place after a delete --force.
        try:
            if posix.stat(self.container.directory).st_ino == self.inode:
                self._remove()
        except FileNotFoundError:
            pass
        if self.lock is not None:
            self.lock.release()

    def _remove(self) -> None:
        """Raises OSError. Mostly it takes no descriptor: that there are too few may be why this is undone."""
        directory = self.container.directory
        for name in ("/state.json", "/config.json"):
            try:
                posix.unlink(directory + name)
            except FileNotFoundError:
                pass
        try:
            posix.rmdir(directory)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            remove_tree(directory)
