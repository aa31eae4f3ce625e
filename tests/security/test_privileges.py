"""What the process may do: the five capability sets, devices, and what it is seen as while it waits."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrunc import _linux
from tests.support.containers import running
from tests.support.namespaces import add_user_namespace
from tests.support.processes import status_of
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle

from .inside import may

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def mask(*names: str) -> str:
    return f"{sum(1 << _linux.CAPS[name] for name in names):016x}"


NONE = mask()


def sets(text: str) -> dict[str, str]:
    """The capability sets in the text of a status file."""
    return {line.split(":")[0]: line.split()[1] for line in text.splitlines() if line.startswith("Cap")}


def generous_caller() -> None:
    """The runtime's caller has all that it may have in its inheritable and ambient sets."""
    effective, permitted, _ = _linux.capget()
    _linux.capset(effective, permitted, permitted)
    for number in _linux.CAPS.values():
        if permitted >> number & 1:
            _linux.prctl(_linux.PR_CAP_AMBIENT, _linux.PR_CAP_AMBIENT_RAISE, number)


def call(box: Bundle, *args: str | Path, before: Callable[[], None] = generous_caller) -> str:
    """The runtime, started by that caller; its output."""
    runtime = box.place.spawn(*args, preexec_fn=before, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = str(runtime.communicate()[0])
    assert runtime.returncode == 0, output
    return output


@pytest.mark.parametrize("user", [False, True], ids=["", "userns"])
@pytest.mark.parametrize("uid", [0, 1000])
def test_inheritable_capabilities(uid: int, user: bool, container: MakeBundle) -> None:
    """CVE-2022-29162, CVE-2022-27650, CVE-2025-27612: a file's inheritable capabilities would be the program's."""
    box = container("sh", "-c", "cat /proc/self/status; exec sleep 1000")
    may(box, "CAP_KILL", "CAP_CHOWN")
    box.config["process"]["user"] = {"uid": uid, "gid": uid}
    if user:
        add_user_namespace(box)
    call(box, "run", "--detach", "--bundle", box.save(), box.id, before=lambda: generous_with_output(box))
    wait_until(lambda: "CapAmb" in box.output(), "the program has told")
    found = sets(box.output())
    held = mask("CAP_KILL", "CAP_CHOWN") if uid == 0 else NONE
    limit = mask("CAP_KILL", "CAP_CHOWN")
    assert found == {"CapInh": NONE, "CapPrm": held, "CapEff": held, "CapBnd": limit, "CapAmb": NONE}
    status = ("cat", "/proc/self/status")
    assert sets(call(box, "exec", box.id, *status)) == found
    # --cap adds to three sets, and never to the inheritable one.
    more = sets(call(box, "exec", "--cap", "CAP_SYS_PTRACE", box.id, *status))
    held = mask("CAP_KILL", "CAP_CHOWN", "CAP_SYS_PTRACE") if uid == 0 else NONE
    limit = mask("CAP_KILL", "CAP_CHOWN", "CAP_SYS_PTRACE")
    assert more == {"CapInh": NONE, "CapPrm": held, "CapEff": held, "CapBnd": limit, "CapAmb": NONE}


def generous_with_output(box: Bundle) -> None:
    generous_caller()
    for fd, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(box.path / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), fd)


@pytest.mark.parametrize("uid", [0, 1000])
def test_no_capabilities_at_all(uid: int, container: MakeBundle) -> None:
    """A process object without the property has none, not the runtime's."""
    box = container("sh", "-c", "cat /proc/self/status; exec sleep 1000")
    box.config["process"].pop("capabilities")
    box.config["process"]["user"] = {"uid": uid, "gid": uid}
    running(box)
    wait_until(lambda: "CapAmb" in box.output(), "the program has told")
    assert sets(box.output()) == dict.fromkeys(SETS, NONE)
    assert sets(box.exec("cat", "/proc/self/status").ok().stdout) == dict.fromkeys(SETS, NONE)


@pytest.mark.parametrize("no_new_privileges", [False, True])
@pytest.mark.parametrize("seccomp", [False, True])
@pytest.mark.parametrize("uid", [0, 1000])
def test_a_created_container_has_dropped_what_it_will_not_have(
    uid: int, seccomp: bool, no_new_privileges: bool, container: MakeBundle
) -> None:
    """Already while it waits: all it does then is execve. And nobody but root may look into it."""
    box = container("true")
    may(box, "CAP_KILL")
    box.config["process"]["user"] = {"uid": uid, "gid": uid}
    box.config["process"]["noNewPrivileges"] = no_new_privileges
    if seccomp:
        box.config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
        }
    box.create().ok()
    pid = box.pid()
    status = status_of(pid)
    assert {name: status[name] for name in SETS} == {
        "CapInh": NONE, "CapPrm": mask("CAP_KILL"), "CapEff": mask("CAP_KILL"), "CapBnd": mask("CAP_KILL"),
        "CapAmb": NONE,
    }  # fmt: skip
    assert status["Uid"].split() == [str(uid)] * 4 and status["Gid"].split() == [str(uid)] * 4
    assert status["NoNewPrivs"] == str(int(no_new_privileges)) and status["Seccomp"] == ("2" if seccomp else "0")
    assert status["Groups"] == ""
    # Not dumpable: its files in /proc are root's.
    assert os.stat(f"/proc/{pid}/fd").st_uid == 0


def test_nobody_else_may_trace_a_container_that_waits(container: MakeBundle) -> None:
    """Another process of the same user could give it other code, or take what it has open."""
    box = container("true")
    box.config["process"]["user"] = {"uid": 4321, "gid": 4321}
    may(box)
    box.create().ok()
    exe = f"/proc/{box.pid()}/exe"
    for command in (["readlink", exe], ["ls", f"/proc/{box.pid()}/fd/"], ["cat", f"/proc/{box.pid()}/environ"]):
        done = subprocess.run(command, user=4321, group=4321, extra_groups=[], capture_output=True, check=False)
        assert done.returncode, command


@pytest.mark.parametrize("rules", [None, [], [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}]])
def test_devices_are_refused_unless_allowed(rules: object, bundle: MakeBundle) -> None:
    """GHSA-g54h-m393-cpwq: without a rule that allows it a device is not read, whatever the list says of others."""
    root = os.stat("/").st_dev
    made = f"mknod /tmp/disk b {os.major(root)} {os.minor(root)} && mknod /tmp/mem c 1 1"
    box = bundle("sh", "-c", f"{made}; head -c 1 /tmp/disk; head -c 1 /tmp/mem; echo > /dev/null && echo null")
    may(box, "CAP_MKNOD", "CAP_SYS_RAWIO")
    box.config["root"]["readonly"] = False
    if rules is None:
        box.config["linux"]["resources"].pop("devices")
    else:
        box.config["linux"]["resources"]["devices"] = rules
    done = box.run()
    assert done.stderr.count("Operation not permitted") == 2 and done.stdout == "null\n", (done.stdout, done.stderr)


def test_a_device_of_another_number_is_not_bound(bundle: MakeBundle) -> None:
    """In a user namespace the host's is bound: it must be the one that the config names, and not what is there."""
    box = bundle("true")
    add_user_namespace(box)
    box.config["linux"]["devices"] = [{"path": "/dev/zero", "type": "c", "major": 1, "minor": 7}]
    done = box.run()
    assert done.returncode == 1 and "/dev/zero" in done.stderr, done.stderr
