"""What an image's maker runs before it writes the image: containers of several kinds, as engines call them.

So Python's code is specialised and its caches are filled once, and not in every process, which would have to copy the
pages for it. The configs are none of those that `make bench` measures. They are tried first by the ordinary stage two,
which also compiles their filters; what does not work on this host is left out.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TOP = Path(__file__).parent.parent
sys.path.insert(0, str(TOP))

from pyrunc.config.default import default_config  # noqa: E402

#: How often each kind goes through its life. Python specialises what was called eight times.
ROUNDS = 5

_CAPABILITIES = "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP NET_BIND_SERVICE KILL AUDIT_WRITE"
_CALLS = (
    "read write open openat close fstat newfstatat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask ioctl "
    "pread64 pwrite64 readv writev access pipe pipe2 select poll dup dup2 dup3 nanosleep getpid socket connect accept "
    "sendto recvfrom bind listen clone fork vfork execve exit wait4 kill uname fcntl flock fsync getcwd chdir rename "
    "mkdir rmdir unlink readlink chmod chown umask getuid getgid setuid setgid getppid setsid prctl arch_prctl gettid "
    "futex epoll_create1 epoll_ctl epoll_wait exit_group tgkill set_tid_address set_robust_list getrandom statx rseq "
    "prlimit64 clock_gettime clock_nanosleep close_range faccessat2 sigaltstack rt_sigreturn capset capget setgroups"
)


def _spec(place: Path) -> Any:
    """As `spec` writes it."""
    return default_config()


def _engine(place: Path) -> Any:
    """As docker and podman have it."""
    config = default_config(cgroup_namespace=True)
    names = ["CAP_" + name for name in _CAPABILITIES.split()]
    config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), names)
    config["process"]["env"] += ["HOME=/root", "HOSTNAME=training"]
    config["annotations"] = {"org.example.kind": "training", "org.example.manager": "engine"}
    for name in ("hosts", "resolv.conf"):
        (place / name).touch()
        (place / "rootfs/etc" / name).touch()
        options = ["rbind", "rprivate", "nosuid", "ro"]
        config["mounts"].append(
            {"destination": "/etc/" + name, "type": "bind", "source": str(place / name), "options": options}
        )
    config["linux"]["resources"] |= {"memory": {"limit": 1 << 28}, "cpu": {"shares": 512}, "pids": {"limit": 200}}
    config["linux"]["resources"]["devices"] += [
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in ((1, 3), (1, 5), (1, 8), (1, 9), (5, 0), (5, 1))
    ]
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": _CALLS.split(), "action": "SCMP_ACT_ALLOW"}],
    }
    return config


def _pod(place: Path) -> Any:
    """As containerd and CRI-O have one of a pod's: joined namespaces, a user, hooks, more limits."""
    config = default_config()
    config["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [1000, 2000]}
    config["process"]["oomScoreAdj"] = 900
    config["process"]["noNewPrivileges"] = False
    for entry in config["linux"]["namespaces"]:
        if entry["type"] in ("network", "ipc", "uts"):
            entry["path"] = f"/proc/{os.getpid()}/ns/" + {"network": "net"}.get(entry["type"], entry["type"])
    del config["hostname"]
    config["hooks"] = {kind: [{"path": "/usr/bin/true"}] for kind in ("createRuntime", "poststop")}
    config["linux"]["resources"] |= {
        "memory": {"limit": 1 << 27, "swap": 1 << 27},
        "cpu": {"shares": 102, "quota": 10000, "period": 100000},
    }
    (place / "volume").mkdir(exist_ok=True)
    options = ["rbind", "rprivate", "rw"]
    config["mounts"] += [
        {"destination": "/volume", "type": "bind", "source": str(place / "volume"), "options": options},
        {"destination": "/run/secrets", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "size=1m", "mode=0755"]},
    ]
    return config


def _bundle(place: Path, config: dict[str, Any], args: list[str], name: str) -> str:
    config["process"]["terminal"] = False
    config["process"].pop("rlimits", None)  # raising one takes a capability that this root may not have
    config["process"]["args"] = args
    config["root"]["path"] = str(place / "rootfs")
    config["linux"]["cgroupsPath"] = f"/pyrunc-maker-{os.getpid()}"
    config["mounts"].append({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["bind", "ro"]})
    folder = place / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def staying(commands: Path) -> list[Path]:
    """The bundles whose programs go on until they are ended."""
    lines = [line.split("\t") for line in commands.read_text().splitlines()]
    return [Path(bundle) for bundle in dict.fromkeys(words[-2] for words in lines if "create" in words)]


def prepare(place: Path, launcher: Path) -> Path | None:
    """Write bundles below place, and the file that the maker reads: a command a line, its words apart by tabs.

    launcher: a pyrunc that starts from no image now. None when no container works here.
    """
    root = str(place / "state")
    lines = []
    for name in ("bin", "lib", "lib64", "sbin"):
        (place / "rootfs").mkdir(exist_ok=True)
        (place / "rootfs" / name).symlink_to("usr/" + name)
    for name in ("usr", "etc", "proc", "dev", "sys", "volume", "run/secrets"):
        (place / "rootfs" / name).mkdir(parents=True)
    for make in (_spec, _engine, _pod):
        ends = _bundle(place, make(place), ["/usr/bin/true"], make.__name__ + "-ends")
        goes_on = _bundle(place, make(place), ["/usr/bin/sleep", "100"], make.__name__ + "-stays")
        tried: list[str | Path] = [launcher, "--root", root, "run", "--bundle", ends, "training"]
        if subprocess.run(tried, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False).returncode:
            continue
        lines += [
            ["run", "--bundle", ends, "training"],
            ["create", "--bundle", goes_on, "training"],
            ["start", "training"],
            ["state", "training"],
            ["exec", "training", "/usr/bin/true"],
            ["kill", "training", "CONT"],
            ["state", "training"],
            ["delete", "--force", "training"],
        ]
    goal = place / "commands"
    goal.write_text("".join(["\t".join(["pyrunc", "--root", root, *words]) + "\n" for words in lines * ROUNDS]))
    return goal if lines else None
