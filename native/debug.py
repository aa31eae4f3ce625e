"""The debug launcher's own module: tells what each process imported, so that tests can hold the budget.

Frozen into stage2-debug only, as _pyrunc_debug. PYRUNC_DEBUG_FD names a descriptor that gets one JSON object a line:
  {"event": "exit", "pid": N, "status": N, "modules": {NAME: {"kind": K, "bytes": N}}} when a process ends in Python
  {"event": "finish", "pid": N, "imported": [NAME, ...]} when the container's process ends in finish(): what was
  imported since the last clone
kind: "builtin", "frozen" (bytes of its marshalled code, 0 for Python's own) or "file" (bytes of the file).
"""

from __future__ import annotations

import _imp
import posix
import sys
from typing import TYPE_CHECKING, NoReturn

import _launcher  # type: ignore[import-not-found]
import _pyrunc_sizes  # type: ignore[import-not-found]

from pyrunc import _linux

if TYPE_CHECKING:
    from mmap import mmap

_exit, _clone, _finish, _until_fifo = posix._exit, _linux.clone, _linux.finish, _linux.finish_until_fifo
_before: set[str] | None = None


def _shared() -> mmap:
    """Memory that our children share, since some keep no descriptor. The module that makes it stays off the list."""

    class Spec:
        name = "mmap"
        origin = _launcher.DYNLOAD + "/mmap" + _imp.extension_suffixes()[0]

    module = _imp.create_dynamic(Spec)  # type: ignore[arg-type]
    _imp.exec_dynamic(module)
    sys.modules.pop("mmap", None)
    return module.mmap(-1, 8 * _PART)  # type: ignore[no-any-return]


_PART = 1 << 16
_memory = _shared()
_depth = 0  # of clones: a child and its own child write into parts of their own


def _tell(text: str) -> None:
    """A child leaves its line in the memory; the process that made it writes all of them out."""
    line = (text + "\n").encode("ascii", "replace")
    if _before is not None:
        at = _memory.find(b"\0", _depth % 8 * _PART)
        _memory[at : at + len(line)] = line
        return
    fd = posix.environ.get(b"PYRUNC_DEBUG_FD")
    if fd:
        try:
            posix.write(int(fd), _memory[:].replace(b"\0", b"") + line)
        except OSError:
            pass


def _text(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _module(name: str) -> str:
    path = getattr(sys.modules[name], "__file__", None)
    spec = getattr(sys.modules[name], "__spec__", None)
    if name in sys.builtin_module_names:
        kind, size = "builtin", 0
    elif name in _pyrunc_sizes.BYTES:
        kind, size = "frozen", _pyrunc_sizes.BYTES[name]
    elif _imp.is_frozen(name) or (spec is not None and spec.origin == "frozen"):
        kind, size = "frozen", 0
    else:
        kind, size = "file", posix.stat(path).st_size if path else 0
    return _text(name) + ': {"kind": ' + _text(kind) + ', "bytes": ' + str(size) + "}"


def _on_exit(status: int) -> NoReturn:
    modules = ", ".join([_module(name) for name in sorted(sys.modules) if not name.startswith("_pyrunc_")])
    head = '{"event": "exit", "pid": ' + str(posix.getpid()) + ', "status": ' + str(status)
    _tell(head + ', "modules": {' + modules + "}}")
    _exit(status)


def _on_clone(flags: int, cgroup_fd: int = -1) -> tuple[int, int]:
    global _before, _depth
    pid, pidfd = _clone(flags, cgroup_fd)
    if pid == 0:
        _depth += 1
        _before = set(sys.modules)
    return pid, pidfd


def _tell_finish() -> None:
    new = "[" + ", ".join([_text(name) for name in sorted(set(sys.modules) - (_before or set()))]) + "]"
    _tell('{"event": "finish", "pid": ' + str(posix.getpid()) + ', "imported": ' + new + "}")


def _on_finish(prepared: _linux.Prepared) -> NoReturn:
    _tell_finish()
    _finish(prepared)


def _on_until_fifo(prepared: _linux.Prepared) -> None:
    _tell_finish()
    _until_fifo(prepared)


posix._exit = _on_exit
_linux.clone = _on_clone
_linux.finish = _on_finish
_linux.finish_until_fifo = _on_until_fifo
