"""containerd's CRI, as a kubelet uses it: pods whose containers share namespaces, probes, limits, volumes."""

import json
from pathlib import Path

import pytest

from tests.support.processes import status_in

from .cri import NODE, POD, Cri
from .engines import NET_ADMIN, SERVE, SYS_ADMIN, caps, fetch, new_id, wait_for
from .terminal import Terminal

CHOWN, KILL = 0, 5
FOREVER = ["sh", "-c", "exec sleep 1000"]


def namespace(cri: Cri, pid: int, name: str) -> str:
    """What identifies a process's namespace."""
    return cri.sandbox.run("readlink", f"/proc/{pid}/ns/{name}", check=True).stdout.strip()


def pause_pid(cri: Cri, pod: str) -> int:
    return int(json.loads(cri.out("inspectp", pod))["info"]["pid"])


def test_containers_of_a_pod_share_its_namespaces(cri: Cri) -> None:
    with cri.pod() as pod:
        one, two = pod.start(FOREVER), pod.start(FOREVER)
        pids = [pause_pid(cri, pod.id), one.pid, two.pid]
        for name in ("net", "ipc", "uts"):
            assert len({namespace(cri, pid, name) for pid in pids}) == 1, name
        for name in ("pid", "mnt"):
            assert len({namespace(cri, pid, name) for pid in pids}) == 3, name
        assert one.exec("hostname").stdout.strip() == pod.name
        assert one.exec("cat", "/proc/1/comm").stdout.strip() == "sleep"


def test_processes_of_a_pod_in_one_namespace(cri: Cri) -> None:
    """shareProcessNamespace: the pause process is everybody's PID 1."""
    with cri.pod({"pid": POD}) as pod:
        one, two = pod.start(["sleep", "1001"]), pod.start(["sleep", "1002"])
        assert namespace(cri, one.pid, "pid") == namespace(cri, pause_pid(cri, pod.id), "pid")
        seen = two.exec("ps", "-o", "pid,args").stdout
        assert ["1", "sleep", "1000000"] in [line.split() for line in seen.splitlines()]
        assert "sleep 1001" in seen and "sleep 1002" in seen
        cri.out("stop", one.id)
        assert "sleep 1001" not in two.exec("ps", "-o", "args").stdout


def test_the_node_s_namespaces(cri: Cri) -> None:
    """hostNetwork, hostPID, hostIPC."""
    with cri.pod({"network": NODE, "pid": NODE, "ipc": NODE}) as pod:
        box = pod.start(FOREVER)
        for name in ("net", "pid", "ipc", "uts"):
            assert namespace(cri, box.pid, name) == namespace(cri, 1, name), name
        assert namespace(cri, box.pid, "mnt") != namespace(cri, 1, "mnt")


def test_pods_reach_each_other(cri: Cri) -> None:
    with cri.pod() as server, cri.pod() as client:
        server.start(["sh", "-c", SERVE])
        visitor = client.start(FOREVER)
        address = server.address()
        assert address and address != client.address()
        said = wait_for("an answer", lambda: visitor.exec("sh", "-c", fetch(address, 80)).stdout)
        assert f"hello from {server.name}" in said


@pytest.mark.parametrize("expected", [0, 3])
def test_the_exit_status_is_kept(cri: Cri, expected: int) -> None:
    with cri.pod() as pod:
        box = pod.start(["sh", "-c", f"echo out; echo err >&2; exit {expected}"])
        assert box.wait() == expected
        assert box.log().split() == ["out", "err"]
        assert box.status()["status"]["reason"] == ("Completed" if expected == 0 else "Error")


def test_probes(cri: Cri) -> None:
    """ExecSync: status, output, and a time limit after which the process is gone."""
    with cri.pod() as pod:
        box = pod.start(FOREVER)
        done = box.exec("sh", "-c", "echo fine; echo bad >&2")
        assert (done.returncode, done.stdout.split()) == (0, ["fine", "bad"])
        assert "exited with 9" in box.exec("sh", "-c", "exit 9").stderr
        lost = box.exec("no-such-command")
        assert lost.returncode != 0 and "no-such-command" in lost.stderr
        late = cri("exec", "-s", "--timeout", "1", box.id, "sleep", "777")
        assert late.returncode != 0 and "timeout" in late.stderr
        wait_for("its end", lambda: "sleep 777" not in box.exec("ps", "-o", "args").stdout)


def test_exec_with_a_terminal(cri: Cri) -> None:
    """By the streaming server, as `kubectl exec -it`."""
    with cri.pod() as pod:
        box = pod.start(FOREVER)
        argv = cri.sandbox.argv(cri.argv("exec", "-i", "-t", box.id, "sh"))
        with Terminal(argv, cri.sandbox.env) as tty:
            tty.press("tty; until test \"$(stty size)\" = '33 99'; do sleep 0.1; done; echo sized-$((1 + 1))\n")
            assert "/dev/pts/" in tty.expect("sized-2")
            tty.press("exit 4\n")
            assert tty.end() != 0


def test_a_command_that_cannot_be_run(cri: Cri) -> None:
    with cri.pod() as pod:
        lost = pod.create(["no-such-command"])
        done = cri("start", lost)
        assert done.returncode != 0 and "no-such-command" in done.stderr
        described = json.loads(cri.out("inspect", lost))["status"]
        assert (described["state"], described["reason"]) == ("CONTAINER_EXITED", "StartError")
        assert described["exitCode"] == 128


def test_limits_and_their_update(cri: Cri) -> None:
    limits = {
        "memory_limit_in_bytes": 64 << 20,
        "cpu_period": 100000,
        "cpu_quota": 20000,
        "cpu_shares": 512,
        "oom_score_adj": 900,
    }
    with cri.pod() as pod:
        box = pod.start(FOREVER, resources=limits)
        assert box.cgroup_file("memory/memory.limit_in_bytes", "memory.max") == str(64 << 20)
        assert box.cgroup_file("cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "20000"
        assert f"/cri/{pod.name}/" in cri.sandbox.run("cat", f"/proc/{box.pid}/cgroup", check=True).stdout
        assert cri.sandbox.run("cat", f"/proc/{box.pid}/oom_score_adj", check=True).stdout.strip() == "900"
        cri.out("update", "--memory", str(128 << 20), "--cpu-quota", "30000", box.id)
        assert box.cgroup_file("memory/memory.limit_in_bytes", "memory.max") == str(128 << 20)
        assert box.cgroup_file("cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "30000"
        used = json.loads(cri.out("stats", "-o", "json", "--id", box.id))["stats"][0]
        assert int(used["memory"]["workingSetBytes"]["value"]) > 0
        assert int(used["cpu"]["usageCoreNanoSeconds"]["value"]) > 0


def test_too_much_memory_is_reported(cri: Cri) -> None:
    with cri.pod() as pod:
        box = pod.start(["sh", "-c", "tail /dev/zero"], resources={"memory_limit_in_bytes": 32 << 20})
        assert box.wait() != 0
        wait_for("OOMKilled", lambda: box.status()["status"]["reason"] == "OOMKilled")


def test_what_a_restricted_pod_sets(cri: Cri) -> None:
    """The security context that the strictest of a cluster's profiles asks for."""
    security = {
        "run_as_user": {"value": 1000},
        "run_as_group": {"value": 1000},
        "supplemental_groups": [2000, 2001],
        "readonly_rootfs": True,
        "no_new_privs": True,
        "capabilities": {"drop_capabilities": ["ALL"]},
        "seccomp": {"profile_type": 0},
    }
    with cri.pod() as pod:
        script = "id -u; id -g; id -G; touch /x 2>&1 | grep -c Read-only; exec cat /proc/self/status"
        lines = pod.sh(script, security).split("\n")
        assert lines[:2] == ["1000", "1000"]
        assert set(lines[2].split()) == {"1000", "2000", "2001", "29"}, "29 is the image's for this user"
        assert lines[3] == "1"
        text = "\n".join(lines[4:])
        assert (status_in(text)["NoNewPrivs"], status_in(text)["Seccomp"]) == ("1", "2")
        assert set(caps(text).values()) == {0}


def test_capabilities_added_and_dropped(cri: Cri) -> None:
    security = {"capabilities": {"add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["CHOWN"]}}
    with cri.pod() as pod:
        held = caps(pod.sh("exec cat /proc/self/status", security))["CapEff"]
        assert held & 1 << NET_ADMIN and held & 1 << KILL and not held & 1 << CHOWN


def test_a_privileged_container(cri: Cri) -> None:
    with cri.pod(security_context={"privileged": True}) as pod:
        text = pod.sh(
            "test -c /dev/kmsg && echo kmsg; grep -c ' /sys sysfs rw' /proc/mounts; exec cat /proc/self/status",
            {"privileged": True, "seccomp": {"profile_type": 1}},
        )
        lines = text.split("\n")
        assert lines[:2] == ["kmsg", "1"]
        assert status_in("\n".join(lines[2:]))["Seccomp"] == "0"
        assert caps("\n".join(lines[2:]))["CapEff"] & 1 << SYS_ADMIN


def test_masked_and_read_only_paths(cri: Cri) -> None:
    """A kubelet names them; they are hidden, or refuse to be written."""
    security = {"masked_paths": ["/proc/timer_list", "/proc/no-such"], "readonly_paths": ["/proc/sys"]}
    with cri.pod() as pod:
        script = "wc -c </proc/timer_list; sh -c 'echo 1 >/proc/sys/kernel/panic' 2>&1"
        lines = pod.sh(f"{script}; grep -c ' /sys sysfs ro' /proc/mounts", security).split("\n")
        assert lines[0] == "0" and "Read-only file system" in lines[1] and lines[2:] == ["1"]


def test_sysctls_of_the_pod(cri: Cri) -> None:
    with cri.pod(sysctls={"net.ipv4.ip_unprivileged_port_start": "80", "kernel.shm_rmid_forced": "1"}) as pod:
        script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced"
        assert pod.sh(script).split() == ["80", "1"]


def test_volumes(cri: Cri) -> None:
    """A folder of the node, writable and not, and what is mounted below it later, there or in the container."""
    folder = cri.sandbox.folder(f"cri/volumes/{new_id()}")
    for name in ("plain", "down", "both"):
        (folder / name).mkdir()
    (folder / "plain/file").write_text("of the node\n")
    cri.sandbox.run("mount", "--bind", folder, folder, check=True)
    cri.sandbox.run("mount", "--make-shared", folder, check=True)

    def mount(name: str, path: str, propagation: int = 0, readonly: bool = False) -> dict[str, object]:
        shown = {"container_path": path, "host_path": str(folder / name), "readonly": readonly}
        return shown | {"propagation": propagation}

    mounts = [mount("plain", "/rw"), mount("plain", "/ro", readonly=True), mount("down", "/down", 1)]
    with cri.pod(security_context={"privileged": True}) as pod:
        box = pod.start(FOREVER, {"privileged": True}, mounts=[*mounts, mount("both", "/both", 2)])
        assert box.exec("cat", "/rw/file", "/ro/file").stdout.count("of the node") == 2
        assert box.exec("sh", "-c", "echo new >/rw/other; echo no >/ro/other").returncode != 0
        assert (folder / "plain/other").read_text() == "new\n"
        cri.sandbox.run("mkdir", folder / "down/late", check=True)
        cri.sandbox.run("mount", "-t", "tmpfs", "tmpfs", folder / "down/late", check=True)
        assert " /down/late tmpfs " in box.exec("cat", "/proc/mounts").stdout
        assert box.exec("sh", "-c", "mkdir /both/own && mount -t tmpfs tmpfs /both/own").returncode == 0
        assert str(folder / "both/own") in cri.sandbox.mounts()
        box.exec("umount", "/both/own")
        wait_for("its end", lambda: str(folder / "both/own") not in cri.sandbox.mounts())
    cri.sandbox.run("umount", "-R", folder, check=True)


def test_a_device(cri: Cri) -> None:
    device = {"container_path": "/dev/mine", "host_path": "/dev/kmsg", "permissions": "w"}
    with cri.pod() as pod:
        said = pod.sh(": >/dev/mine && echo opened; sh -c ': </dev/mine' 2>&1 || true", devices=[device])
        assert said.startswith("opened\n") and "Operation not permitted" in said


def test_the_end_of_a_container(cri: Cri) -> None:
    """A grace period that is used, and one that is not enough."""
    with cri.pod() as pod:
        polite = pod.start(["sh", "-c", "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.1; done"])
        polite.says("ready")
        cri.out("stop", "--timeout", "60", polite.id)
        assert polite.wait() == 7 and "bye" in polite.log()
        deaf = pod.start(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"])
        deaf.says("ready")
        cri.out("stop", "--timeout", "1", deaf.id)
        assert deaf.wait() == 137


def test_nothing_is_left(cri: Cri, runtime: Path) -> None:
    """Many pods at once, stopped with their containers running: no state, cgroup, mount or process of theirs stays."""
    before = set(cri.sandbox.processes())
    mounts = set(cri.sandbox.mounts())
    names = []
    with cri.pod() as one, cri.pod() as two, cri.pod() as three, cri.pod() as four:
        for pod in (one, two, three, four):
            pod.start(FOREVER)
            pod.start(["sh", "-c", "sleep 999 & exec sleep 998"])
            names.append(pod.name)
    wait_for("the end of the shims", lambda: set(cri.sandbox.processes()) <= before)
    assert set(cri.sandbox.mounts()) <= mounts
    left = [path for path in cri.sandbox.cgroups() for name in names if name in path.parts and path.name != name]
    assert not left
    state = cri.sandbox.run("find", "/run/containerd/runc/k8s.io", "-mindepth", "1", "-maxdepth", "1").stdout.split()
    assert [path for path in state if not Path(path).name.startswith("@")] == []
