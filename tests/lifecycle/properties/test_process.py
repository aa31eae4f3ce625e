"""The process: who it is, what it may do, what it is limited to, as the kernel tells from outside."""

import errno
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support import TOP
from tests.support.containers import running
from tests.support.namespaces import MAPPED, add_user_namespace, set_namespaces
from tests.support.processes import environment_of, reap, status_of
from tests.support.workplace import Bundle, MakeBundle, one_line

CAPS = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_NET_BIND_SERVICE": 10, "CAP_NET_RAW": 13, "CAP_SYS_RESOURCE": 24}
SETS = {
    "inheritable": "CapInh",
    "permitted": "CapPrm",
    "effective": "CapEff",
    "bounding": "CapBnd",
    "ambient": "CapAmb",
}


def bits(*names: str) -> int:
    return sum(1 << CAPS[name] for name in names)


def sets_of(pid: int) -> dict[str, int]:
    found = status_of(pid)
    return {name: int(found[line], 16) for name, line in SETS.items()}


# ---- identity ----


def test_user_group_groups_and_umask(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    box.config["process"]["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 4000000000, 6], "umask": 0o37}
    found = status_of(running(box))
    assert found["Uid"].split() == ["1000"] * 4
    assert found["Gid"].split() == ["1001"] * 4
    assert sorted(map(int, found["Groups"].split())) == [5, 6, 4000000000]
    assert found["Umask"] == "0037"


@pytest.mark.parametrize("umask", [0o7777, 0o10022, 2**32 - 1])
def test_an_umask_of_more_bits_than_there_are(umask: int, bundle: MakeBundle) -> None:
    """umask(2) heeds the permissions alone, as with runc."""
    box = bundle("grep", "Umask", "/proc/self/status")
    box.config["process"]["user"]["umask"] = umask
    assert int(box.run().ok().stdout.split()[1], 8) == umask & 0o777


def test_groups_of_the_caller_are_not_the_container_s(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    old = os.getgroups()
    os.setgroups([7, 8])
    try:
        found = status_of(running(box))
    finally:
        os.setgroups(old)
    assert found["Groups"] == "" and found["Umask"] == "0022"


def test_the_largest_numbers(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.config["process"]["user"] = {"uid": 4294967294, "gid": 4294967294}
    assert status_of(running(box))["Uid"].split() == ["4294967294"] * 4
    box.delete("--force").ok()
    box.config["process"]["user"] = {"uid": 4294967295, "gid": 0}
    one_line(box.create(), 1, "/process/user/uid")


def test_in_a_user_namespace(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    add_user_namespace(box)
    box.config["process"]["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5]}
    found = status_of(running(box))
    assert found["Uid"].split() == [str(MAPPED + 1000)] * 4
    assert found["Gid"].split() == [str(MAPPED + 1001)] * 4
    assert found["Groups"] == str(MAPPED + 5)


# ---- environment, working directory ----


def test_environment(container: MakeBundle) -> None:
    """Of duplicates the last counts; order and odd characters stay; nothing of the caller's is there."""
    box = container("sleep", "1000")
    box.config["process"]["env"] = ["PATH=/bin", "A=1", "EMPTY=", "B=x=y z\nü", "A=2", "HOME=/somewhere"]
    box.run("--detach", env={"LEAK": "1"}).ok()
    assert environment_of(box.pid()) == ["PATH=/bin", "EMPTY=", "B=x=y z\nü", "A=2", "HOME=/somewhere"]


@pytest.mark.parametrize(
    ("passwd", "uid", "home"),
    [
        ("root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n", 1000, "/home/u"),
        ("root:x:0:0:root:/root:/bin/sh\n", 1000, "/"),
        ("a:x:1000:1:short\nu:x:1000:1000::/second:/bin/sh", 1000, "/second"),
        ("u:x:1000:1000:::/bin/sh\n", 1000, "/"),
        ("u:x:1000:1000::/a\0b:/bin/sh\nu:x:1000:1000::/next:/bin/sh\n", 1000, "/next"),
        ("u:x:1000:1000::/a\0b:/bin/sh\n", 1000, "/"),
        (None, 0, "/"),
    ],
)
def test_home_is_by_the_container_s_passwd(passwd: str | None, uid: int, home: str, bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "echo $HOME")
    file = box.rootfs / "etc/passwd"
    if passwd is None:
        file.unlink()
    else:
        file.write_text(passwd)
    box.config["process"]["user"]["uid"] = uid
    assert box.run().ok().stdout == home + "\n"


def test_a_hostile_passwd(bundle: MakeBundle) -> None:
    """Endless, a fifo, a link out of the rootfs (moby/sys/user CVE-2026-61801): HOME is / and nothing hangs."""
    box = bundle("sh", "-c", "echo $HOME")
    file = box.rootfs / "etc/passwd"
    box.config["process"]["user"]["uid"] = 1000
    file.write_text("x" * (8 << 20))
    assert box.run().ok().stdout == "/\n"
    file.unlink()
    os.mkfifo(file)
    assert box.run().ok().stdout == "/\n"
    file.unlink()
    outside = box.path / "passwd"
    outside.write_text("u:x:1000:1000::/outside:/bin/sh\n")
    file.symlink_to(f"../../..{outside}")
    assert box.run().ok().stdout == "/\n"


def test_the_working_directory(bundle: MakeBundle) -> None:
    box = bundle("pwd")
    box.config["root"]["readonly"] = False
    for cwd in ("/tmp", "/", "/tmp/../etc", "/made/for/it"):
        box.config["process"]["cwd"] = cwd
        assert box.run().ok().stdout == os.path.normpath(cwd) + "\n"
    assert os.stat(box.rootfs / "made/for").st_mode & 0o7777 == 0o755
    # Inside the rootfs, whatever links say.
    (box.rootfs / "link").symlink_to("/../../../etc")
    box.config["process"]["cwd"] = "/link"
    assert box.run().ok().stdout == "/etc\n"


def test_a_working_directory_that_is_none(bundle: MakeBundle) -> None:
    box = bundle("pwd")
    for cwd, words in (("/etc/passwd", "not a directory"), ("relative", "absolute"), ("", "/process/cwd")):
        box.config["process"]["cwd"] = cwd
        one_line(box.create(), 1, words, "/process/cwd")


def test_a_working_directory_that_only_the_user_may_enter(container: MakeBundle) -> None:
    """Entered as root, which needs no permission; the user could not enter it, and gets it all the same, as in runc."""
    box = container("sleep", "1000")
    (box.rootfs / "closed").mkdir(mode=0o700)
    box.config["process"]["cwd"] = "/closed"
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    assert os.readlink(f"/proc/{running(box)}/cwd") == "/closed"


def test_args_are_looked_up_in_path_as_the_user(bundle: MakeBundle) -> None:
    box = bundle("tool")
    for place, mode in (("first", 0o600), ("second", 0o700), ("third", 0o755)):
        (box.rootfs / place).mkdir()
        (box.rootfs / place / "tool").write_text(f"#!/bin/sh\necho {place}\n")
        (box.rootfs / place / "tool").chmod(mode)
    box.config["process"]["env"] = ["PATH=/nowhere:/first:/second:/third"]
    assert box.run().ok().stdout == "second\n"
    box.config["process"]["user"]["uid"] = 1000
    assert box.run().ok().stdout == "third\n"
    box.config["process"]["env"] = ["PATH=/first:/nowhere"]
    # As execvp(3) has it: found, but not to be executed.
    one_line(box.run(), 1, "tool", "permission denied")


def test_arguments_are_passed_as_they_are(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", 'for one in "$@"; do echo "<$one>"; done', "a b", "", "ü", "-n", "x\ny")
    assert box.run().ok().stdout == "<>\n<ü>\n<-n>\n<x\ny>\n"


# ---- privileges ----


NEITHER = {"inheritable": 0, "ambient": 0}


def test_five_sets_of_capabilities(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.config["process"]["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
        "effective": ["CAP_CHOWN", "CAP_KILL"],
        "inheritable": ["CAP_KILL", "CAP_NET_RAW"],
        "ambient": ["CAP_KILL"],
    }
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    # What the kernel makes of them at execve(2) as a user: only ambient ones stay (capabilities(7)).
    assert sets_of(running(box)) == {
        "bounding": bits("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"),
        "permitted": bits("CAP_KILL"),
        "effective": bits("CAP_KILL"),
        "inheritable": bits("CAP_KILL", "CAP_NET_RAW"),
        "ambient": bits("CAP_KILL"),
    }
    box.delete("--force").ok()
    # While it waits for start it has the sets as asked for.
    box.create().ok()
    assert sets_of(box.pid())["effective"] == bits("CAP_CHOWN", "CAP_KILL")
    assert sets_of(box.pid())["permitted"] == bits("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW")
    box.delete().ok()


def test_as_root_the_bounding_set_and_the_inheritable_count(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    names = ["CAP_CHOWN", "CAP_KILL"]
    box.config["process"]["capabilities"] = dict.fromkeys(("bounding", "permitted", "effective"), names)
    expected = {**dict.fromkeys(SETS, bits(*names)), "inheritable": 0, "ambient": 0}
    assert sets_of(running(box)) == expected


def test_what_cannot_be_given_is_one_warning_of_each_kind(bundle: MakeBundle) -> None:
    """buildah asks for eleven ambient capabilities that are not inheritable, at each RUN of a build."""
    names = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"]
    box = bundle("true")
    box.config["process"]["capabilities"] = {
        "bounding": names,
        "permitted": names,
        "effective": names,
        "ambient": names,
    }
    said = box.run().ok().stderr
    assert said.count("\n") == 1
    assert "can't raise ambient capabilities CAP_CHOWN, CAP_KILL, CAP_SETUID: they are not permitted and" in said
    box.config["process"]["capabilities"] = {"permitted": names, "effective": ["CAP_NET_RAW"], "inheritable": names}
    lines = box.run().ok().stderr.splitlines()
    assert len(lines) == 2
    assert "can't make capability CAP_NET_RAW effective: it is not permitted" in lines[0]
    assert "capabilities CAP_CHOWN, CAP_KILL, CAP_SETUID inheritable: they are not in the bounding set" in lines[1]


@pytest.mark.parametrize("sets", [None, {}, {"bounding": []}])
def test_no_capabilities(sets: Any, bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    if sets is None:
        del box.config["process"]["capabilities"]
    else:
        box.config["process"]["capabilities"] = sets
    for no_new_privs in (True, False):
        box.config["process"]["noNewPrivileges"] = no_new_privs
        assert sets_of(running(box)) == dict.fromkeys(SETS, 0)
        box.delete("--force").ok()


def test_capabilities_that_cannot_be_had_are_warnings(container: MakeBundle) -> None:
    """config.md: they should not be errors. buildah asks for ambient ones that are not inheritable."""
    box = container("sleep", "1000")
    box.config["process"]["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_OF_TOMORROW"],
        "permitted": ["CAP_CHOWN"],
        "effective": ["CAP_CHOWN", "CAP_KILL"],
        "ambient": ["CAP_CHOWN"],
    }
    pid = running(box)
    assert "CAP_OF_TOMORROW" in box.errors() and "level=warning" in box.errors()
    assert sets_of(pid) == {**dict.fromkeys(("bounding", "permitted", "effective"), bits("CAP_CHOWN")), **NEITHER}


def test_capabilities_that_cannot_be_given_are_told_of(container: MakeBundle) -> None:
    """config.md: what cannot be granted MUST be logged as a warning, and should be no error."""
    box = container("sleep", "1000")
    # By a runtime that has lost one, and whose containers cannot have it.
    wrapper = box.path / "runtime-without-a-capability"
    wrapper.write_text(f'#!/bin/sh\nexec setpriv --bounding-set=-sys_time {box.place.runtime} "$@"\n')
    wrapper.chmod(0o755)
    box.place.runtime = wrapper
    box.config["process"]["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_SYS_TIME"],
        "permitted": ["CAP_CHOWN", "CAP_SYS_TIME"],
        "effective": ["CAP_CHOWN", "CAP_KILL"],
        "inheritable": ["CAP_NET_RAW"],
    }
    pid = running(box)
    assert sets_of(pid) == {**dict.fromkeys(("bounding", "permitted", "effective"), bits("CAP_CHOWN")), **NEITHER}
    lines = box.errors().splitlines()
    assert all("level=warning" in line for line in lines)
    assert re.findall("CAP_[A-Z_]+", box.errors()) == ["CAP_SYS_TIME", "CAP_KILL", "CAP_NET_RAW"]


@pytest.mark.parametrize("call", ["read", "close", "capset"])
def test_a_filter_that_forbids_what_the_last_steps_need(call: str, bundle: MakeBundle) -> None:
    """The error says which step it was, and why, before create takes the process to be waiting."""
    box = bundle("true")
    rule = {"names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    box.config["process"]["noNewPrivileges"] = False
    words = "set capabilities: " if call == "capset" else "wait for start: "
    one_line(box.create(), 1, words + "function not implemented", "/linux/seccomp/syscalls/0")


@pytest.mark.parametrize("no_new_privs", [True, False, None])
def test_no_new_privs(no_new_privs: bool | None, container: MakeBundle) -> None:
    box = container("sleep", "1000")
    if no_new_privs is None:
        del box.config["process"]["noNewPrivileges"]
    else:
        box.config["process"]["noNewPrivileges"] = no_new_privs
    assert status_of(running(box))["NoNewPrivs"] == str(int(bool(no_new_privs)))


@pytest.mark.parametrize("profile", ["docker", "podman"])
@pytest.mark.parametrize("no_new_privs", [True, False])
def test_an_engine_s_filter(no_new_privs: bool, profile: str, container: MakeBundle) -> None:
    """As a user without any capability: the filter was loaded while the process had them, or after no_new_privs."""
    box = container("sleep", "1000")
    process = box.config["process"]
    process["user"] = {"uid": 1000, "gid": 1000}
    del process["capabilities"]
    process["noNewPrivileges"] = no_new_privs
    box.config["linux"]["seccomp"] = json.loads((TOP / f"tests/data/profiles/{profile}.json").read_text())
    found = status_of(running(box))
    assert (found["Seccomp"], found["Seccomp_filters"]) == ("2", "1")
    assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == 0


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_a_filter_that_allows_next_to_nothing(no_new_privs: bool, bundle: MakeBundle) -> None:
    """Only what finish() needs from the load on, and the program: Python needs nothing any more."""
    box = bundle("true")
    box.config["process"]["noNewPrivileges"] = no_new_privs
    needed = ["execve", "exit_group", "read", "write", "close", "capset", "prctl", "close_range"]
    program = ["brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64", "readlinkat", "readlink"]
    program += ["getrandom", "mprotect", "mmap", "munmap", "uname", "getuid", "getpid", "newfstatat", "fstat", "ioctl"]
    box.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [{"names": needed + program, "action": "SCMP_ACT_ALLOW"}],
    }
    box.run().ok()


# ---- limits ----


def test_rlimits(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.config["process"]["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
        {"type": "RLIMIT_NPROC", "soft": 300, "hard": 301},
        {"type": "RLIMIT_AS", "soft": 1 << 40, "hard": 1 << 41},
    ]
    for change in (lambda box: None, add_user_namespace):
        change(box)
        limits = limits_of(running(box))
        assert limits["Max open files"] == ["100", "200"]
        assert limits["Max core file size"] == ["0", "unlimited"]
        assert limits["Max processes"] == ["300", "301"]
        assert limits["Max address space"] == [str(1 << 40), str(1 << 41)]
        box.delete("--force").ok()


# RLIMIT_*: its name in /proc/PID/limits (proc(5)).
RLIMITS = {
    "AS": "Max address space",
    "CORE": "Max core file size",
    "CPU": "Max cpu time",
    "DATA": "Max data size",
    "FSIZE": "Max file size",
    "LOCKS": "Max file locks",
    "MEMLOCK": "Max locked memory",
    "MSGQUEUE": "Max msgqueue size",
    "NICE": "Max nice priority",
    "NOFILE": "Max open files",
    "NPROC": "Max processes",
    "RSS": "Max resident set",
    "RTPRIO": "Max realtime priority",
    "RTTIME": "Max realtime timeout",
    "SIGPENDING": "Max pending signals",
    "STACK": "Max stack size",
}


def limits_of(pid: int | str) -> dict[str, list[str]]:
    """Name to soft and hard."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return {line[:26].strip(): line[26:].split()[:2] for line in lines[1:]}


@pytest.mark.parametrize("joined", [False, True])
def test_one_process_is_allowed(joined: bool, container: MakeBundle) -> None:
    """RLIMIT_NPROC counts the processes of a user: the program is the first, whatever the runtime needs to get there.

    Who becomes the user by setresuid(2) is not counted yet when the kernel looks: two get in, with runc as well.
    """
    holder = container("sleep", "1000")
    pid = running(holder)
    box = container("sleep", "1000")
    if joined:
        set_namespaces(box, "mount", "ipc", "uts", pid=pid)
    box.config["process"]["user"] = {"uid": 34567, "gid": 34567}
    box.config["process"]["rlimits"] = [{"type": "RLIMIT_NPROC", "soft": 1, "hard": 1}]
    first = running(box)
    assert status_of(first)["Uid"].split() == ["34567"] * 4 and os.readlink(f"/proc/{first}/exe").endswith("busybox")
    box.exec("--detach", "--pid-file", box.path / "pid", "sleep", "1000").ok()
    one_line(box.exec("true"), 255, "exec true: resource temporarily unavailable")
    box.exec("--user", "34568:34568", "true").ok()
    second = int((box.path / "pid").read_text())
    os.kill(second, signal.SIGKILL)
    os.waitpid(second, 0)
    box.delete("--force").ok()
    reap()


def test_every_rlimit_has_its_name(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    limits = {}
    for number, (name, words) in enumerate(RLIMITS.items()):
        # Not above ours: raising a hard limit needs a capability that root may lack here.
        hard = limits_of("self")[words][1]
        value = (1 << 40) + number * 4096 if hard == "unlimited" else max(0, int(hard) - number)
        limits[words] = (f"RLIMIT_{name}", value)
    box.config["process"]["rlimits"] = [{"type": name, "soft": value, "hard": value} for name, value in limits.values()]
    found = limits_of(running(box))
    assert found == {words: [str(value)] * 2 for words, (_, value) in limits.items()}


@pytest.mark.parametrize(
    ("limits", "pointer"),
    [
        ([{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}], "/process/rlimits/0/type"),
        ([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}], "/process/rlimits/0"),
        ([{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}] * 2, "/process/rlimits/1"),
        ([{"type": "RLIMIT_CORE", "soft": -1, "hard": 1}], "/process/rlimits/0/soft"),
    ],
)
def test_rlimits_that_are_none(limits: Any, pointer: str, bundle: MakeBundle) -> None:
    box = bundle("true")
    box.config["process"]["rlimits"] = limits
    one_line(box.create(), 1, pointer)


@pytest.mark.parametrize("value", [0, 500, 1000, -500])
def test_oom_score_adj(value: int, container: MakeBundle) -> None:
    box = container("sleep", "1000")
    box.config["process"]["oomScoreAdj"] = value
    before = Path("/proc/self/oom_score_adj").read_text()
    Path("/proc/self/oom_score_adj").write_text("77")
    try:
        got = box.create()
    finally:
        Path("/proc/self/oom_score_adj").write_text(before)
    if value < 0 and not int(status_of(os.getpid())["CapEff"], 16) >> CAPS["CAP_SYS_RESOURCE"] & 1:
        assert got.returncode == 1 and "config.json /process/oomScoreAdj): hint: lowering it" in box.errors()
        return
    got.ok()
    assert Path(f"/proc/{box.pid()}/oom_score_adj").read_text() == f"{value}\n"


def test_oom_score_adj_unset_is_left_alone(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    before = Path("/proc/self/oom_score_adj").read_text()
    Path("/proc/self/oom_score_adj").write_text("77")
    try:
        pid = running(box)
    finally:
        Path("/proc/self/oom_score_adj").write_text(before)
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "77\n"


@pytest.mark.parametrize("value", [1001, -1001, 1.5, "1"])
def test_oom_score_adj_that_is_none(value: Any, bundle: MakeBundle) -> None:
    box = bundle("true")
    box.config["process"]["oomScoreAdj"] = value
    one_line(box.create(), 1, "/process/oomScoreAdj")


# ---- hostname, sysctl ----


def test_hostname_and_domainname(bundle: MakeBundle) -> None:
    host = os.uname().nodename
    box = bundle("sh", "-c", "hostname; cat /proc/sys/kernel/domainname")
    box.config["hostname"] = "a-name"
    box.config["domainname"] = "example.org"
    assert box.run().ok().stdout == "a-name\nexample.org\n"
    del box.config["hostname"]
    assert box.run().ok().stdout.splitlines()[1] == "example.org"
    assert os.uname().nodename == host


@pytest.mark.parametrize("key", ["hostname", "domainname"])
def test_names_need_a_uts_namespace(key: str, bundle: MakeBundle) -> None:
    box = bundle("true")
    set_namespaces(box, "mount", "pid")
    box.config[key] = "a-name"
    one_line(box.create(), 1, f"/{key}", "UTS namespace")


def test_sysctl(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "for name; do cat /proc/sys/$name; done", "sh")
    wanted = {
        "kernel.shmmax": "12345678",
        "kernel/shm_rmid_forced": "1",
        "net.ipv4.ip_forward": "1",
        "net.ipv4.ip_local_port_range": "2000 3001",
        "fs.mqueue.msg_max": "20",
    }
    box.config["linux"]["sysctl"] = wanted
    for change in (lambda box: None, add_user_namespace):
        change(box)
        box.config["process"]["args"][4:] = [name.replace(".", "/") for name in wanted]
        assert box.run().ok().stdout.replace("\t", " ").splitlines() == list(wanted.values())


@pytest.mark.parametrize(
    ("name", "namespaces"),
    [
        ("kernel.hostname", ("mount", "uts", "ipc", "network")),
        ("kernel.shmmax", ("mount", "uts", "network")),
        ("net.ipv4.ip_forward", ("mount", "uts", "ipc")),
        ("kernel.domainname", ("mount", "ipc", "network")),
        ("fs.mqueue.msg_max", ("mount", "network")),
        ("vm.swappiness", ("mount", "uts", "ipc", "network")),
        ("kernel.panic", ("mount", "uts", "ipc", "network")),
        ("net.ipv4/../../vm/swappiness", ("mount", "network")),
        ("net/../vm/swappiness", ("mount", "network")),
        ("user.max_user_namespaces", ("mount", "network")),
    ],
)
def test_sysctl_of_the_host_is_an_error(name: str, namespaces: tuple[str, ...], bundle: MakeBundle) -> None:
    box = bundle("true")
    set_namespaces(box, *namespaces)
    box.config["linux"]["sysctl"] = {name: "1"}
    file = Path("/proc/sys/vm/swappiness")
    before = file.read_text()
    one_line(box.create(), 1, "/linux/sysctl/" + name.replace("~", "~0").replace("/", "~1"))
    assert file.read_text() == before


@pytest.mark.parametrize(("name", "value"), [("kernel.shm_rmid_forced", "nonsense"), ("net.no.such.thing", "1")])
def test_sysctl_that_the_kernel_refuses(name: str, value: str, bundle: MakeBundle) -> None:
    box = bundle("true")
    box.config["linux"]["sysctl"] = {name: value}
    one_line(box.create(), 1, name, f"/linux/sysctl/{name}")


def test_labels_need_their_module(bundle: MakeBundle) -> None:
    box: Bundle = bundle("true")
    for key, module, there in (
        ("apparmorProfile", "apparmor", "/sys/kernel/security/apparmor"),
        ("selinuxLabel", "selinux", "/sys/fs/selinux/enforce"),
    ):
        if Path(there).exists():
            continue
        box.config["process"][key] = "a-label"
        one_line(box.create(), 1, module, f"/process/{key}")
        del box.config["process"][key]
