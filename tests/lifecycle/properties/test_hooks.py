"""The six kinds of hooks: when, where, with what, and what their failure does."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import TOP
from tests.support.containers import running
from tests.support.namespaces import add_user_namespace, namespaces_of
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, Workplace, one_line

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
IN_CONTAINER = ("startContainer",)

# What a hook finds: one line of JSON. It runs in the runtime's mount namespace, or in a rootfs of busybox.
LOOK = """#!/bin/sh
state=$(cat)
printf '{"kind": "%s", "state": %s, "cwd": "%s", "uid": %s, "env": "%s", "args": "%s"' \
  "$1" "$state" "$(pwd)" "$(id -u)" "$(env | sort | tr '\\n' ' ')" "$*" >>$OUT
for name in mnt pid net uts ipc user cgroup; do
  printf ', "%s": "%s"' $name "$(readlink /proc/self/ns/$name)" >>$OUT
done
echo '}' >>$OUT
"""


class Looking:
    """A bundle whose hooks write down what they find."""

    def __init__(self, box: Bundle) -> None:
        self.box = box
        self.inside = box.rootfs / "bin/hook"
        self.inside.write_text(LOOK)
        self.inside.chmod(0o755)
        self.outside = box.path / "hook"
        self.outside.write_text(LOOK)
        self.outside.chmod(0o755)
        self.log = box.path / "hooks-log"
        self.log.touch(0o666)
        self.log.chmod(0o666)
        # The same file in the container.
        (box.rootfs / "log").touch()
        box.config["mounts"].append({"destination": "/log", "source": str(self.log), "options": ["bind"]})
        self.hooks: dict[str, list[dict[str, Any]]] = {}
        box.config["hooks"] = self.hooks

    def add(self, kind: str, **more: Any) -> None:
        inside = kind in IN_CONTAINER
        hook = {
            "path": "/bin/hook" if inside else str(self.outside),
            "args": ["hook", kind],
            "env": [f"OUT={'/log' if inside else self.log}", "PATH=/bin:/usr/bin"],
        }
        self.hooks.setdefault(kind, []).append({**hook, **more})

    def seen(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def kinds(self) -> list[str]:
        return [one["kind"] for one in self.seen()]


@pytest.fixture
def looking(bundle: MakeBundle) -> Looking:
    return Looking(bundle("sleep", "1000"))


def test_each_kind_at_its_time_in_its_place(looking: Looking) -> None:
    box = looking.box
    box.config["annotations"] = {"org.example": 'a "quoted" ü'}
    for kind in KINDS:
        looking.add(kind)
        looking.add(kind, args=["hook", kind, "second"])
    box.create().ok()
    pid = box.pid()
    assert looking.kinds() == [kind for kind in KINDS[:3] for _ in "12"]
    box.start().ok()
    assert looking.kinds() == [kind for kind in KINDS[:5] for _ in "12"]
    container = namespaces_of(pid)
    box.delete("--force").ok()
    assert looking.kinds() == [kind for kind in KINDS for _ in "12"]

    runtime = namespaces_of("self")
    for kind, hook in zip([kind for kind in KINDS for _ in "12"], looking.seen(), strict=True):
        state = hook["state"]
        assert state["id"] == box.id and state["bundle"] == str(box.path)
        assert state["annotations"] == {"org.example": 'a "quoted" ü'}
        assert set(state) >= {"ociVersion", "id", "status", "pid", "bundle"}
        expected = {"poststart": "running", "poststop": "stopped"}.get(kind, "created")
        assert state["status"] == expected, kind
        where = container if kind in ("createContainer", "startContainer") else runtime
        # As it is seen from where the hook is.
        number = {"createContainer": 1, "startContainer": 1, "poststop": 0}.get(kind, pid)
        assert state.get("pid", 0) == number, kind
        for name, key in (("pid", "pid"), ("net", "network"), ("uts", "uts"), ("ipc", "ipc"), ("mnt", "mount")):
            assert hook[name] == where[key], (kind, name)
        if kind == "startContainer":
            assert hook["cwd"] == "/"
        elif kind == "createContainer":
            assert hook["cwd"] == str(box.rootfs)
        else:
            assert hook["cwd"] == str(box.path), kind
    assert [hook["args"] for hook in looking.seen()][:2] == ["prestart", "prestart second"]


def test_the_environment_is_the_hook_s_alone(looking: Looking) -> None:
    looking.add("createRuntime", env=[f"OUT={looking.log}", "PATH=/bin:/usr/bin", "A=1", "B=x=y", "A=2"])
    looking.box.run("--detach", env={"LEAK": "this"}).ok()
    looking.box.delete("--force").ok()
    words = set(looking.seen()[0]["env"].split())
    assert {"B=x=y"} < words and "LEAK=this" not in words
    assert words & {"A=1", "A=2"}


def test_without_env_there_is_none_but_the_process_s(looking: Looking) -> None:
    """What the caller has in its environment may be secret. startContainer hooks are the container's: as with runc."""
    box = looking.box
    out = box.path / "environments"
    (box.rootfs / "environments").touch()
    out.touch(0o666)
    box.config["mounts"].append({"destination": "/environments", "source": str(out), "options": ["bind"]})
    for kind in KINDS:
        where = "/environments" if kind in IN_CONTAINER else out
        text = f"echo {kind} $(/bin/busybox env) >>{where}"
        looking.hooks[kind] = [{"path": "/bin/busybox", "args": ["sh", "-c", text]}]
    box.config["process"]["env"] = ["PATH=/bin", "FROM=process"]
    box.run("--detach", env={"FROM": "runtime"}).ok()
    box.call("delete", "--force", box.id, env={"FROM": "runtime"}).ok()
    found = {line.partition(" ")[0]: line.partition(" ")[2] for line in out.read_text().splitlines()}
    assert list(found) == list(KINDS)
    assert set(found.pop("startContainer").split()) >= {"PATH=/bin", "FROM=process"}
    for kind, words in found.items():
        # What busybox's shell exports by itself.
        assert {word.split("=")[0] for word in words.split()} <= {"PATH", "PWD", "SHLVL", "OLDPWD"}, kind


def test_a_hook_without_args_and_one_that_reads_nothing(looking: Looking) -> None:
    looking.hooks["createRuntime"] = [{"path": "/bin/true"}]
    looking.box.config["annotations"] = {"big": "x" * 300_000}
    looking.box.run("--detach").ok()
    looking.box.delete("--force").ok()


def test_hooks_see_the_cgroup_and_the_mounts(looking: Looking) -> None:
    """The environment is made before the first hook: limits hold, mounts are there, the root not yet pivoted."""
    box = looking.box
    box.config["linux"]["resources"]["pids"] = {"limit": 77}
    probe = box.path / "probe"
    probe.write_text(
        f"#!/bin/sh\ncat {box.cgroup_dir('pids')}/pids.max\n"
        f"pid=$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p')\n"
        f"grep -c ' {box.rootfs}/proc ' /proc/$pid/mountinfo\nls -d /proc/$pid/root{box.rootfs}/dev/null\nfalse\n"
    )
    probe.chmod(0o755)
    looking.hooks["createRuntime"] = [{"path": str(probe)}]
    line = one_line(box.create(), 1, "output: 77; 1; ")
    assert f"{box.rootfs}/dev/null" in line


# ---- failure ----


@pytest.mark.parametrize("kind", KINDS[:3])
def test_a_failure_before_start_leaves_nothing(kind: str, looking: Looking) -> None:
    box = looking.box
    looking.add(kind)
    looking.hooks[kind].append({"path": "/bin/sh", "args": ["sh", "-c", "echo it is broken; echo here >&2; exit 3"]})
    looking.hooks[kind].append(looking.hooks[kind][0])
    looking.add("poststop")
    # In the container createContainer's mounts are still the runtime's.
    line = one_line(box.create(), 1, f"error running {kind} hook #1", f"/hooks/{kind}/1")
    assert "/bin/sh: exit status 3" in line and "it is broken" in line and "here" in line
    # The third did not run; what hooks have made is taken away by poststop (runtime.md, "Lifecycle", step 13).
    assert looking.kinds() == [kind, "poststop"]
    one_line(box.call("state", box.id), 1, "container does not exist")


@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
@pytest.mark.parametrize("command", ["start", "run", "run --detach"])
def test_a_failure_at_start_destroys_the_container(command: str, kind: str, looking: Looking) -> None:
    box = looking.box
    looking.hooks[kind] = [{"path": "/bin/sh", "args": ["sh", "-c", "echo it is broken; exit 3"]}]
    looking.add("poststop")
    if command == "start":
        box.create().ok()
        got = box.start()
    else:
        got = box.run(*command.split()[1:])
    text = got.stderr + (box.errors() if command == "run --detach" else "")
    assert got.returncode == 1 and f"error running {kind} hook #0" in text and f"/hooks/{kind}/0" in text
    assert looking.kinds() == ["poststop"]
    one_line(box.call("state", box.id), 1, "container does not exist")


def test_poststop_hooks_all_run_and_failures_are_warnings(looking: Looking) -> None:
    box = looking.box
    looking.hooks["poststop"] = [{"path": "/bin/false"}, {"path": "/no/such/hook"}]
    looking.add("poststop")
    running(box)
    got = box.delete("--force").ok()
    assert looking.kinds() == ["poststop"]
    lines = got.stderr.splitlines()
    assert len(lines) == 2 and all("level=warning" in line for line in lines)
    assert "/hooks/poststop/0" in lines[0] and "/no/such/hook" in lines[1]
    assert not (box.place.root / box.id).exists()


def test_poststop_runs_after_run(looking: Looking) -> None:
    looking.box.config["process"]["args"] = ["sh", "-c", "exit 7"]
    looking.add("poststop")
    assert looking.box.run().returncode == 7
    assert looking.kinds() == ["poststop"]


def test_a_time_limit(looking: Looking) -> None:
    box = looking.box
    for kind in ("createRuntime", "createContainer"):
        looking.hooks.clear()
        looking.hooks[kind] = [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]
        one_line(box.create(), 1, f"error running {kind} hook #0", "hook ran past specified timeout of 1", "/hooks/")


def test_a_time_limit_holds_where_the_file_system_does_not_answer(looking: Looking) -> None:
    """As of a network: execve(2) of the hook waits, here for a listener that gives no permission (fanotify(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    content, add, open_exec_perm, here = 0x04, 0x01, ctypes.c_uint64(0x40000), -100
    listener = libc.fanotify_init(content, os.O_RDONLY | os.O_CLOEXEC)
    assert listener >= 0, os.strerror(ctypes.get_errno())
    try:
        assert libc.fanotify_mark(listener, add, open_exec_perm, here, os.fsencode(looking.outside)) == 0
        looking.add("createRuntime", timeout=1)
        one_line(looking.box.create(), 1, "hook ran past specified timeout of 1", "/hooks/createRuntime")
    finally:
        os.close(listener)


def test_a_time_limit_at_start(looking: Looking) -> None:
    box = looking.box
    looking.hooks["startContainer"] = [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]
    box.create().ok()
    one_line(box.start(), 1, "hook ran past specified timeout of 1", "/hooks/startContainer/0")


def test_a_hook_that_is_killed(looking: Looking) -> None:
    looking.hooks["prestart"] = [{"path": "/bin/sh", "args": ["sh", "-c", "kill -SEGV $$"]}]
    one_line(looking.box.create(), 1, "killed by signal 11", "/hooks/prestart/0")


@pytest.mark.parametrize(
    ("path", "words"),
    [("/no/such/hook", "no such file"), ("/etc/passwd", "permission denied"), ("relative", "absolute")],
)
def test_a_hook_that_cannot_be_run(path: str, words: str, looking: Looking) -> None:
    looking.hooks["createRuntime"] = [{"path": path}]
    one_line(looking.box.create(), 1, "/hooks/createRuntime/0", words)


@pytest.mark.parametrize("timeout", [2_147_484, 2**31, 2**63 - 1])
def test_a_time_limit_of_years(timeout: int, looking: Looking) -> None:
    """More milliseconds than poll(2) takes: once an internal error that left the hook running."""
    for kind in ("createRuntime", "createContainer"):
        looking.hooks[kind] = [{"path": "/bin/busybox", "args": ["sleep", "0.1"], "timeout": timeout}]
    looking.hooks["startContainer"] = looking.hooks["createContainer"]
    running(looking.box)
    looking.box.delete("--force").ok()


GOES_WRONG = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pyrunc.steps import hooks
try:
    hooks.run([{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": "soon"}], "prestart", b"{}", None)
except TypeError:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("no child")
"""


def test_a_hook_does_not_outlive_what_goes_wrong_with_us() -> None:
    done = subprocess.run(["/usr/bin/python3", "-c", GOES_WRONG, str(TOP)], capture_output=True, text=True, check=True)
    assert done.stdout == "no child\n"


@pytest.mark.parametrize("timeout", [0, -1, 1.5, "1"])
def test_a_time_limit_that_is_none(timeout: Any, looking: Looking) -> None:
    looking.hooks["createRuntime"] = [{"path": "/bin/true", "timeout": timeout}]
    one_line(looking.box.create(), 1, "/hooks/createRuntime/0/timeout")


# ---- the surroundings of hooks ----


def test_a_hook_s_child_that_lives_on_is_not_waited_for(looking: Looking) -> None:
    """As a service that a hook starts: it holds the hook's output open."""
    pid_file = looking.box.path / "daemon"
    text = f"sleep 1000 & echo $! >{pid_file}"
    looking.hooks["createRuntime"] = [{"path": "/bin/sh", "args": ["sh", "-c", text]}]
    running(looking.box)
    daemon = int(pid_file.read_text())
    assert Path(f"/proc/{daemon}/comm").read_text() == "sleep\n"
    os.kill(daemon, signal.SIGKILL)
    looking.box.delete("--force").ok()


def test_hooks_get_no_descriptor_of_the_runtime_s(looking: Looking) -> None:
    text = "ls -l /proc/self/fd | grep -v /proc/ | awk '{print $9, $11}' >>"
    out = looking.box.path / "fds"
    out.touch()
    (looking.box.rootfs / "fds").touch()
    looking.box.config["mounts"].append({"destination": "/fds", "source": str(out), "options": ["bind"]})
    for kind in KINDS[:5]:
        where = "/fds" if kind == "startContainer" else out
        looking.hooks[kind] = [
            {"path": "/bin/sh", "args": ["sh", "-c", f"{text}{where}"], "env": ["PATH=/bin:/usr/bin"]}
        ]
    looking.box.config["process"]["args"] = ["true"]
    looking.box.run().ok()
    # ls's own directory may be there without a target.
    found = [line.split() for line in out.read_text().splitlines() if len(line.split()) == 2]
    assert len(found) >= 5 * 3
    assert [line for line in found if line[0] not in "012"] == []
    assert all(line[1].startswith("pipe:") or line[1] in (str(out), "/fds") for line in found)


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_have_no_signal_ignored_or_blocked(kind: str, looking: Looking, workplace: Workplace) -> None:
    """Whatever our caller had: one that is started by nohup ignores SIGHUP.

    Signals 32 and 33 are libc's own: its posix_spawn(3) leaves them ignored.
    """
    box = looking.box
    inside = kind in IN_CONTAINER
    script = box.rootfs / "bin/signals" if inside else box.path / "signals"
    script.write_text(f'#!/bin/sh\ngrep -E "^Sig(Ign|Blk)" /proc/self/status >>{"/log" if inside else looking.log}\n')
    script.chmod(0o755)
    looking.add(kind, path="/bin/signals" if inside else str(script), args=["signals"])
    box.config["process"]["args"] = ["true"]
    argv = [str(word) for word in (workplace.runtime, "--root", workplace.root, "run", "--bundle", box.save(), box.id)]
    code = "from signal import *; signal(1, SIG_IGN); pthread_sigmask(0, [10]); os.execv(sys.argv[1], sys.argv[1:])"
    code = "import os, sys; " + code
    subprocess.run([sys.executable, "-c", code, *argv], stdin=subprocess.DEVNULL, check=True, timeout=60)
    found = [int(line.split()[1], 16) for line in looking.log.read_text().splitlines()]
    assert [mask & ~(3 << 31) for mask in found] == [0, 0]


def test_start_container_hooks_are_the_process_s_kind(bundle: MakeBundle) -> None:
    """As its user, with its capabilities, under its filter."""
    looking = Looking(bundle("sleep", "1000"))
    box = looking.box
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    box.config["linux"]["seccomp"] = json.loads((TOP / "tests/data/profiles/docker.json").read_text())
    hook = box.rootfs / "bin/status"
    hook.write_text("#!/bin/sh\ngrep -E '^(Uid|CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status >/log\n")
    hook.chmod(0o755)
    looking.hooks["startContainer"] = [{"path": "/bin/status"}]
    running(box)
    of_hook = dict(line.split(":", 1) for line in looking.log.read_text().splitlines())
    of_process = dict(
        line.split(":", 1) for line in Path(f"/proc/{box.pid()}/status").read_text().splitlines() if ":" in line
    )
    assert of_hook == {name: of_process[name] for name in of_hook} and len(of_hook) == 5
    assert of_hook["Seccomp"].strip() == "2"
    box.delete("--force").ok()


def test_hooks_of_a_user_namespace(looking: Looking) -> None:
    box = looking.box
    add_user_namespace(box)
    for kind in KINDS:
        looking.add(kind)
    running(box)
    box.delete("--force").ok()
    seen = {hook["kind"]: hook for hook in looking.seen()}
    assert list(seen) == list(KINDS)
    assert seen["createContainer"]["uid"] == 0
    assert seen["createContainer"]["user"] == seen["startContainer"]["user"] != seen["createRuntime"]["user"]


def test_a_state_that_hooks_can_ask_for(looking: Looking, workplace: Workplace) -> None:
    """`state` works while hooks run (runtime.md: it must not wait for them)."""
    box = looking.box
    out = box.path / "state"
    command = f"{workplace.runtime} --root {workplace.root} state {box.id} >{out}"
    looking.hooks["createRuntime"] = [{"path": "/bin/sh", "args": ["sh", "-c", command], "timeout": 20}]
    running(box)
    state = json.loads(out.read_text())
    assert state["status"] == "creating" and state["pid"] == box.pid()
    box.delete("--force").ok()


def test_poststart_is_after_the_program_has_begun(looking: Looking) -> None:
    """runc up to 1.5 ran it before."""
    box = looking.box
    out = box.path / "command"
    text = f"pid=$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p'); tr '\\0' ' ' </proc/$pid/cmdline >{out}"
    looking.hooks["poststart"] = [{"path": "/bin/sh", "args": ["sh", "-c", text]}]
    running(box)
    wait_until(out.exists, "the hook ran")
    assert out.read_text() == "sleep 1000 "
    box.delete("--force").ok()
