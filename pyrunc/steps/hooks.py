"""Hooks: programs of the caller's that run at fixed points, with the container's state on standard input.

They run in the order listed, with a time limit each; the first that fails ends the operation, but for poststop,
where every hook gets its turn (runtime.md, "Lifecycle").
"""

from __future__ import annotations

import errno
import posix
import select
import time
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.jsontext import dumps
from pyrunc.steps import messages
from pyrunc.steps.exec_fifo import HOOKS_BEGIN, HOOKS_END
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyrunc.config.types import Hook
    from pyrunc.steps.context import Context

# So much of a hook's output is kept for the error message.
_OUTPUT_LIMIT: Final = 4096
# Seconds of one poll(2), which takes an int of milliseconds: longer limits are waited for in parts.
_LONGEST: Final = 1_000_000.0
# Seconds between two turns of what goes on meanwhile.
_MEANWHILE: Final = 0.01
# All that an action can be set for, but libc's own two.
_SIGNALS: Final = (*range(1, 9), *range(10, 19), *range(20, 32), *range(34, 65))
# Seconds that nobody will see the end of, and that a float can hold.
_FOR_EVER: Final = 10**12


class HooksStep(Step):
    """All hooks of one kind. status: what the state that they read says."""

    __slots__ = ("cwd_is_rootfs", "hooks", "kind", "side", "status")
    name = "hooks"
    section = "config.md#posix-platform-hooks"

    def __init__(self, kind: str, hooks: list[Hook], side: str, status: str) -> None:
        Step.__init__(self, "/hooks/" + kind)
        self.kind = kind
        self.hooks = hooks
        self.side: str = side
        self.status = status

    def describe(self) -> str:
        return "run " + self.kind + " hooks: " + ", ".join(hook["path"] for hook in self.hooks)

    def apply(self, context: Context) -> None:
        if self.side == CONTAINER:
            state = state_of(context, self.status, posix.getpid())
            posix.fchdir(context.root_fd)
            # The set-up works with none: a hook's files must not be writable to all.
            before = posix.umask(0o022)
            run(self.hooks, self.kind, state, None, annotations=context.annotations)
            posix.umask(before)
        else:
            state = state_of(context, self.status, context.pid)
            # A process that is ended meanwhile, by `delete --force` for one, ends the hook and the create with it.
            run(self.hooks, self.kind, state, context.bundle, annotations=context.annotations, watched=context.pidfd)


class StartContainerHooks:
    """The startContainer hooks: children of the container process, as its user, under its filter."""

    __slots__ = ("hooks",)

    def __init__(self, hooks: list[Hook]) -> None:
        self.hooks = hooks

    def run_in_container(self, context: Context, env: list[str]) -> None:
        """Run them between the word to start and execve(2). An error goes to the error file; never returns then.

        So does where we are: of a process that was killed, `start` knows by that whether it came to its program.
        """
        report = 3 + context.preserve_fds + 2
        try:
            posix.write(report, HOOKS_BEGIN)
            run(self.hooks, "startContainer", state_of(context, "created", posix.getpid()), None, env)
            posix.write(report, HOOKS_END)
        except BaseException as error:
            text = error.message if isinstance(error, PyruncError) else str(error)
            pointer = (isinstance(error, PyruncError) and error.pointer) or "/hooks/startContainer"
            words = (f"{pointer}\0{text}").encode("utf-8", "surrogateescape")
            posix.write(report, messages.FAILED + words)
            posix._exit(1)


def state_of(context: Context, status: str, pid: int) -> bytes:
    """The container's state as JSON (runtime.md, "State")."""
    state = context.state.copy()
    state["status"] = status
    state["pid"] = pid
    return dumps(state).encode("utf-8", "surrogateescape")


def run(
    hooks: list[Hook],
    kind: str,
    state: bytes,
    cwd: str | None,
    default_env: Sequence[str] = (),
    failures: list[str] | None = None,
    annotations: dict[str, str] | None = None,
    watched: int = -1,
    meanwhile: Callable[[], object] | None = None,
) -> None:
    """Run hooks one after the other.

    cwd: where, None for here. default_env: the environment of hooks that name none: never the runtime's own, whose
    variables may be secrets of its caller's.
    failures: if given, problems are added to it and the next hook runs. Raises PyruncError otherwise.
    annotations: those that are heeded: crun's run.oci.hooks.stdout and .stderr name files that the hooks write to.
    watched: pidfd of a process with which the hooks end, -1 for none.
    meanwhile: what has to go on while they run; called again and again.
    """
    for index, hook in enumerate(hooks):
        try:
            _run_one(hook, state, cwd, default_env, annotations or {}, watched, meanwhile)
        except PyruncError as error:
            error.pointer = f"/hooks/{kind}/{index}"
            error.message = f"error running {kind} hook #{index}: {error.message}"
            if failures is None:
                raise
            failures.append(error.line())


def _run_one(
    hook: Hook,
    state: bytes,
    cwd: str | None,
    default_env: Sequence[str],
    annotations: dict[str, str],
    watched: int,
    meanwhile: Callable[[], object] | None,
) -> None:
    files = [annotations.get("run.oci.hooks." + name) for name in ("stdout", "stderr")]
    stdin, to_hook = posix.pipe2(posix.O_CLOEXEC)
    from_hook, output = posix.pipe2(posix.O_CLOEXEC)
    call = _Call(hook, default_env, stdin, output, cwd)
    # Who has a time limit is begun by a copy, so that the limit holds for a program whose file system does not answer.
    is_plain = cwd is not None and files == [None, None] and hook.get("timeout") is None
    pid = _spawn(call) if is_plain else 0
    if pid:
        pidfd = _pidfd_of(pid)
    else:
        pid, pidfd = _clone()
        if pid == 0:
            _become_hook(call, files)
    posix.close(stdin)
    posix.close(output)
    problem = "interrupted"
    try:
        text, problem = _attend(pidfd, to_hook, from_hook, state, hook.get("timeout"), watched, meanwhile)
    finally:
        posix.close(from_hook)
        # Whatever went wrong, the hook does not outlive us.
        if problem:
            posix.kill(pid, 9)
        posix.close(pidfd)
        status = posix.waitpid(pid, 0)[1]
    if problem:
        raise PyruncError(f"{hook['path']}: {problem}")
    if status:
        if posix.WIFSIGNALED(status):
            number = posix.WTERMSIG(status)
            # A startContainer hook runs under the container's seccomp filter.
            how = "killed by signal " + str(number) + (": bad system call" if number == 31 else "")
        else:
            how = "exit status " + str(posix.WEXITSTATUS(status))
        raise PyruncError(hook["path"] + ": " + how + (", output: " + text if text else ""))


class _Call:
    """What a hook is executed with. cwd: where, None for here."""

    __slots__ = ("arguments", "cwd", "output", "path", "stdin", "variables")

    def __init__(self, hook: Hook, default_env: Sequence[str], stdin: int, output: int, cwd: str | None) -> None:
        env: Sequence[str] | None = hook.get("env")
        if env is None:
            env = default_env
        self.path = hook["path"]
        self.arguments = hook.get("args") or [hook["path"]]
        self.variables = dict(entry.split("=", 1) for entry in env if "=" in entry)
        self.stdin = stdin
        self.output = output
        self.cwd = cwd


def _spawn(call: _Call) -> int:
    """A hook of the runtime's own process: its pid, 0 when it cannot be begun so.

    A process that shares our memory until execve(2), and holds us up until then: a copy would cost more than all else
    about a hook. What fails is tried again with one, which can say why. Signals 32 and 33, libc's own, stay ignored.
    """
    streams = [(posix.POSIX_SPAWN_DUP2, call.stdin, 0)]
    streams += [(posix.POSIX_SPAWN_DUP2, call.output, number) for number in (1, 2)]
    here = -1
    try:
        here = posix.open(".", _linux.O_PATH | posix.O_CLOEXEC)
        # What the container's process inherits it has by now.
        _linux.close_range(3, 0xFFFFFFFF, _linux.CLOSE_RANGE_CLOEXEC)
        posix.chdir(call.cwd or ".")
        return posix.posix_spawn(
            call.path, call.arguments, call.variables, file_actions=streams, setsigmask=(), setsigdef=_SIGNALS
        )
    except (OSError, ValueError):
        return 0
    finally:
        if here >= 0:
            posix.fchdir(here)
            posix.close(here)


def _clone() -> tuple[int, int]:
    """A new process and its pidfd; 0 and -1 in itself. Raises OSError."""
    try:
        return _linux.clone(0)
    except OSError as error:
        # A startContainer hook is made under the container's filter, and engines' filters do not let clone3 through:
        # they could not judge its flags.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
    pid = posix.fork()
    return (pid, _pidfd_of(pid)) if pid else (0, -1)


def _pidfd_of(pid: int) -> int:
    """Of our child, which is ended when there is none to be had. Raises OSError."""
    try:
        return _linux.pidfd_open(pid, 0)
    except OSError:
        posix.kill(pid, 9)
        posix.waitpid(pid, 0)
        raise


def _become_hook(call: _Call, files: list[str | None]) -> None:
    """In the new process: never returns."""
    try:
        try:
            posix.dup2(call.stdin, 0, inheritable=True)
            posix.dup2(call.output, 1, inheritable=True)
            posix.dup2(call.output, 2, inheritable=True)
            for number, name in enumerate(files, 1):
                if name:
                    fd = posix.open(name, posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_NOCTTY, 0o600)
                    posix.dup2(fd, number, inheritable=True)
            _linux.close_range(3, 0xFFFFFFFF, _linux.CLOSE_RANGE_CLOEXEC)
            _linux.reset_signals()
            if call.cwd is not None:
                posix.chdir(call.cwd)
            posix.execve(call.path, call.arguments, call.variables)
        except OSError as error:
            posix.write(2, reason(error).encode("ascii", "replace"))
    finally:
        posix._exit(127)


def _attend(
    pidfd: int,
    to_hook: int,
    from_hook: int,
    state: bytes,
    timeout: int | None,
    watched: int,
    meanwhile: Callable[[], object] | None,
) -> tuple[str, str]:
    """Feed the state, collect output, until the hook has ended. Returns its output, and why it must be ended now."""
    deadline = None if timeout is None else time.monotonic() + min(timeout, _FOR_EVER)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(from_hook, select.POLLIN)
    poll.register(to_hook, select.POLLOUT)
    if watched >= 0:
        poll.register(watched, select.POLLIN)
    posix.set_blocking(to_hook, False)
    posix.set_blocking(from_hook, False)
    rest = memoryview(state)
    text = b""
    open_input = True
    try:
        while True:
            left = _LONGEST if deadline is None else max(0.0, deadline - time.monotonic())
            ready = poll.poll(int(min(left, _LONGEST if meanwhile is None else _MEANWHILE) * 1000) + 1)
            if meanwhile is not None:
                meanwhile()
            if not ready and deadline is not None and time.monotonic() >= deadline:
                return _text(text), f"hook ran past specified timeout of {timeout}s"
            for fd, _ in ready:
                if fd == to_hook:
                    rest = _feed(to_hook, rest)
                    if not rest:
                        poll.unregister(to_hook)
                        posix.close(to_hook)
                        open_input = False
                elif fd == from_hook:
                    chunk = _take(from_hook)
                    if not chunk:
                        poll.unregister(from_hook)
                    text = (text + chunk)[-_OUTPUT_LIMIT:]
                elif fd == watched:
                    return _text(text), "the container's process ended while the hook ran"
                else:
                    # A child that the hook left behind may hold its output open: the hook's own end is what counts.
                    return _text((text + _take(from_hook))[-_OUTPUT_LIMIT:]), ""
    finally:
        if open_input:
            posix.close(to_hook)


def _feed(fd: int, rest: memoryview[int]) -> memoryview[int]:
    """Write what goes into the pipe; a hook that does not read its input is no error."""
    try:
        return rest[posix.write(fd, rest) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[:0]


def _take(fd: int) -> bytes:
    try:
        return posix.read(fd, 65536)
    except BlockingIOError:
        return b""


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace").strip().replace("\n", "; ")
