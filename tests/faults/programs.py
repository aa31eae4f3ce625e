"""Faults of the process: its program, user, limits and labels; hooks."""

from __future__ import annotations

from tests.support.workplace import Bundle

from .fault import Change, Fault


def program(name: str, data: bytes, mode: int = 0o755) -> Change:
    def make(box: Bundle) -> None:
        path = box.rootfs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)

    return make


def hook(kind: str, **entry: object) -> dict[str, object]:
    return {f"/hooks/{kind}": [{"path": "/bin/true"}, entry]}


FAULTS = [
    Fault(
        "the program is not in PATH",
        ('exec: "shh": executable file not found in $PATH',),
        "PATH",
        pointer="/process/args/0",
        config={"/process/args": ["shh"]},
        call=("create", "--bundle", "BUNDLE", "ID"),
    ),
    Fault(
        "the program is not there",
        ("/bin/shh",),
        "in /bin there is no shh: did you mean sh?",
        pointer="/process/args/0",
        config={"/process/args": ["/bin/shh"]},
    ),
    Fault(
        "the program is a directory",
        ("/etc", "it is a directory"),
        "/etc is a directory",
        pointer="/process/args/0",
        config={"/process/args": ["/etc"]},
    ),
    Fault(
        "the program is not executable",
        ("/bin/no",),
        "chmod +x",
        pointer="/process/args/0",
        config={"/process/args": ["/bin/no"]},
        make=program("bin/no", b"#!/bin/sh\n", 0o644),
    ),
    Fault(
        "the program is below a file",
        ("/etc/passwd/x",),
        "/etc/passwd is no directory",
        pointer="/process/args/0",
        config={"/process/args": ["/etc/passwd/x"]},
    ),
    Fault(
        "cwd is a file",
        ("mkdir /etc/passwd",),
        "that is a file",
        pointer="/process/cwd",
        config={"/process/cwd": "/etc/passwd"},
    ),
    Fault(
        "cwd is missing in a procfs",
        ("mkdir /proc/nowhere",),
        "cannot be made",
        pointer="/process/cwd",
        config={"/process/cwd": "/proc/nowhere"},
    ),
    Fault(
        "a hard limit that only root may raise",
        ("set rlimit RLIMIT_NOFILE",),
        "CAP_SYS_RESOURCE",
        pointer="/process/rlimits/0",
        config={"/process/rlimits": [{"type": "RLIMIT_NOFILE", "soft": 2**40, "hard": 2**40}]},
    ),
    Fault(
        "an AppArmor profile where there is no AppArmor",
        ("apparmor label", "not enabled on this host"),
        "/sys/kernel/security/lsm",
        pointer="/process/apparmorProfile",
        config={"/process/apparmorProfile": "docker-default"},
    ),
    Fault(
        "an SELinux label where there is no SELinux",
        ("selinux label", "not enabled on this host"),
        "boot the host with selinux",
        pointer="/process/selinuxLabel",
        config={"/process/selinuxLabel": "a:b:c:s0"},
    ),
    Fault(
        "a mount label where there is no SELinux",
        ("selinux label", "not enabled on this host"),
        "boot the host with selinux",
        pointer="/linux/mountLabel",
        config={"/linux/mountLabel": "a:b:c:s0"},
    ),
    Fault(
        "a sysctl that the kernel lacks",
        ("set sysctl net.core.somaxcon",),
        "did you mean net.core.somaxconn?",
        pointer="/linux/sysctl/net.core.somaxcon",
        config={"/linux/sysctl": {"net.core.somaxcon": "1"}},
    ),
    Fault(
        "a sysctl with a wrong value",
        ("set sysctl net.core.somaxconn to many",),
        "value",
        pointer="/linux/sysctl/net.core.somaxconn",
        config={"/linux/sysctl": {"net.core.somaxconn": "many"}},
    ),
    Fault(
        "an oom_score_adj below what is allowed",
        ("set oom_score_adj",),
        "CAP_SYS_RESOURCE",
        pointer="/process/oomScoreAdj",
        config={"/process/oomScoreAdj": -1000},
        needs=lambda: "the caller may lower it" if may_lower() else "",
    ),
    Fault(
        "a terminal without a socket",
        ("cannot allocate tty",),
        "--console-socket",
        pointer="/process/terminal",
        config={"/process/terminal": True},
    ),
    # ---- hooks ----
    Fault(
        "a hook that is not there",
        ("error running prestart hook #1", "/bin/nothing"),
        "host",
        pointer="/hooks/prestart/1",
        config=hook("prestart", path="/bin/nothing"),
    ),
    Fault(
        "a hook that fails",
        ("error running createRuntime hook #1", "exit status 3", "broken"),
        "standard input",
        pointer="/hooks/createRuntime/1",
        config=hook("createRuntime", path="/bin/sh", args=["sh", "-c", "echo broken >&2; exit 3"]),
    ),
    Fault(
        "a hook that takes too long",
        ("error running createRuntime hook #1",),
        "timeout",
        pointer="/hooks/createRuntime/1",
        config=hook("createRuntime", path="/bin/sleep", args=["sleep", "100"], timeout=1),
    ),
    Fault(
        "a hook that is killed",
        ("killed by signal 9",),
        "standard input",
        pointer="/hooks/prestart/1",
        config=hook("prestart", path="/bin/sh", args=["sh", "-c", "kill -9 $$"]),
    ),
    Fault(
        "a createContainer hook that fails",
        ("error running createContainer hook #1", "exit status 4"),
        "standard input",
        pointer="/hooks/createContainer/1",
        config=hook("createContainer", path="/bin/sh", args=["sh", "-c", "exit 4"]),
    ),
    Fault(
        "a startContainer hook that is not there",
        ("error running startContainer hook #0",),
        "host",
        pointer="/hooks/startContainer/0",
        config={"/hooks/startContainer": [{"path": "/bin/nothing"}]},
        call=("run", "--detach", "--bundle", "BUNDLE", "ID"),
    ),
]


def may_lower() -> bool:
    """Whether a process may lower its oom_score_adj: CAP_SYS_RESOURCE, number 24."""
    from pathlib import Path

    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff"):
            return bool(int(line.split()[1], 16) >> 24 & 1)
    return False
