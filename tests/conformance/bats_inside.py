"""One file of runc's suite in namespaces of its own: mount, pid, network, ipc, uts, and cgroups of its own.

Started by bats_suite.py as `unshare --mount --pid --net --ipc --uts --fork --kill-child`, so it is process 1 of its pid
namespace. Its argument is a JSON object: folder, program, file, set, log, reach, name, mounts.

The suite names its cgroups, and runc a container's default one, below the root of each hierarchy; it writes below
/etc and /run, makes network devices, and signals processes by number. So every hierarchy is mounted anew, alone and as
cgroup v1, with a cgroup of ours as its root; /etc is an overlay, /run and /tmp are empty, and numbers are this
namespace's.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
#: Where the hierarchies are seen from their real roots.
OUTSIDE = Path("/run/hierarchies")
#: The ordinary user, known in this namespace's /etc alone.
USER = 1900
#: What rootless.sh of the suite makes of each feature.
IDMAP = {"ROOTLESS_UIDMAP_START": "100000", "ROOTLESS_UIDMAP_LENGTH": "65536"}
IDMAP.update({"ROOTLESS_GIDMAP_START": "200000", "ROOTLESS_GIDMAP_LENGTH": "65536", "ROOTLESS_AUX_UID": "1024"})
DELEGATED = "runc-cgroups-integration-test"


def mount(*words: str | Path, check: bool = True) -> bool:
    done = subprocess.run(["mount", "-n", *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if check and done.returncode:
        raise OSError(f"mount {' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.returncode == 0


def arrange(job: dict[str, Any]) -> None:
    """Everything but the cgroups."""
    if os.getpid() != 1 or os.readlink("/proc/self/ns/mnt") == job["mounts"]:
        raise SystemExit("not in namespaces of its own")
    mount("--make-rprivate", "/")
    reach(Path(job["reach"]))
    mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "/proc")
    subprocess.run(["umount", "-R", "-l", CGROUPS], check=True)  # runtimes would find it below ours
    mount("-t", "sysfs", "-o", "nosuid,nodev,noexec", "sysfs", "/sys")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    if not job["reach"].startswith("/tmp/"):
        mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp")
    for name in ("upper", "work"):
        Path("/run/etc", name).mkdir(parents=True)
    mount("-t", "overlay", "-o", "lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work", "overlay", "/etc")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with open("/etc/passwd", "a") as passwd, open("/etc/group", "a") as group:
        passwd.write(f"rootless:x:{USER}:{USER}::{job['folder']}/home:/bin/bash\n")
        group.write(f"rootless:x:{USER}:\n")
    idmap = "idmap" in job["set"]
    Path("/etc/subuid").write_text("rootless:100000:65536\n" if idmap else "")
    Path("/etc/subgid").write_text("rootless:200000:65536\n" if idmap else "")


def reach(path: Path) -> None:
    """Have an ordinary user reach path: a folder above it that is closed to them is replaced by one without more."""
    closed = [above for above in reversed(path.parents) if not above.stat().st_mode & 1]
    if not closed:
        return
    place = Path("/mnt")
    mount("--bind", path, place)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", closed[0])
    path.mkdir(parents=True)
    mount("--move", place, path)


def hierarchies() -> list[str]:
    """Mount every controller's hierarchy at its real root below OUTSIDE, and the unified one. Gives their names."""
    OUTSIDE.mkdir()
    mount("-t", "tmpfs", "-o", "mode=700", "tmpfs", OUTSIDE)
    controllers = [line.split("\t")[0] for line in Path("/proc/cgroups").read_text().splitlines()[1:]]
    return [name for name in (*controllers, "systemd", "unified") if mount_hierarchy(name, OUTSIDE / name)]


def mount_hierarchy(name: str, place: Path) -> bool:
    """As a hybrid host has it: each controller by itself as cgroup v1, systemd's names, and a cgroup v2 without any."""
    place.mkdir()
    if name == "unified":
        return mount("-t", "cgroup2", "cgroup2", place, check=False)
    return mount("-t", "cgroup", "-o", "none,name=systemd" if name == "systemd" else name, "cgroup", place, check=False)


def own_cgroups(names: list[str], cgroup: str) -> None:
    """Make a cgroup in each hierarchy."""
    for name in names:
        place = OUTSIDE / name / cgroup
        place.mkdir()
        if name == "cpuset":
            for file in ("cpuset.cpus", "cpuset.mems"):
                (place / file).write_text((place.parent / file).read_text())
        if name == "cpu" and (place / "cpu.rt_runtime_us").exists():
            try:  # what the tests of real-time scheduling need, if nobody has it
                (place / "cpu.rt_runtime_us").write_text("700000")
            except OSError:
                pass


def remove_cgroups(names: list[str], cgroup: str) -> None:
    """End what is left in this pid namespace, and remove the cgroups with everything below them."""
    try:
        os.kill(-1, signal.SIGKILL)  # the namespace's, for we are its first process
    except ProcessLookupError:
        pass
    reap(None)
    for name in names:
        for folder, _, _ in os.walk(OUTSIDE / name / cgroup, topdown=False):
            remove(Path(folder))


def remove(folder: Path) -> None:
    for _ in range(100):
        try:
            folder.rmdir()
            return
        except OSError as e:
            if e.errno != errno.EBUSY:
                return
            time.sleep(0.02)


def join(names: list[str], cgroup: str) -> None:
    """In the child: into the cgroups, which become the roots of all that is mounted from now on."""
    for name in names:
        (OUTSIDE / name / cgroup / "cgroup.procs").write_text("0")


def enter(names: list[str], job: dict[str, Any]) -> None:
    """In new cgroup and mount namespaces: the hierarchies as the suite looks for them, and what is delegated."""
    subprocess.run(["umount", "-R", "-l", OUTSIDE], check=True)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", CGROUPS)
    for name in names:
        if not mount_hierarchy(name, CGROUPS / name):
            raise OSError(f"cannot mount the hierarchy of {name}")
    if "cgroup" in job["set"]:
        for name in names:
            if name != "unified":
                delegate(name)


def delegate(name: str) -> None:
    """As rootless.sh: the group may write, and make cgroups below."""
    place = CGROUPS / name / DELEGATED
    place.mkdir()
    files = [place, place / "cgroup.procs", place / "tasks"]
    if name == "cpuset":
        for file in ("cpuset.cpus", "cpuset.mems"):
            (place / file).write_text((place.parent / file).read_text())
            os.chown(place / file, USER, USER)
    for path in files:
        os.chown(path, 0, USER)
        path.chmod(path.stat().st_mode | 0o070)
    for file in ("cpu.rt_period_us", "cpu.rt_runtime_us"):
        if name == "cpu" and (place / file).exists():
            os.chown(place / file, USER, USER)


def environment(job: dict[str, Any]) -> dict[str, str]:
    folder = job["folder"]
    found = {
        "PATH": f"{folder}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": f"{folder}/home",
        "TMPDIR": f"{folder}/tmp",
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "RUNC": job["program"],
        "ROOTLESS_FEATURES": "" if job["set"] in ("root", "none") else job["set"],
    }
    if job.get("systemd"):
        found["RUNC_USE_SYSTEMD"] = "yes"
    if "idmap" in job["set"]:
        aux = Path(folder, "aux")
        aux.mkdir(exist_ok=True)
        os.chown(aux, 100000 - 1000 + 1024, 0)
        found |= {**IDMAP, "ROOTLESS_AUX_DIR": str(aux)}
    return found


def bats(job: dict[str, Any]) -> None:
    """Become bats on this file, as the user of the set, on the terminal that is on standard input."""
    env = environment(job)
    if job["set"] != "root":
        os.setgroups([USER])
        os.setgid(USER)
        os.setuid(USER)
    os.chdir(job["folder"])
    only = ["-f", job["filter"]] if "filter" in job else []
    os.execvpe("bats", ["bats", "-t", *only, f"{job['folder']}/tests/integration/{job['file']}"], env)


def reap(wanted: int | None) -> int:
    """Wait for this child and whatever else ends; for all there are with None. Gives the child's status."""
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return 0
        if pid == wanted:
            return status


def session(job: dict[str, Any], names: list[str]) -> None:
    """In the child: joins the cgroups, and starts this program again where they are the roots. Does not return."""
    join(names, job["name"])
    argv = ["unshare", "--cgroup", "--mount", "--propagation", "private", "--", sys.executable, __file__]
    os.execvp("unshare", [*argv, json.dumps(job), "--in-cgroup", *names])


def remaining(job: dict[str, Any]) -> float | None:
    """Seconds until the file's time is over; None for one that somebody else ends."""
    return max(0.0, job["until"] - time.monotonic()) if "until" in job else None


def on_terminal(job: dict[str, Any]) -> int:
    """Until bats ends, or is ended: what a failed test has left running may hold the terminal longer."""
    pid, master = pty.fork()
    if pid == 0:
        os.close(job["log"])
        fcntl.ioctl(0, termios.TIOCSWINSZ, b"\x18\0\x50\0\0\0\0\0")
        bats(job)
    ended = os.pidfd_open(pid)
    with open(job["log"], "wb") as log:
        while True:
            ready = select.select([master, ended], [], [], remaining(job))[0]
            if not ready:
                os.killpg(pid, signal.SIGKILL)
                log.write(b"not ok 0 the file's time is over\r\n")
                break
            try:
                data = os.read(master, 65536) if master in ready else b""
            except OSError:
                data = b""
            if not data:
                break
            log.write(data)
            log.flush()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> int:
    job = json.loads(sys.argv[1])
    if "--in-cgroup" in sys.argv:
        names = sys.argv[3:]
        enter(names, job)
        return on_terminal(job)
    arrange(job)
    names = hierarchies()
    try:
        own_cgroups(names, job["name"])
        pid = os.fork()
        if pid == 0:
            session(job, names)
        return os.waitstatus_to_exitcode(reap(pid))
    finally:
        remove_cgroups(names, job["name"])
        for tree in (Path(job["folder"], "tmp"), Path(job["folder"], "home")):
            for path in tree.iterdir():
                shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
