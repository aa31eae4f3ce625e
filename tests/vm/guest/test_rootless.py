"""An ordinary user: with one id or a range of them, with cgroups of its own manager, by hand and by podman."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rootfs import make_rootfs

from .session import HOME, Session
from .support import PYRUNC, TOP, USER, as_login, as_user, user_scopes

SHOW = "id -u; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups /proc/self/cgroup"


def test_with_ones_own_id_alone(session: Session) -> None:
    session.program("sh", "-c", SHOW)
    lines = session.shell("pyrunc run rootless1").split("\n")
    assert [line.split() for line in lines[:3]] == [["0"], ["0", "1000", "1"], ["0", "1000", "1"]]
    assert lines[3:5] == ["deny", "0::/"]


def test_with_a_range_of_ids(session: Session) -> None:
    """By newuidmap and newgidmap."""
    session.map_range()
    session.config["process"]["oomScoreAdj"] = 500
    for kind in ("bounding", "effective", "permitted"):
        session.config["process"]["capabilities"][kind] += ["CAP_CHOWN"]
    session.program("sh", "-c", SHOW + "; cat /proc/self/oom_score_adj; touch /dev/x; chown 5:6 /dev/x; ls -ln /dev/x")
    lines = session.shell("pyrunc run rootless1").split("\n")
    maps = [["0", "1000", "1"], ["1", "100000", "65536"]]
    assert [line.split() for line in lines[:5]] == [["0"], *maps, *maps]
    assert lines[5:8] == ["allow", "0::/", "500"]
    assert lines[8].split()[2:4] == ["5", "6"]


def test_ids_that_are_not_granted(session: Session) -> None:
    session.map_range()
    session.config["linux"]["uidMappings"][1]["hostID"] = 300000
    text = session.shell("pyrunc run rootless1", status=1)
    assert "newuidmap" in text and "/linux/uidMappings" in text and text.count("\n") == 1


def test_a_life_in_a_scope_of_the_users_manager(session: Session) -> None:
    session.map_range()
    session.config["linux"].setdefault("resources", {}).update({"memory": {"limit": 48 << 20}, "pids": {"limit": 20}})
    session.program("sleep", "1000")
    script = """
    pyrunc --systemd-cgroup run --detach rootless1 >/dev/null 2>&1 </dev/null || exit 1
    systemctl --user show pyrunc-rootless1.scope -p MemoryMax -p TasksMax -p ActiveState
    pyrunc exec rootless1 sh -c 'id -u; cat /proc/self/cgroup'
    pyrunc update --memory 60m rootless1
    systemctl --user show pyrunc-rootless1.scope -p MemoryMax
    pyrunc pause rootless1 && pyrunc state rootless1 | grep -o paused && pyrunc resume rootless1
    pyrunc delete --force rootless1
    systemctl --user show pyrunc-rootless1.scope -p ActiveState
    """
    assert session.shell(script).split() == [
        *(f"MemoryMax={48 << 20}", "TasksMax=20", "ActiveState=active"),
        *("0", "0::/", f"MemoryMax={60 << 20}", "paused", "ActiveState=inactive"),
    ]


def test_a_life_from_a_login_session(session: Session) -> None:
    """The session's scope is not below the user's manager, so nobody moves from there by himself: systemd is asked."""
    session.map_range()
    session.config["linux"].setdefault("resources", {})["pids"] = {"limit": 20}
    session.program("sleep", "1000")
    session.save()
    scope = f"/user.slice/user-{USER}.slice/user@{USER}.service/user.slice/pyrunc-rootless1.scope"
    # An exec, one that goes to a cgroup of the container's own, and one where the scope takes no process any more.
    script = f"""
    cd {session.path}
    grep -q session- /proc/self/cgroup && echo session
    pyrunc --systemd-cgroup run --detach rootless1 >/dev/null 2>&1 </dev/null || exit 1
    pyrunc exec rootless1 id -u || exit 2
    pyrunc exec --detach rootless1 sleep 1001 || exit 3
    grep -c . /sys/fs/cgroup{scope}/cgroup.procs
    mkdir /sys/fs/cgroup{scope}/inner
    pyrunc exec --cgroup inner rootless1 cat /proc/self/cgroup || exit 4
    pyrunc exec --cgroup nowhere rootless1 true 2>&1 | grep -c 'exec failed'
    for pid in $(cat /sys/fs/cgroup{scope}/cgroup.procs); do echo $pid >/sys/fs/cgroup{scope}/inner/cgroup.procs; done
    echo +pids >/sys/fs/cgroup{scope}/cgroup.subtree_control || exit 5
    pyrunc exec rootless1 cat /proc/self/cgroup || exit 6
    pyrunc ps --format=json rootless1 | grep -o , | grep -c .
    pyrunc update --pids-limit 30 rootless1 && cat /sys/fs/cgroup{scope}/pids.max
    pyrunc delete --force rootless1 && echo deleted
    """
    done = as_login(script)
    assert done.stdout.split() == ["session", "0", "2", "0::/inner", "1", "0::/inner", "1", "30", "deleted"], done


def test_a_life_in_a_cgroup_of_its_own(session: Session) -> None:
    session.config["linux"].setdefault("resources", {})["pids"] = {"limit": 20}
    session.program("sleep", "1000")
    script = """
    pyrunc create rootless1 >/dev/null 2>&1 </dev/null && pyrunc start rootless1 || exit 1
    cat /sys/fs/cgroup$(dirname $(sed s/0::// /proc/self/cgroup))/rootless1/pids.max
    pyrunc exec rootless1 id -u
    pyrunc kill rootless1 KILL
    while [ "$(pyrunc state rootless1 | grep -o stopped)" != stopped ]; do sleep 0.1; done
    pyrunc delete rootless1 && echo deleted
    """
    assert session.shell(script).split() == ["20", "0", "deleted"]


def test_without_the_right_to_make_cgroups(session: Session) -> None:
    """Outside of the user's own manager: no cgroup when none is asked for, a clear error for a limit or a path."""

    def run() -> subprocess.CompletedProcess[str]:
        session.save()
        argv = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", "HOME=/home/user"]
        argv += [f"XDG_RUNTIME_DIR=/run/user/{USER}", PYRUNC, "run", "--bundle", str(session.path), "rootless1"]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    session.program("cat", "/proc/self/cgroup")
    done = run()
    assert (done.returncode, done.stdout) == (0, "0::/\n"), done
    # One of the container's name where it would be, with somebody else's process.
    home = TOP / Path("/proc/self/cgroup").read_text().strip().removeprefix("0::/")
    foreign = home.parent / "rootless1"
    foreign.mkdir()
    other = subprocess.Popen(["sleep", "1000"])
    try:
        (foreign / "cgroup.procs").write_text(str(other.pid))
        done = run()
        assert (done.returncode, done.stdout) == (0, "0::/\n"), done
        assert other.poll() is None and (foreign / "cgroup.procs").read_text() == f"{other.pid}\n"
    finally:
        other.kill()
        other.wait()
        foreign.rmdir()
    session.config["linux"]["cgroupsPath"] = "/pyrunc-not-for-users"
    done = run()
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    assert "unable to apply cgroup configuration" in done.stderr and "permission denied" in done.stderr
    assert "/linux/cgroupsPath" in done.stderr
    del session.config["linux"]["cgroupsPath"]
    session.config["linux"].setdefault("resources", {})["pids"] = {"limit": 20}
    done = run()
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    assert "cannot limit pids.max: rootless needs no limits + no cgrouppath" in done.stderr
    assert "/linux/resources/pids/limit" in done.stderr


def test_without_a_bus(session: Session) -> None:
    session.program("true")
    text = session.shell("unset DBUS_SESSION_BUS_ADDRESS; export DBUS_SESSION_BUS_ADDRESS=unix:path=/nowhere; "
                         "pyrunc --systemd-cgroup run rootless1", status=1)  # fmt: skip
    assert "D-Bus" in text and text.count("\n") == 1


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    folder = HOME / "image"
    make_rootfs(folder / "rootfs")
    subprocess.run(["tar", "-C", folder / "rootfs", "-cf", folder / "image.tar", "."], check=True)
    done = as_user(f"podman import --quiet {folder}/image.tar localhost/busybox")
    assert done.returncode == 0, done
    yield "localhost/busybox"
    shutil.rmtree(folder)


def test_podman(image: str) -> None:
    podman = f"podman --runtime {PYRUNC}"
    script = f"""
    {podman} run --rm --network=none --memory=64m {image} sh -c 'id -u; cat /proc/self/cgroup /sys/fs/cgroup/memory.max'
    {podman} run --detach --network=none --name=life {image} sleep 1000 >/dev/null
    {podman} exec life id -u
    {podman} pause life >/dev/null && {podman} unpause life >/dev/null && echo paused
    {podman} stats --no-stream --format '{{{{.PIDs}}}}' life
    {podman} rm --force --time=0 life >/dev/null && echo removed
    {podman} --cgroup-manager=cgroupfs run --rm --network=none {image} echo files
    """
    before = user_scopes()
    done = as_user(script, timeout=200)
    assert done.stdout.split() == ["0", "0::/", str(64 << 20), "0", "paused", "1", "removed", "files"], done
    assert user_scopes() <= before
