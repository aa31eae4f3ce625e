"""Want of memory in a cgroup of cgroup v2, as it happens: for events."""

from __future__ import annotations

import posix
import select

from pyrunc.cgroups.files import failure


class OomWatch:
    """What the kernel announces of each change of memory.events and cgroup.events. kills: those that are known."""

    __slots__ = ("_epoll", "_files", "_kills")

    def __init__(self, directory: str, kills: int) -> None:
        """Raises PyruncError."""
        self._kills = kills
        self._epoll = select.epoll()
        self._files: list[int] = []
        try:
            for name in ("memory.events", "cgroup.events"):
                fd = posix.open(f"{directory}/{name}", posix.O_RDONLY | posix.O_CLOEXEC)
                self._files.append(fd)
                posix.read(fd, 4096)
                self._epoll.register(fd, select.EPOLLPRI)
        except OSError as error:
            raise failure("watch " + directory, error) from None

    def fileno(self) -> int:
        return self._epoll.fileno()

    def ran_out(self) -> bool | None:
        """Whether the kernel has killed again; None when the last process is gone."""
        try:
            texts = []
            for fd in self._files:
                posix.lseek(fd, 0, 0)
                text = posix.read(fd, 4096)
                texts.append(b"\n" + text)
                if not texts[1:]:
                    kills = int(text.partition(b"oom_kill ")[2].partition(b"\n")[0] or 0)
                    if kills > self._kills:
                        # Told first; what else has happened is seen at the next call.
                        self._kills = kills
                        return True
        except (OSError, ValueError):
            return None
        return None if b"\npopulated 0" in texts[1] else False
