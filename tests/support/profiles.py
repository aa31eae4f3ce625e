"""Seccomp profiles to try, and a compiled one's verdicts by the names of calls."""

from typing import Any

import seccomp as bindings

from pyrunc.steps.seccomp.step import compile_filter
from tests.support import bpf

ALLOW = "SCMP_ACT_ALLOW"
ERRNO = "SCMP_ACT_ERRNO"
NOTIFY = "SCMP_ACT_NOTIFY"
EPERM, ENOSYS = 1, 38
NATIVE = int(bindings.Arch())
HERE = NATIVE & 0xFFFFFFFF


def number(name: str, arch: int = NATIVE) -> int:
    found: int = bindings.resolve_syscall(arch, name)
    assert found != -1
    return found


def rule(*names: str, action: str = ALLOW, errno: int | None = None, args: list[Any] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"names": list(names), "action": action}
    if errno is not None:
        made["errnoRet"] = errno
    if args is not None:
        made["args"] = [dict(zip(("index", "op", "value", "valueTwo"), arg, strict=False)) for arg in args]
    return made


def profile(*rules: dict[str, Any], default: str = ERRNO, **more: Any) -> Any:
    return {"defaultAction": default, "syscalls": list(rules), **more}


class Judge:
    """A compiled profile, and its verdict on calls by name."""

    def __init__(self, config: Any) -> None:
        self.filter = compile_filter(config)
        self.code = bpf.decode(self.filter.program)

    def __call__(self, name: str, *args: int) -> str:
        return self.at(HERE, number(name), *args)

    def at(self, arch: int, nr: int, *args: int) -> str:
        return bpf.show(bpf.verdict(self.code, arch, nr & 0xFFFFFFFF, args))
