"""Resource limits given to podman and docker, as the kernel has them."""

from pathlib import Path

from . import images
from .engines import Engine


def test_memory_and_cpus(engine: Engine) -> None:
    with engine.container("exec sleep 1000", "--memory", "64m", "--cpus", "0.2") as box:
        assert box.cgroup_file("memory/memory.limit_in_bytes", "memory.max") == str(64 << 20)
        v2 = "cpu.max"
        assert box.cgroup_file("cpu/cpu.cfs_quota_us", v2) in ("20000", "20000 100000")
        assert box.cgroup_file("cpu/cpu.cfs_period_us", v2) in ("100000", "20000 100000")
        found = box.inspect()["State"].get("CgroupPath", engine.sandbox.cgroup)
        assert found.startswith(engine.sandbox.cgroup)


def test_other_limits(engine: Engine) -> None:
    options = ["--pids-limit", "40", "--cpuset-cpus", "0", "--cpu-shares", "512", "--memory-reservation", "32m"]
    with engine.container("exec sleep 1000", *options) as box:
        assert box.cgroup_file("pids/pids.max", "pids.max") == "40"
        assert box.cgroup_file("cpuset/cpuset.cpus", "cpuset.cpus") == "0"
        assert box.cgroup_file("cpu/cpu.shares", "cpu.weight") in ("512", "20", "59")
        assert box.cgroup_file("memory/memory.soft_limit_in_bytes", "memory.low") == str(32 << 20)
        assert box.exec("nproc").stdout.strip() == "1"


def test_the_pids_limit_holds(engine: Engine) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done"
    done = engine("run", "--rm", "--pids-limit", "5", images.NAME, "sh", "-c", script)
    assert done.returncode == 2, done
    assert "can't fork" in done.stderr


def test_update(engine: Engine) -> None:
    with engine.container("exec sleep 1000", "--memory", "64m", "--cpus", "0.2") as box:
        engine.out("update", "--memory", "128m", "--memory-swap", "128m", "--cpus", "0.5", box.name)
        assert box.cgroup_file("memory/memory.limit_in_bytes", "memory.max") == str(128 << 20)
        assert box.cgroup_file("cpu/cpu.cfs_quota_us", "cpu.max") in ("50000", "50000 100000")
        engine.out("update", "--memory", "96m", "--memory-swap", "96m", box.name)
        assert box.cgroup_file("memory/memory.limit_in_bytes", "memory.max") == str(96 << 20)
        assert box.cgroup_file("cpu/cpu.cfs_quota_us", "cpu.max") in ("50000", "50000 100000")
        assert box.exec("true").returncode == 0


def test_a_memory_limit_kills_and_is_reported(engine: Engine) -> None:
    """dd wants a buffer of 200 MB under a limit of 32 MB."""
    command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]
    name = engine.out("create", "--memory", "32m", "--memory-swap", "32m", images.NAME, *command)
    try:
        # conmon puts its note where it was started, podman 4.3 looks for it beside the container's config.json.
        where = Path(engine.out("inspect", "--format", "{{.StaticDir}}", name)) if engine.name == "podman" else None
        done = engine("start", "-a", name, cwd=where)
        assert done.returncode == 137, done
        state = engine.out("inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}", name)
        assert state == "true 137"
    finally:
        engine.remove(name)


def test_a_killed_child_is_not_the_containers_end(engine: Engine) -> None:
    """The first process outlives a child that the memory limit killed."""
    script = "dd if=/dev/zero of=/dev/null bs=200M count=1; echo $?; exit 2"
    done = engine("run", "--rm", "--memory", "32m", "--memory-swap", "32m", images.NAME, "sh", "-c", script)
    assert done.returncode == 2, done
    assert done.stdout.split()[-1] == "137"
