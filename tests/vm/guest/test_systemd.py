"""--systemd-cgroup: a scope around each container, which systemd knows and does not undo."""

import os
import subprocess
import time

import pytest

from tests.support.processes import command
from tests.support.waiting import wait_until
from tests.support.workplace import MakeBundle, Result, one_line

from .support import DISK, RESULTS, TOP, limit, properties, put_in_scope, read, run, scopes, unit


def test_a_scope_and_what_it_knows(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    folder = put_in_scope(box)
    limit(
        box,
        memory={"limit": 64 << 20, "swap": 96 << 20, "reservation": 16 << 20},
        cpu={"shares": 512, "quota": 25000, "period": 50000, "cpus": "0-1", "mems": "0"},
        pids={"limit": 30},
        unified={"memory.high": "50331648"},
    )
    run(box, "--detach").ok()
    assert read(folder, "cgroup.procs") == str(box.pid())
    known = {
        "ActiveState": "active",
        "Slice": "system.slice",
        "ControlGroup": "/system.slice/" + unit(box),
        "Delegate": "yes",
        "MemoryMax": f"{64 << 20}",
        "MemorySwapMax": f"{32 << 20}",
        "MemoryLow": f"{16 << 20}",
        "CPUWeight": "59",
        "CPUQuotaPerSecUSec": "500ms",
        "AllowedCPUs": "0-1",
        "TasksMax": "30",
        "MemoryAccounting": "yes",
        "IOAccounting": "yes",
    }
    assert properties(unit(box), *known) == known
    written = {"memory.max": f"{64 << 20}", "memory.swap.max": f"{32 << 20}", "cpu.max": "25000 50000",
               "pids.max": "30", "memory.high": "50331648", "cpuset.mems": "0"}  # fmt: skip
    assert {name: read(folder, name) for name in written} == written
    # The process's own view, and an exec beside it.
    assert box.exec("cat", "/proc/self/cgroup").ok().stdout == "0::/\n"
    exec_ = box.place.spawn("exec", box.id, "sleep", "1000")
    wait_until(lambda: len(read(folder, "cgroup.procs").split()) == 2, "the exec is in the scope")
    box.delete("--force").ok()
    exec_.wait(60)
    assert unit(box) not in scopes() and not folder.exists()


def test_update_reaches_systemd_and_the_kernel(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    folder = put_in_scope(box)
    limit(box, memory={"limit": 64 << 20}, pids={"limit": 30})
    run(box, "--detach").ok()
    box.call("update", "--memory=90m", "--cpu-share=1024", "--cpu-quota=30000", "--cpu-period=100000",
             "--pids-limit=40", "--cpuset-cpus=1", box.id).ok()  # fmt: skip
    wanted = {"MemoryMax": f"{90 << 20}", "CPUWeight": "100", "CPUQuotaPerSecUSec": "300ms", "TasksMax": "40",
              "AllowedCPUs": "1"}  # fmt: skip
    written = {"memory.max": f"{90 << 20}", "cpu.weight": "100", "cpu.max": "30000 100000", "pids.max": "40",
               "cpuset.cpus": "1"}  # fmt: skip
    assert properties(unit(box), *wanted) == wanted
    assert {name: read(folder, name) for name in written} == written
    # What systemd writes again is what was asked for last.
    command("systemctl", "daemon-reload")
    command("systemctl", "set-property", "--runtime", unit(box), "Description=again")
    assert {name: read(folder, name) for name in written} == written
    box.delete("--force").ok()


def test_devices_survive_a_reload(bundle: MakeBundle) -> None:
    """runc #3708: after daemon-reload, containers lost the devices that they had been given."""
    major, minor = os.major(DISK.stat().st_rdev), os.minor(DISK.stat().st_rdev)
    box = bundle("sleep", "1000")
    folder = put_in_scope(box)
    box.config["linux"]["devices"] = [
        {"path": "/dev/given", "type": "b", "major": major, "minor": minor},
        {"path": "/dev/kept", "type": "c", "major": 1, "minor": 11},
    ]
    rule = {"allow": True, "type": "b", "major": major, "minor": minor, "access": "rw"}
    limit(box, devices=[{"allow": False, "access": "rwm"}, rule])
    run(box, "--detach").ok()

    def verdicts() -> list[int]:
        script = "dd if=/dev/given of=/dev/null count=1; echo $?; dd if=/dev/kept of=/dev/null count=1; echo $?"
        return [int(word) for word in box.exec("sh", "-c", script).ok().stdout.split()]

    before = command("bpftool", "cgroup", "list", str(folder))
    assert "cgroup_device" in before and "pyrunc_devices" in before and "multi" in before
    assert verdicts() == [0, 1]
    command("systemctl", "daemon-reload")
    # systemd writes a unit's settings again when one of them is changed.
    command("systemctl", "set-property", "--runtime", unit(box), "TasksMax=50")
    assert "pyrunc_devices" in command("bpftool", "cgroup", "list", str(folder))
    assert verdicts() == [0, 1]
    box.delete("--force").ok()


def test_annotations_are_properties(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    put_in_scope(box)
    box.config.setdefault("annotations", {}).update(
        {
            "org.systemd.property.TimeoutStopSec": "uint64 7",
            "org.systemd.property.CollectMode": "'inactive'",
            "org.systemd.property.MemoryHigh": "uint64 41943040",
        }
    )
    run(box, "--detach").ok()
    wanted = {"TimeoutStopUSec": "7s", "CollectMode": "inactive", "MemoryHigh": "41943040"}
    assert properties(unit(box), *wanted) == wanted
    box.delete("--force").ok()


BAD_ANNOTATIONS = {
    "code": ("org.systemd.property.Documentation", "__import__('os').system('id')"),
    "no end": ("org.systemd.property.Documentation", "'open"),
    "the runtime's own": ("org.systemd.property.Description", "'of the annotation'"),
    "no name": ("org.systemd.property.A b", "true"),
    "too big": ("org.systemd.property.TimeoutStopSec", "uint64 99999999999999999999"),
    "unknown to systemd": ("org.systemd.property.Nonsense", "true"),
    "wrong type": ("org.systemd.property.MemoryMax", "'much'"),
}


def test_bad_annotations(bundle: MakeBundle) -> None:
    box = bundle()
    folder = put_in_scope(box)
    for name, (key, text) in BAD_ANNOTATIONS.items():
        box.config["annotations"] = {key: text}
        one_line(run(box), 1)
        assert not folder.exists(), name


def test_slices_within_slices(bundle: MakeBundle) -> None:
    box = bundle("cat", "/proc/self/cgroup")
    box.config["linux"]["namespaces"] = [
        entry for entry in box.config["linux"]["namespaces"] if entry["type"] != "cgroup"
    ]
    folder = put_in_scope(box, "pyrunctest-inner.slice")
    assert run(box).ok().stdout == "0::/" + str(folder.relative_to(TOP)) + "\n"
    assert not folder.exists()
    command("systemctl", "stop", "pyrunctest.slice")


def test_bad_places(bundle: MakeBundle) -> None:
    box = bundle()
    for path in ("/absolute", "a:b", "a/b.slice:x:y", "no-suffix:x:y", "-.slice:../x:y", "a--b.slice:x:y"):
        box.config["linux"]["cgroupsPath"] = path
        assert "/linux/cgroupsPath" in one_line(run(box), 1), path


def test_a_scope_of_that_name_is_left_alone(bundle: MakeBundle) -> None:
    box = bundle()
    put_in_scope(box)
    other = subprocess.Popen(["systemd-run", "--scope", "--quiet", f"--unit={unit(box)}", "sleep", "1000"])
    try:
        wait_until(lambda: unit(box) in scopes(), "the other's scope")
        one_line(run(box), 1)
        assert properties(unit(box), "ActiveState") == {"ActiveState": "active"}
        assert other.poll() is None
    finally:
        command("systemctl", "stop", unit(box))
        other.wait()


def test_it_ends_by_itself(bundle: MakeBundle) -> None:
    """The last process gone, systemd drops the scope; delete finds nothing to do, and a failed exit leaves no unit."""
    box = bundle("sh", "-c", "exit 3")
    folder = put_in_scope(box)
    run(box, "--detach").ok()
    box.wait_for("stopped")
    wait_until(lambda: not folder.exists(), "systemd has taken the cgroup back")
    box.delete().ok()
    assert unit(box) not in scopes()


def test_a_unit_that_has_failed(bundle: MakeBundle) -> None:
    """Where the config has it so it stays known by its name, without a cgroup, until delete."""
    box = bundle("sleep", "1000")
    folder = put_in_scope(box)
    # Time enough for run; then sleep, which does not heed SIGTERM, is killed.
    values = {"RuntimeMaxUSec": "uint64 20000000", "TimeoutStopUSec": "uint64 1000000", "CollectMode": "'inactive'"}
    box.config["annotations"] = {f"org.systemd.property.{name}": value for name, value in values.items()}
    run(box, "--detach").ok()
    box.wait_for("stopped")
    wait_until(lambda: not folder.exists(), "systemd has taken the cgroup back")
    wait_until(lambda: unit(box) in scopes("--failed"), "the unit has failed")
    box.delete().ok()
    assert unit(box) not in scopes("--failed")


@pytest.mark.parametrize("what", ["gone", "silent"])
def test_without_dbus(what: str, bundle: MakeBundle) -> None:
    """An error after a bounded wait, and nothing left."""
    box = bundle()
    folder = put_in_scope(box)
    box.save()
    hide = "server=; mount -t tmpfs none /run/dbus"
    if what == "silent":
        server = "import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('/run/dbus/system_bus_socket'); "
        server += "s.listen(9); time.sleep(100)"
        hide += f'; python3 -c "{server}" >/dev/null 2>&1 & server=$!; sleep 2'
    call = f"{box.place.runtime} --root {box.place.root} --systemd-cgroup run --bundle {box.path} {box.id}"
    script = f"{hide}; {call}; status=$?; [ -z $server ] || kill $server; exit $status"
    began = time.monotonic()
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=100, check=False
    )
    assert time.monotonic() - began < 60
    assert "D-Bus" in one_line(Result([], done.returncode, done.stdout, done.stderr), 1)
    assert not folder.exists()


def test_what_ended_by_itself_is_deleted_without_dbus(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    folder = put_in_scope(box)
    run(box, "--detach").ok()
    os.kill(box.pid(), 9)
    wait_until(lambda: not folder.exists(), "systemd has taken the cgroup back")
    box.save()
    script = f"mount -t tmpfs none /run/dbus; {box.place.runtime} --root {box.place.root} delete {box.id}"
    command("unshare", "--mount", "sh", "-c", script)


def test_many_leave_nothing(bundle: MakeBundle) -> None:
    """Each in a scope with a device program; test_after_all.py looks at the programs. `make soak` asks for more."""
    count = int(os.environ.get("PYRUNC_MANY", "30"))
    box = bundle("true")
    folder = put_in_scope(box)
    limit(box, devices=[{"allow": False, "access": "rwm"}], memory={"limit": 64 << 20}, pids={"limit": 30})
    began = time.monotonic()
    for _ in range(count):
        run(box).ok()
        assert not folder.exists()
    seconds = time.monotonic() - began
    assert unit(box) not in scopes() | scopes("--failed")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "many.txt").write_text(
        f"{count} containers in scopes of systemd, made and deleted in {seconds:.0f} s; no scope or cgroup left\n"
    )
