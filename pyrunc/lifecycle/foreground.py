"""A process in the foreground: pass it our signals, relay its streams or its terminal, wait for its end."""

from __future__ import annotations

import errno
import posix
import select
from typing import TYPE_CHECKING, Final

from pyrunc import _linux, log
from pyrunc.errors import PyruncError
from pyrunc.lifecycle.pump import POLLIN, End, Flow

if TYPE_CHECKING:
    from pyrunc.lifecycle.notify_socket import Notify
    from pyrunc.lifecycle.terminal_relay import Console
    from pyrunc.steps.context import Context

# Numbers of signal(7), the same on every architecture this project is for: _signal cannot be loaded so early.
_SIGHUP: Final = 1
_SIGPIPE: Final = 13
_SIGWINCH: Final = 28
# Not held: what cannot be, what the kernel sends for this process's own sake and does no harm (KILL STOP URG), and
# PIPE, which is ignored.
_FREE: Final = frozenset((9, 19, 23, _SIGPIPE))
# Held and not passed on: TTIN and TTOU, so that a terminal neither stops us in the background nor refuses our output;
# XFSZ, so that a file that may not grow is an error of write(2); CHLD, by which wait() learns what there is to reap.
_OURS: Final = frozenset((17, 21, 22, 25))
# Real-time signals from 34 on: the C library keeps 32 and 33 for itself.
_SIGNALS: Final = (*(number for number in range(1, 32) if number not in _FREE), *range(34, 65))
# They ask for the end: HUP INT QUIT TERM.
_ENDING: Final = frozenset((1, 2, 3, 15))
# struct signalfd_siginfo, whose first field is the number.
_SIGNAL_SIZE: Final = 128
# Milliseconds after which somebody who asked for the end waits no longer for a reader of what is left.
_PATIENCE: Final = 1000
# Milliseconds between two looks whether our terminal is ours by now.
_LOOK: Final = 1000
_NAMES: Final = ("standard input", "standard output", "standard error")


def hold_signals() -> None:
    """Keep signals waiting until begin() can pass them on: the process may have begun when we have not."""
    posix.close(_linux.signalfd(*_SIGNALS))


class Foreground:
    """Attend to one child process.

    context: where its number, its terminal's master or our ends of its pipes are; both are taken out of it, and closed
    at the end. notify: what it says it on when it is ready, of which the service manager is told.
    """

    __slots__ = (
        "asked",
        "console",
        "done",
        "events",
        "flows",
        "killed",
        "last_signal",
        "notify",
        "pid",
        "pidfd",
        "poll",
        "problems",
        "signals",
    )

    def __init__(self, context: Context, notify: Notify | None = None) -> None:
        self.notify = notify
        self.pid = context.pid
        self.pidfd = context.pidfd
        self.signals = -1
        #: Whether a signal has asked for the end.
        self.asked = False
        #: Whether it has when there was no process any more.
        self.done = False
        #: Whether a signal has ended the process.
        self.killed = False
        #: The last one that was passed on, as the kernel told of it.
        self.last_signal = b""
        self.console: Console | None = None
        self.flows: list[Flow] = []
        self.problems: list[PyruncError] = []
        self.events: dict[int, int] = {}
        self.poll = select.poll()
        if context.console_fd >= 0:
            from pyrunc.lifecycle.terminal_relay import Console

            self.console = Console(context.console_fd)
            self.flows = [self.console.input, self.console.output]
            context.console_fd = -1
        elif context.streams is not None:
            for number, fd in enumerate(context.streams.take()):
                source, target = (fd, number) if number else (number, fd)
                if fd >= 0:
                    ends = End(source, posix.O_RDONLY), End(target, posix.O_WRONLY)
                    self.flows.append(Flow(*ends, _NAMES[number], True))

    def begin(self) -> None:
        """Pass on signals from now on; put our own terminal into raw mode. Raises OSError."""
        self.signals = _linux.signalfd(*_SIGNALS)
        if self.console is not None:
            self.console.begin()

    def turn(self) -> None:
        """Do what can be done now, and wait for nothing."""
        self._attend(self.pidfd, 0)

    def wait(self) -> int:
        """Until the process ends: its exit status, or 128 and the signal that ended it. finish() has to follow.

        Signals stay held: who asks for the end of a container that is being deleted shall get that.
        """
        try:
            while self.pidfd not in self._attend(self.pidfd):
                self._reap()
        finally:
            if self.console is not None:
                self.console.restore()
        while True:
            pid, status = posix.waitpid(-1, 0)
            # As the subreaper we inherit what the container leaves behind.
            if pid == self.pid:
                break
        if posix.WIFSIGNALED(status):
            self.killed = True
            return 128 + posix.WTERMSIG(status)
        return posix.WEXITSTATUS(status)

    def _reap(self) -> None:
        """What the container has left to us, its subreaper: until it is waited for it counts in its cgroup."""
        while True:
            try:
                found = posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid == self.pid:
                return
            posix.waitpid(found.si_pid, 0)

    def finish(self, status: int) -> None:
        """Deliver what the process has left in its terminal or its pipes, and say what went wrong with streams.

        Pipes end when everybody has closed them, as with runc: a process that was left behind may go on writing. A
        signal ends this too; after one that asked for the process's end, and after a process that was killed, no reader
        is waited for long. status: as wait() gave it.
        """
        if self.console is not None:
            self.console.output.last_round = True
            self.flows = [flow for flow in self.flows if flow is self.console.output]
        left = [flow for flow in self.flows if flow.source.number]
        while not self.done and any(not flow.over for flow in left):
            ready = {flow.source.fd: POLLIN for flow in left if flow.last_round and not flow.full}
            if ready:
                # A terminal may go on giving what somebody who was left behind writes.
                self._take_signals(-1)
                self._go(ready)
                continue
            blocked = any(flow.full and not flow.over for flow in left)
            if not self._attend(-1, _PATIENCE if self.asked or (self.killed and blocked) else None):
                break
        self.end()
        self._report(status)

    def give_up(self) -> None:
        """What could not be started has ended: deliver what it has left, without much patience."""
        self.asked = True
        if self.signals >= 0:
            self.finish(0)
        self.end()

    def end(self) -> None:
        """Our terminal as it was, and its terminal and pipes closed."""
        if self.console is not None:
            self.console.close()
            self.console = None

    def _attend(self, pidfd: int, patience: int | None = None) -> dict[int, int]:
        """Wait until something can be done, and do it. Returns what poll(2) has told, nothing when time ran out."""
        events = {self.signals: POLLIN}
        if pidfd >= 0:
            events[pidfd] = POLLIN
        if self.notify is not None:
            events[self.notify.fileno()] = POLLIN
        for flow in self.flows:
            flow.wants(events)
        if events != self.events:
            self.events = events
            self.poll = select.poll()
            for fd, wanted in events.items():
                self.poll.register(fd, wanted)
        resting = pidfd >= 0 and any(flow.rests for flow in self.flows)
        ready = dict(self.poll.poll(_LOOK if resting and patience is None else patience))
        if resting:
            self._wake()
        if self.notify is not None and self.notify.fileno() in ready and self.notify.is_ready():
            # This process stays, so it is the service's main one, and need not wait for what the manager says.
            self.notify.tell(posix.getpid(), barrier=False)
            self.notify = None
        if self.signals in ready:
            self._take_signals(pidfd)
        self._go(ready)
        return ready

    def _wake(self) -> None:
        """In the background our terminal is others': see whether it is ours by now."""
        if self.console is not None:
            self.console.wake()
        else:
            for flow in self.flows:
                flow.wake()

    def _go(self, ready: dict[int, int]) -> None:
        over = False
        for flow in self.flows:
            flow.go(ready)
            over = over or flow.over
        if not over:
            return
        for flow in self.flows:
            if flow.over:
                flow.close()
                if flow.problem is not None:
                    self.problems.append(flow.problem)
        self.flows = [flow for flow in self.flows if not flow.over]

    def _take_signals(self, pidfd: int) -> None:
        """The signals that came: to the process, but for a change of our terminal's size."""
        try:
            data = posix.read(self.signals, 32 * _SIGNAL_SIZE)
        except BlockingIOError:
            return
        for offset in range(0, len(data), _SIGNAL_SIZE):
            number = int.from_bytes(data[offset : offset + 4], "little")
            # HUP asks a process that lives for its configuration, as often as for its end.
            self.asked = self.asked or (number in _ENDING and not (number == _SIGHUP and pidfd >= 0))
            if number == _SIGWINCH and self.console is not None:
                from pyrunc.linux.tty import resize

                resize(self.console.master)
            elif number not in _OURS and pidfd >= 0:
                try:
                    _linux.pidfd_send_signal(pidfd, number)
                    self.last_signal = data[offset : offset + _SIGNAL_SIZE]
                except OSError:
                    continue
            elif number in _ENDING:
                self.done = True

    def _report(self, status: int) -> None:
        """One line for all that went wrong with our streams."""
        problems = self.problems + [flow.problem for flow in self.flows if flow.problem is not None]
        if status == 128 + _SIGPIPE and self.console is None:
            problems = [problem for problem in problems if problem.errno != errno.EPIPE]
        if problems:
            first = problems[0]
            first.message = "; ".join([problem.message for problem in problems])
            log.error(first)
