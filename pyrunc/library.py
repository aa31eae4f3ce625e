"""pyrunc for other programs: what `import pyrunc` offers (docs/library.md).

Configs are read, checked and planned, and states read, in the caller's process. What makes processes (create, run,
exec, restore) is done by the installed launcher, which is started for it: nothing is ever cloned out of the caller's
program, with its threads, libraries and memory. The launcher says in JSON what went wrong, and that is raised.

Never imported by the launcher: this may use what it likes.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pyrunc import catalogue
from pyrunc.config import load
from pyrunc.config.explain import Violation
from pyrunc.config.types import Config, Process, Resources
from pyrunc.config.validate import problems
from pyrunc.errors import EXIT_EXEC_FAILURE, EXIT_FAILURE, ConfigError, PyruncError, StateError, UsageError
from pyrunc.inspect.typed import Inspection, typed
from pyrunc.state.container import Container
from pyrunc.state.store import Store
from pyrunc.steps.step import Plan, Step

__all__ = [
    "Config",
    "ConfigError",
    "Container",
    "Inspection",
    "Plan",
    "Process",
    "PyruncError",
    "Resources",
    "Runtime",
    "StateError",
    "Step",
    "Store",
    "UsageError",
    "Verdict",
    "Violation",
    "create",
    "default_root",
    "exec",
    "load_bundle",
    "plan_bundle",
    "run",
    "validate_bundle",
]

PyruncError.advise = staticmethod(catalogue.complete)

#: What a container's standard descriptor is: as of subprocess, a descriptor, a file, or None for the caller's own.
Stream = int | IO[Any] | None


def default_root() -> str:
    """The directory of the containers' states that the command line uses without --root. Raises PyruncError."""
    from pyrunc.cli.main import state_root

    return state_root("", False)[0]


def load_bundle(bundle: str | os.PathLike[str], config: str | os.PathLike[str] | None = None) -> Config:
    """The config of a bundle, checked as `create` checks it.

    config: the file to read where it is not config.json in the bundle. Raises ConfigError, with the pointer of what
    is wrong first.
    """
    return load.load_bundle(os.path.abspath(bundle), _path(config))[0]


@dataclass(frozen=True)
class Verdict:
    """What validate_bundle() found. problems: each makes create refuse the config. warnings: it would be odd."""

    problems: list[Violation]
    warnings: list[str]

    @property
    def valid(self) -> bool:
        return not self.problems


def validate_bundle(bundle: str | os.PathLike[str], config: str | os.PathLike[str] | None = None) -> Verdict:
    """Everything that is wrong with a bundle's config, each with its pointer and the section of the specification."""
    found, odd = problems(os.path.abspath(bundle), _path(config))
    for one in found:
        one.hint = one.hint or ConfigError(one.message, pointer=one.pointer or None).hint or ""
    return Verdict(found, odd)


def plan_bundle(
    bundle: str | os.PathLike[str],
    *,
    container_id: str = "container-id",
    config: str | os.PathLike[str] | None = None,
    root: str | None = None,
    systemd_cgroup: bool = False,
    rootless: bool | None = None,
) -> Plan:
    """The steps that `create` and `start` would take on this host, in order. None is taken.

    Raises ConfigError for what is wrong with the config or cannot be had on this host.
    """
    from pyrunc.lifecycle.create import prepare
    from pyrunc.lifecycle.options import CreateOptions

    options = CreateOptions(os.path.realpath(bundle))
    options.config = _path(config)
    options.systemd_cgroup = systemd_cgroup
    options.rootless = rootless
    return prepare(Store(root or default_root()), container_id, options).plan


class Runtime:
    """The installed launcher, with the global flags that it is to have.

    program: its path; without one, the pyrunc that belongs to this package, else the one on PATH.
    root: directory of the containers' states; without one, default_root().
    trust_annotations: heed crun's annotations, which are as powerful as hooks.
    """

    def __init__(
        self,
        *,
        program: str | os.PathLike[str] | None = None,
        root: str | os.PathLike[str] | None = None,
        systemd_cgroup: bool = False,
        rootless: bool | None = None,
        trust_annotations: bool = False,
    ) -> None:
        self._program = program
        self._root = root
        self._flags = ["--systemd-cgroup"] if systemd_cgroup else []
        if rootless is not None:
            self._flags += ["--rootless", str(rootless).lower()]
        if trust_annotations:
            self._flags.append("--trust-annotations")

    @property
    def program(self) -> str:
        """The launcher's path. Raises PyruncError when none is installed."""
        return os.fspath(self._program) if self._program else _installed()

    @property
    def store(self) -> Store:
        """The containers of this runtime."""
        return Store(os.path.abspath(self._root) if self._root else default_root())

    def create(
        self,
        container_id: str,
        bundle: str | os.PathLike[str],
        *,
        config: str | os.PathLike[str] | None = None,
        pid_file: str | os.PathLike[str] | None = None,
        console_socket: str | os.PathLike[str] | None = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
    ) -> Container:
        """Make a container whose process waits for start(). The streams become its own. Raises PyruncError."""
        flags = _flags(
            bundle=bundle,
            config=config,
            pid_file=pid_file,
            console_socket=console_socket,
            no_pivot=no_pivot,
            no_new_keyring=no_new_keyring,
        )
        self._call("create", [*flags, container_id], stdin=stdin, stdout=stdout, stderr=stderr)
        return self.store.load(container_id)

    def run(
        self,
        container_id: str,
        bundle: str | os.PathLike[str],
        *,
        config: str | os.PathLike[str] | None = None,
        detach: bool = False,
        keep: bool = False,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        input: bytes | None = None,
        capture_output: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:
        """Create, start, and, unless detach, wait for a container. Its exit status is the result's returncode.

        Raises PyruncError when there was no container.
        """
        flags = _flags(
            bundle=bundle,
            config=config,
            detach=detach,
            keep=keep,
            no_pivot=no_pivot,
            no_new_keyring=no_new_keyring,
        )
        return self._call("run", [*flags, container_id], **_streams(input, capture_output))

    def exec(
        self,
        container_id: str,
        process: Sequence[str] | Process,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        detach: bool = False,
        input: bytes | None = None,
        capture_output: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:
        """Another process in a running container: a command, or a process object of the specification, whole.

        cwd, env and user ("uid" or "uid:gid") are for a command. Raises PyruncError when it could not be started.
        """
        flags = _flags(detach=detach, cwd=cwd, user=user)
        for name, value in (env or {}).items():
            flags += ["--env", f"{name}={value}"]
        streams = _streams(input, capture_output)
        if not isinstance(process, Mapping):
            return self._call("exec", [*flags, container_id, *process], **streams)
        with tempfile.NamedTemporaryFile("w", prefix="pyrunc-", suffix=".json") as file:
            json.dump(process, file)
            file.flush()
            return self._call("exec", [*flags, "--process", file.name, container_id], **streams)

    def start(self, container_id: str) -> None:
        """Let a created container's process execute its program. Raises PyruncError."""
        self._call("start", [container_id])

    def kill(self, container_id: str, signal: int | str = "TERM") -> None:
        """Send a signal, by name or number. Raises PyruncError."""
        self._call("kill", [container_id, str(int(signal) if isinstance(signal, int) else signal)])

    def delete(self, container_id: str, *, force: bool = False) -> None:
        """Remove what a stopped container holds; force: one in any state, or none. Raises PyruncError."""
        self._call("delete", [*_flags(force=force), container_id])

    def pause(self, container_id: str) -> None:
        """Freeze all processes of a container. Raises PyruncError."""
        self._call("pause", [container_id])

    def resume(self, container_id: str) -> None:
        """Undo pause(). Raises PyruncError."""
        self._call("resume", [container_id])

    def update(self, container_id: str, resources: Resources) -> None:
        """Change a container's resource limits. Raises PyruncError; then nothing is changed."""
        data = json.dumps(resources).encode()
        self._call("update", ["--resources", "-", container_id], input=data)

    def inspect(self, container_id: str, syscalls: Sequence[str] = ()) -> Inspection:
        """What was requested for a container beside what the kernel has. Raises PyruncError.

        syscalls: system calls that its seccomp filter is asked about; for that its process is stopped for a moment.
        """
        flags = [f"--syscall={name}" for name in syscalls]
        done = self._call("inspect", ["--json", *flags, container_id], capture_output=True)
        return typed(json.loads(done.stdout))

    def checkpoint(
        self,
        container_id: str,
        images: str | os.PathLike[str],
        *,
        leave_running: bool = False,
        tcp_established: bool = False,
        file_locks: bool = False,
    ) -> None:
        """Save a running container to a directory of images, by CRIU. Raises PyruncError."""
        flags = _flags(
            image_path=images, leave_running=leave_running, tcp_established=tcp_established, file_locks=file_locks
        )
        self._call("checkpoint", [*flags, container_id])

    def restore(
        self,
        container_id: str,
        bundle: str | os.PathLike[str],
        images: str | os.PathLike[str],
        *,
        detach: bool = False,
        tcp_established: bool = False,
        file_locks: bool = False,
        input: bytes | None = None,
        capture_output: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:
        """Make a container from the images of a checkpoint; as run() otherwise. Raises PyruncError."""
        flags = _flags(
            bundle=bundle, image_path=images, detach=detach, tcp_established=tcp_established, file_locks=file_locks
        )
        return self._call("restore", [*flags, container_id], **_streams(input, capture_output))

    def _call(self, command: str, args: Sequence[str], **how: Any) -> subprocess.CompletedProcess[bytes]:
        """One command of the launcher. Raises what it reports as PyruncError."""
        with tempfile.TemporaryDirectory(prefix="pyrunc-") as folder:
            log = Path(folder, "log")
            argv = [self.program, "--root", self.store.root, "--log", str(log), "--log-format", "json", *self._flags]
            if "input" not in how:
                how.setdefault("stdin", subprocess.DEVNULL)
            done = subprocess.run([*argv, command, *args], check=False, **how)
            text = log.read_text(errors="replace") if log.exists() else ""
        errors = [record for record in map(json.loads, text.splitlines()) if record["level"] == "error"]
        # The statuses of a launcher that failed. With another one it had something to say about a process that ended.
        if errors and done.returncode in (EXIT_FAILURE, EXIT_EXEC_FAILURE):
            raise _error(errors[-1])
        if done.returncode and command not in ("run", "exec", "restore"):
            raise PyruncError(f"{argv[0]} {command} ended with status {done.returncode}")
        return done


def _error(record: dict[str, Any]) -> PyruncError:
    """The error that the launcher's line in the log tells of, with its parts apart again."""
    message, pointer, hint = str(record["msg"]), record.get("pointer"), record.get("hint")
    file = "config.json"
    if hint:
        message = message.removesuffix(f": hint: {hint}")
    container = str(record.get("container") or "")
    if pointer:
        found = re.search(rf"[ (]([^ ()]+) {re.escape(pointer)}\)$", message)
        file = found[1] if found else file
    error = PyruncError(
        message, step=record.get("step"), pointer=pointer, errno=record.get("errno"), hint=hint, file=file
    )
    error.container = container
    # What stands behind the message is its container and its place.
    for place in (f"(container {container}, {file} {pointer})", f"({file} {pointer})", f"(container {container})"):
        error.message = error.message.removesuffix(" " + place)
    return error


def _flags(**values: str | os.PathLike[str] | bool | None) -> list[str]:
    """The command line's flags for keyword arguments of the same names; what is not set is left out."""
    flags = []
    for name, value in values.items():
        if value is not None and value is not False:
            flags.append("--" + name.replace("_", "-"))
            if value is not True:
                flags.append(os.fspath(value))
    return flags


def _streams(data: bytes | None, capture_output: bool) -> dict[str, Any]:
    streams: dict[str, Any] = {"capture_output": capture_output}
    if data is not None:
        streams["input"] = data
    return streams


def _path(path: str | os.PathLike[str] | None) -> str | None:
    return os.path.abspath(path) if path else None


def _installed() -> str:
    """The launcher that belongs to this package: of a source tree, or of the prefix that it is installed to."""
    package = Path(__file__).resolve().parent
    for path in (package.parent / "build/pyrunc", package.parents[3] / "bin/pyrunc"):
        if os.access(path, os.X_OK):
            return str(path)
    found = shutil.which("pyrunc")
    if not found:
        raise PyruncError(
            "no launcher is installed",
            hint="make install, or the Debian package of make deb; pip brings the library alone",
        )
    return found


_default = Runtime()
create = _default.create
run = _default.run
exec = _default.exec
