"""Namespaces, new and joined: what the container process is in, and how it sees the others."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.cgroups import hierarchies
from tests.support.containers import running
from tests.support.mounts import mounts_of
from tests.support.namespaces import MAPPED, NAMESPACE_FILES, add_user_namespace, namespaces_of, set_namespaces
from tests.support.processes import reap, status_of
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, one_line

KINDS = tuple(NAMESPACE_FILES)
ALL_BUT_USER = tuple(kind for kind in KINDS if kind != "user")


def without_own_mounts(box: Bundle) -> None:
    """What needs a mount namespace of its own."""
    for name in ("maskedPaths", "readonlyPaths"):
        del box.config["linux"][name]
    box.config["root"]["readonly"] = False
    del box.config["mounts"][1:]


# ---- new ones ----


def test_each_kind_alone(bundle: MakeBundle) -> None:
    """What is not asked for is the runtime's own."""
    own = namespaces_of("self")
    for kind in ALL_BUT_USER:
        box = bundle("sleep", "1000")
        set_namespaces(box, *{kind, "mount"})
        found = namespaces_of(running(box))
        assert {one for one in KINDS if found[one] != own[one]} == {kind, "mount"}
        box.delete("--force").ok()


def test_none_at_all(bundle: MakeBundle) -> None:
    """The mounts are the host's then, and delete takes them away."""
    box = bundle("sleep", "1000")
    set_namespaces(box)
    without_own_mounts(box)
    pid = running(box)
    assert namespaces_of(pid) == namespaces_of("self")
    assert str(box.rootfs / "proc") in mounts_of(os.getpid())
    box.delete("--force").ok()
    box.config["process"]["args"] = ["sh", "-c", "exit 3"]
    assert box.run().returncode == 3
    assert not [point for point in mounts_of(os.getpid()) if point.startswith(str(box.path))]


def test_all_of_them(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    set_namespaces(box, *ALL_BUT_USER)
    own = namespaces_of("self")
    found = namespaces_of(running(box))
    assert {one for one in KINDS if found[one] != own[one]} == set(ALL_BUT_USER)


def test_pid_namespace(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "echo $$; ls /proc | grep -c '^[0-9]'")
    lines = box.run().ok().stdout.split()
    assert lines == ["1", "3"]  # sh, ls, grep


def test_network_namespace_with_loopback_up(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "ip -o link; ping -c1 -W1 127.0.0.1 >/dev/null && echo pong")
    box.config["process"]["capabilities"]["effective"] = ["CAP_NET_RAW"]
    for kind in ("permitted", "bounding"):
        box.config["process"]["capabilities"][kind] = ["CAP_NET_RAW"]
    for change in (lambda box: None, add_user_namespace):
        change(box)
        lines = box.run().ok().stdout.splitlines()
        assert re.match(r"1: lo: <LOOPBACK,UP,LOWER_UP>", lines[0]) and lines[-1] == "pong"


def test_the_cgroup_namespace_s_root_is_the_container_s_cgroup(bundle: MakeBundle) -> None:
    box = bundle("cat", "/proc/self/cgroup")
    box.config["linux"]["namespaces"].append({"type": "cgroup"})
    assert _cgroups(box) == {"/"}
    # Without one, it shows where the container is.
    box.config["linux"]["namespaces"].pop()
    assert _cgroups(box) == {box.cgroup}


def _cgroups(box: Bundle) -> set[str]:
    """Where the container says that it is, in the hierarchies that are mounted here."""
    lines = [line.split(":", 2) for line in box.run().ok().stdout.splitlines()]
    mounted = hierarchies()
    return {path for _, names, path in lines if names.partition(",")[0].removeprefix("name=") in mounted}


@pytest.mark.parametrize("user", [False, True])
def test_time_namespace(user: bool, bundle: MakeBundle) -> None:
    box = bundle("cat", "/proc/uptime", "/proc/self/timens_offsets")
    box.config["linux"]["namespaces"].append({"type": "time"})
    if user:
        add_user_namespace(box)
    box.config["linux"]["timeOffsets"] = {
        "boottime": {"secs": 1_000_000, "nanosecs": 500_000_000},
        "monotonic": {"secs": 86400},
    }
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    first, *offsets = box.run().ok().stdout.splitlines()
    assert uptime + 1_000_000 <= float(first.split()[0]) < uptime + 1_000_100
    found = {line.split()[0]: line.split()[1:] for line in offsets}
    assert found == {"monotonic": ["86400", "0"], "boottime": ["1000000", "500000000"]}
    assert namespaces_of("self")["time"] == os.readlink("/proc/self/ns/time_for_children")
    # Without offsets it is a namespace all the same.
    del box.config["linux"]["timeOffsets"]
    box.config["process"]["args"] = ["readlink", "/proc/self/ns/time"]
    assert box.run().ok().stdout.strip() != namespaces_of("self")["time"]


@pytest.mark.parametrize(
    ("offsets", "new", "pointer"),
    [
        ({"boottime": {"secs": 1}}, False, "/linux/timeOffsets"),
        ({"realtime": {"secs": 1}}, True, "/linux/timeOffsets"),
        ({"boottime": {"nanosecs": 1_000_000_000}}, True, "/linux/timeOffsets"),
        ({"boottime": {"secs": -(10**12)}}, True, "/linux/timeOffsets"),
    ],
)
def test_time_offsets_that_are_none(offsets: Any, new: bool, pointer: str, bundle: MakeBundle) -> None:
    box = bundle("true")
    if new:
        box.config["linux"]["namespaces"].append({"type": "time"})
    box.config["linux"]["timeOffsets"] = offsets
    one_line(box.create(), 1, pointer)


# ---- user namespaces ----


def test_user_namespace(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    add_user_namespace(box)
    box.config["linux"]["uidMappings"] = [
        {"containerID": 0, "hostID": MAPPED, "size": 1000},
        {"containerID": 1000, "hostID": 5000, "size": 1},
    ]
    box.config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 200000, "size": 10}]
    pid = running(box)
    assert [line.split() for line in Path(f"/proc/{pid}/uid_map").read_text().splitlines()] == [
        ["0", str(MAPPED), "1000"],
        ["1000", "5000", "1"],
    ]
    assert Path(f"/proc/{pid}/gid_map").read_text().split() == ["0", "200000", "10"]
    assert status_of(pid)["Uid"].split() == [str(MAPPED)] * 4
    assert status_of(pid)["Gid"].split() == ["200000"] * 4
    assert box.exec("--user", "1000:9", "id", "-u").ok().stdout == "1000\n"
    assert box.exec("--user", "1001", "id", "-u").returncode == 255


def test_user_namespace_with_everything(bundle: MakeBundle) -> None:
    """Devices, masks, mounts, a cgroup namespace, a time namespace: all work as without one."""
    probe = "set -e; echo x >/dev/null; head -c1 /dev/zero >/tmp/x; ls /dev/tty /dev/full /dev/pts /dev/shm /dev/mqueue"
    probe += " >/dev/null; test ! -s /proc/kcore; ! echo 1 2>/dev/null >/proc/sys/kernel/panic; id -u; hostname"
    box = bundle("sh", "-c", probe)
    set_namespaces(box, *KINDS)
    add_mapping(box)
    box.config["hostname"] = "inside"
    box.config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    assert box.run().ok().stdout == "0\ninside\n"


def add_mapping(box: Bundle, host: int = MAPPED) -> None:
    box.config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": host, "size": 65536}]
    box.config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": host, "size": 65536}]


@pytest.mark.parametrize(
    ("linux", "pointer"),
    [
        ({"uidMappings": None}, "no uid mappings found (container c0, config.json /linux"),
        ({"gidMappings": None}, "no gid mappings found (container c0, config.json /linux"),
        ({"uidMappings": []}, "no uid mappings found (container c0, config.json /linux"),
        ({"uidMappings": [{"containerID": 0, "hostID": 1, "size": 0}]}, "/linux/uidMappings"),
        ({"uidMappings": [{"containerID": 0, "hostID": 4294967295, "size": 2}]}, "/linux/uidMappings"),
        ({"uidMappings": [{"containerID": 5, "hostID": 1, "size": 10}]}, "apping"),
    ],
)
def test_mappings_that_are_none(linux: dict[str, Any], pointer: str, bundle: MakeBundle) -> None:
    box = bundle("true")
    add_user_namespace(box)
    for key, value in linux.items():
        if value is None:
            del box.config["linux"][key]
        else:
            box.config["linux"][key] = value
    one_line(box.create(), 1, pointer)


def test_mappings_without_a_user_namespace(bundle: MakeBundle) -> None:
    box = bundle("true")
    add_mapping(box)
    one_line(box.create(), 1, "/linux/uidMappings")


# ---- joined ones ----


@pytest.fixture
def holder(bundle: MakeBundle) -> Bundle:
    """A container that others join."""
    box = bundle("sleep", "1000")
    set_namespaces(box, *ALL_BUT_USER)
    box.config["hostname"] = "holder"
    running(box)
    return box


def finish(*boxes: Bundle) -> None:
    for box in boxes:
        # A pid namespace ends when all its processes are reaped; those that orphaned are for us to reap.
        reap()
        box.delete("--force").ok()


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid", "cgroup", "time"])
def test_one_is_joined(kind: str, holder: Bundle, bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    new = [one for one in ("mount", "pid", "network", "ipc", "uts") if one != kind]
    set_namespaces(box, *new, **{kind: holder.pid()})
    box.config.pop("hostname", None)
    found, theirs, own = namespaces_of(running(box)), namespaces_of(holder.pid()), namespaces_of("self")
    assert {one for one in KINDS if found[one] == theirs[one]} == {kind, "user"}
    assert {one for one in KINDS if found[one] != own[one]} == {*new, kind}
    finish(box, holder)


def test_all_of_another_container_s(holder: Bundle, bundle: MakeBundle) -> None:
    """As the containers of a pod: its own mounts and cgroup, the rest shared. /proc is that of the joined pids."""
    box = bundle("sh", "-c", "hostname; ps -o args | grep -c 'sleep 1000'; exec sleep 1001")
    pid = holder.pid()
    set_namespaces(box, "mount", "cgroup", network=pid, ipc=pid, uts=pid, pid=pid)
    box.config.pop("hostname", None)
    box.run("--detach").ok()
    found, theirs = namespaces_of(box.pid()), namespaces_of(pid)
    assert {one for one in KINDS if found[one] == theirs[one]} == {"network", "ipc", "uts", "pid", "user"}
    # The holder is seen from inside, and the other way round.
    wait_until(lambda: box.output().count("\n") == 2, "it has looked around")
    wait_until(lambda: Path(f"/proc/{box.pid()}/comm").read_text() == "sleep\n", "it sleeps")
    assert holder.exec("ps", "-o", "args").ok().stdout.count("sleep 1001") == 1
    assert box.output().splitlines()[0] == "holder"
    assert int(box.output().splitlines()[1]) >= 1
    for kind in ("pid", "net", "ipc"):
        assert box.exec("readlink", f"/proc/self/ns/{kind}").ok().stdout == f"{os.readlink(f'/proc/{pid}/ns/{kind}')}\n"
    # Its end is the container's end, not the pod's.
    box.kill("KILL").ok()
    box.wait_for("stopped")
    assert holder.status() == "running"
    finish(box, holder)


def test_a_joined_mount_namespace(bundle: MakeBundle) -> None:
    """The container's own mounts are made in there."""
    with subprocess.Popen(["unshare", "--mount", "sleep", "1000"]) as other:
        try:
            while namespaces_of(other.pid)["mount"] == namespaces_of("self")["mount"]:
                pass
            box = bundle("sleep", "1000")
            set_namespaces(box, "pid", mount=other.pid)
            for name in ("maskedPaths", "readonlyPaths"):
                del box.config["linux"][name]
            pid = running(box)
            assert namespaces_of(pid)["mount"] == namespaces_of(other.pid)["mount"]
            assert os.stat(f"/proc/{pid}/root").st_ino == os.stat(box.rootfs).st_ino
            box.delete("--force").ok()
        finally:
            other.kill()


@pytest.mark.parametrize("new", [("mount", "pid"), ("mount", "pid", "network", "ipc", "uts", "cgroup", "time")])
def test_a_joined_user_namespace(new: tuple[str, ...], bundle: MakeBundle) -> None:
    """The new namespaces belong to it; as containerd's CRI asks, the mappings are given too."""
    one = bundle("sleep", "1000")
    add_user_namespace(one)
    pid = running(one)
    box = bundle("sleep", "1000")
    set_namespaces(box, *new, user=pid)
    add_mapping(box)
    if "network" not in new:
        # sysfs and mqueue belong to namespaces that the joined one does not own.
        box.config["mounts"] = [one for one in box.config["mounts"] if one["type"] not in ("sysfs", "mqueue", "cgroup")]
    found, theirs = namespaces_of(running(box)), namespaces_of(pid)
    assert found["user"] == theirs["user"]
    assert {
        kind for kind in KINDS if found[kind] != theirs[kind] and found[kind] != namespaces_of("self")[kind]
    } == set(new)
    if "network" in new:
        # It has the right to what it does there.
        subprocess.run(["nsenter", "-t", str(box.pid()), "-U", "-n", "ip", "link", "set", "lo", "down"], check=True)
    assert status_of(box.pid())["Uid"].split() == [str(MAPPED)] * 4
    finish(box, one)


def test_a_pod_in_a_user_namespace(bundle: MakeBundle) -> None:
    """User, network, ipc, uts and pid namespaces joined, which all belong to the joined user namespace.

    A sysctl is written by way of the runtime's procfs: one that has the process in it cannot be made there.
    """
    one = bundle("sleep", "1000")
    add_user_namespace(one)
    pid = running(one)
    box = bundle("sh", "-c", "ls /proc/1/stat >/dev/null && exec sleep 1000")
    set_namespaces(box, "mount", user=pid, network=pid, ipc=pid, uts=pid, pid=pid)
    box.config.pop("hostname", None)
    box.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "7000"}
    add_mapping(box)
    found, theirs = namespaces_of(running(box)), namespaces_of(pid)
    assert {kind for kind in KINDS if found[kind] == theirs[kind]} >= {"user", "network", "ipc", "uts", "pid"}
    assert box.exec("cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax").ok().stdout == "1\n7000\n"
    for kind in ("user", "pid", "net"):
        assert box.exec("readlink", f"/proc/self/ns/{kind}").ok().stdout == f"{os.readlink(f'/proc/{pid}/ns/{kind}')}\n"
    finish(box, one)


def test_mappings_that_are_not_the_joined_namespace_s(bundle: MakeBundle) -> None:
    one = bundle("sleep", "1000")
    add_user_namespace(one)
    box = bundle("true")
    set_namespaces(box, "mount", user=running(one))
    for name in ("uidMappings", "gidMappings"):
        add_mapping(box)
        box.config["linux"][name] = [{"containerID": 0, "hostID": MAPPED + 1, "size": 65536}]
        got = box.create()
        assert got.returncode == 1
        assert f"has other mappings (container {box.id}, config.json /linux/{name})" in box.errors()
    # Those that are, are what the config may well say of it.
    set_namespaces(box, *ALL_BUT_USER, user=one.pid())
    box.config["linux"]["uidMappings"] = box.config["linux"]["gidMappings"] = one.config["linux"]["uidMappings"]
    box.config["process"]["args"] = ["cat", "/proc/self/uid_map"]
    got = box.run().ok()
    assert (got.stdout.split(), got.stderr) == (["0", str(MAPPED), "65536"], "")
    finish(one)


def test_the_runtime_s_own_user_namespace_may_be_joined(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    set_namespaces(box, "mount", "pid", user="/proc/self/ns/user")
    assert namespaces_of(running(box))["user"] == namespaces_of("self")["user"]
    finish(box)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/proc/self/ns/net", "is not a uts namespace"),
        ("/dev/null", "is not a uts namespace"),
        ("/no/such/namespace", "no such file or directory"),
        ("relative/path", "absolute"),
    ],
)
def test_a_path_that_is_no_such_namespace(path: str, words: str, bundle: MakeBundle) -> None:
    box = bundle("true")
    set_namespaces(box, "mount", uts=path)
    box.config.pop("hostname", None)
    one_line(box.create(), 1, words, "/linux/namespaces/1")


@pytest.mark.parametrize("entry", [{"type": "nonsense"}, {"type": "mount"}, {}, {"type": "pid", "path": 3}])
def test_entries_that_are_none(entry: Any, bundle: MakeBundle) -> None:
    box = bundle("true")
    set_namespaces(box, "mount")
    box.config["linux"]["namespaces"].append(entry)
    one_line(box.create(), 1, "/linux/namespaces/1")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("maskedPaths", ["/proc/kcore"]),
        ("readonlyPaths", ["/proc/sys"]),
    ],
)
def test_what_needs_a_mount_namespace(key: str, value: Any, bundle: MakeBundle) -> None:
    box = bundle("true")
    set_namespaces(box, "pid")
    without_own_mounts(box)
    box.config["linux"][key] = value
    one_line(box.create(), 1, f"/linux/{key}")
