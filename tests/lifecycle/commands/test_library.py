"""Containers made by a Python program, through the launcher."""

import json
import os
from pathlib import Path

import pytest

import pyrunc
from tests.support import TOP
from tests.support.workplace import Bundle, MakeBundle


def runtime_of(box: Bundle) -> pyrunc.Runtime:
    return pyrunc.Runtime(program=box.place.runtime, root=box.place.root)


def test_a_life(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    runtime = runtime_of(box)
    container = runtime.create(box.id, box.save())
    assert container.status() == "created"
    runtime.start(box.id)
    assert container.status() == "running"
    assert os.readlink(f"/proc/{container.pid}/exe").endswith("/busybox")
    assert [one.id for one in runtime.store.list()] == [box.id]
    done = runtime.exec(
        box.id, ["sh", "-c", 'read x; echo "$x $Y"; exit 3'], env={"Y": "y"}, input=b"x\n", capture_output=True
    )
    assert (done.returncode, done.stdout) == (3, b"x y\n")
    process: pyrunc.Process = {"args": ["/bin/id", "-u"], "cwd": "/", "user": {"uid": 7, "gid": 7}}
    assert runtime.exec(box.id, process, capture_output=True).stdout == b"7\n"
    runtime.pause(box.id)
    assert container.status() == "paused"
    runtime.resume(box.id)
    runtime.update(box.id, {"pids": {"limit": 33}})
    assert Path(box.cgroup_dir("pids"), "pids.max").read_text() == "33\n"
    runtime.kill(box.id, "KILL")
    box.wait_for("stopped")
    runtime.delete(box.id)
    assert runtime.store.list() == []


def test_run(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "cat; exit 4")
    done = runtime_of(box).run(box.id, box.save(), input=b"through\n", capture_output=True)
    assert (done.returncode, done.stdout) == (4, b"through\n")


def test_a_memory_limit_that_ends_it(bundle: MakeBundle) -> None:
    """The launcher says so, and still passes the status on: no exception."""
    box = bundle("sh", "-c", "x=x; while :; do x=$x$x; done")
    box.config["linux"]["resources"] = {"memory": {"limit": 8 << 20, "swap": 8 << 20}}
    done = runtime_of(box).run(box.id, box.save(), capture_output=True)
    assert done.returncode == 137
    assert b"memory limit" in done.stderr


def test_an_error_says_which_property(bundle: MakeBundle, capfd: pytest.CaptureFixture[str]) -> None:
    box = bundle("true")
    box.config["mounts"].append({"destination": "/data", "source": "/nonexistent", "type": "bind", "options": ["bind"]})
    runtime = runtime_of(box)
    with pytest.raises(pyrunc.PyruncError) as caught:
        runtime.create(box.id, box.save())
    assert caught.value.pointer == f"/mounts/{len(box.config['mounts']) - 1}/source"
    assert caught.value.step == "mount"
    assert "/nonexistent" in caught.value.message
    # The same that a person reads.
    assert capfd.readouterr().err.strip() == caught.value.line()
    with pytest.raises(pyrunc.PyruncError, match="does not exist"):
        runtime.start(box.id)
    with pytest.raises(pyrunc.PyruncError, match="does not exist"):
        runtime.exec(box.id, ["true"])
    runtime.delete(box.id, force=True)


def test_images_that_are_not_there(bundle: MakeBundle, tmp_path: Path) -> None:
    box = bundle("true")
    runtime = runtime_of(box)
    with pytest.raises(pyrunc.PyruncError, match=r"/nothing: no such file or directory"):
        runtime.restore(box.id, box.save(), tmp_path / "nothing")
    with pytest.raises(pyrunc.PyruncError, match="does not exist"):
        runtime.checkpoint(box.id, tmp_path / "images")


def test_the_example_of_the_documentation(bundle: MakeBundle) -> None:
    """docs/library.md: its code, on a bundle of this test."""
    text = (TOP / "docs/library.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    box = bundle("sh", "-c", "sleep 1000")
    runtime = runtime_of(box)
    names = {"bundle": str(box.save()), "runtime": runtime, "name": box.id}
    exec(compile(code, "docs/library.md", "exec"), names)
    assert json.loads(json.dumps(names["uid"])) == 0


def test_what_the_kernel_has(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.config["linux"]["resources"]["pids"] = {"limit": 50}
    runtime = runtime_of(box)
    runtime.run(box.id, box.save(), detach=True)
    found = runtime.inspect(box.id, ["read"])
    assert (found.id, found.status, found.differences) == (box.id, "running", [])
    assert found.syscalls[0].verdicts == [{"action": "SCMP_ACT_ALLOW"}]
    Path(box.cgroup_dir("pids"), "pids.max").write_text("40")
    (one,) = runtime.inspect(box.id).differences
    assert (one.pointer, one.requested, one.effective, one.usage) == ("/linux/resources/pids/limit", "50", "40", 1)
    runtime.delete(box.id, force=True)
    with pytest.raises(pyrunc.PyruncError, match="container does not exist"):
        runtime.inspect(box.id)
