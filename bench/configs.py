"""The bundles that are timed: what `spec` writes, what engines ask for, and one with every property."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.rootfs import make_rootfs

#: Written by podman for its default container, with its seccomp profile of hundreds of system calls.
ENGINE_CONFIG = Path(__file__).with_name("engine-config.json")

#: Debian's crun takes no newer one.
OCI_VERSION = "1.0.2"

#: What of these is a folder; other sources of bind mounts are files.
FOLDERS = ("/dev/shm", "/var/run/secrets/kubernetes.io/serviceaccount", "/data")

#: What the container does: end at once, or stay until it is killed.
ENDS = ["/bin/true"]
STAYS = ["/bin/sleep", "1000"]


def make(kind: str, args: list[str], where: Path, runtime: Path) -> Path:
    """A bundle at `where`. kind: plain (what `runtime` writes as `spec`), engine (what podman wrote), pod, everything.

    The first two go as they are, less what ties them to the place where they were written.
    """
    where.mkdir(parents=True)
    make_rootfs(where / "rootfs")
    if kind == "plain":
        subprocess.run([runtime, "spec", "--bundle", where], check=True)
        config = json.loads((where / "config.json").read_text())
    else:
        config = {"engine": _engine, "pod": _pod, "everything": _everything}[kind]()
        _give_sources(config, where)
    config["ociVersion"] = OCI_VERSION
    config["root"]["path"] = "rootfs"
    config["process"]["terminal"] = False
    config["process"]["args"] = args
    (where / "config.json").write_text(json.dumps(config))
    return where


def _engine() -> Any:
    config = json.loads(ENGINE_CONFIG.read_text())
    # Raising them takes CAP_SYS_RESOURCE, which root of a container that runs this may not have.
    config["process"].pop("rlimits", None)
    return config


def _give_sources(config: Any, where: Path) -> None:
    """Files and folders of the engine's storage: as many of ours."""
    for number, mount in enumerate(config["mounts"]):
        if mount["type"] == "bind":
            source = where / f"source-{number}"
            inside = where / "rootfs" / mount["destination"].lstrip("/")
            if mount["destination"] in FOLDERS:
                source.mkdir()
            else:
                source.touch()
            if not mount["destination"].startswith("/dev/"):
                inside.parent.mkdir(parents=True, exist_ok=True)
                (inside.mkdir if mount["destination"] in FOLDERS else inside.touch)()
            mount["source"] = str(source)


def _pod() -> Any:
    """As containerd's CRI writes one of a Kubernetes pod's containers.

    A user of its own, limits, the sandbox's network, IPC and host name (here this process's), a volume, a service
    account, files of the kubelet's.
    """
    config = _engine()
    process = config["process"]
    process["user"] = {"uid": 65532, "gid": 65532, "additionalGids": [65532, 3000]}
    process["env"] = [f"SERVICE_{number}_HOST=10.96.0.{number}" for number in range(1, 30)] + process["env"][:1]
    process["noNewPrivileges"] = True
    process["oomScoreAdj"] = 988
    process["capabilities"] = {"bounding": [], "effective": [], "permitted": []}
    linux = config["linux"]
    for entry in linux["namespaces"]:
        if entry["type"] in ("network", "ipc", "uts"):
            entry["path"] = f"/proc/{os.getpid()}/ns/" + {"network": "net"}.get(entry["type"], entry["type"])
    linux.pop("sysctl")
    config.pop("hostname")
    config["root"]["readonly"] = True
    linux["resources"] |= {
        "memory": {"limit": 512 << 20},
        "cpu": {"shares": 256, "quota": 50000, "period": 100000},
        "pids": {"limit": 1024},
    }
    linux["resources"]["devices"] += [
        {"allow": True, "type": "c", "major": 1, "minor": minor, "access": "rwm"} for minor in (3, 5, 7, 8, 9)
    ]
    config["annotations"] = {
        f"io.kubernetes.cri.{name}": "measured"
        for name in (
            "container-name",
            "container-type",
            "image-name",
            "sandbox-id",
            "sandbox-name",
            "sandbox-namespace",
        )
    }
    for name in ("/etc/resolv.conf", "/dev/termination-log", "/var/run/secrets/kubernetes.io/serviceaccount", "/data"):
        options = ["rbind", "rprivate", "ro" if "secrets" in name else "rw"]
        config["mounts"].append({"destination": name, "type": "bind", "source": name, "options": options})
    return config


def _everything() -> Any:
    """With each property that this project's rivals take on a host without systemd, AppArmor and SELinux."""
    config = _pod()
    config["hostname"] = "measured"
    linux, process = config["linux"], config["process"]
    linux["namespaces"] = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")]
    linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}
    linux["devices"] = [
        {"path": "/dev/other", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 5, "gid": 6},
        {"path": "/dev/deep/fifo", "type": "p", "fileMode": 0o600},
    ]
    linux["rootfsPropagation"] = "rslave"
    linux["resources"]["memory"] |= {"reservation": 64 << 20, "swappiness": 10}
    linux["resources"]["cpu"]["cpus"] = "0"
    linux["resources"]["blockIO"] = {"weight": 0}
    process["umask"] = 0o77
    process["rlimits"] = [{"type": f"RLIMIT_{name}", "soft": 64, "hard": 128} for name in ("NOFILE", "CORE", "NPROC")]
    process["cwd"] = "/data"
    held = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), held)
    # They read what they are given: crun ends by SIGPIPE else.
    config["hooks"] = {
        kind: [{"path": "/bin/dd", "args": ["dd", "of=/dev/null"], "env": [f"KIND={kind}"], "timeout": 5}]
        for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    }
    config["mounts"].append(
        {
            "destination": "/scratch",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["size=1m", "mode=1777", "noexec", "ro"],
        }
    )
    return config


def with_cgroup(bundle: Path, cgroup: str) -> None:
    """Give the bundle that cgroupsPath."""
    config = json.loads((bundle / "config.json").read_text())
    config["linux"]["cgroupsPath"] = cgroup
    (bundle / "config.json").write_text(json.dumps(config))
