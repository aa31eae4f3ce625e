"""crun's annotations, which reach the host: heeded where the caller says that whoever sets them may have hooks."""

import subprocess
from pathlib import Path

import pytest

from tests.support.descriptors import receiver
from tests.support.workplace import Bundle, MakeBundle

SWITCH = ("--trust-annotations",)


def write_by_hooks(box: Bundle) -> None:
    for kind in ("createRuntime", "createContainer", "poststart", "poststop"):
        call = ["sh", "-c", f"echo {kind}; echo error of {kind} >&2"]
        box.config.setdefault("hooks", {})[kind] = [{"path": "/bin/sh", "args": call}]


def test_none_is_heeded_without_the_switch(bundle: MakeBundle, tmp_path: Path) -> None:
    """No file is made or appended to, nobody is connected to, no group is kept; what is left out is told."""
    box = bundle("sh", "-c", "grep Groups /proc/self/status; sleep 1000")
    write_by_hooks(box)
    there = tmp_path / "there"
    there.write_text("before\n")
    with receiver(tmp_path / "socket") as socket:
        socket.socket.settimeout(0.1)
        box.config["annotations"] = {
            "run.oci.hooks.stdout": str(there),
            "run.oci.hooks.stderr": str(tmp_path / "new"),
            "run.oci.pidfd_receiver": str(socket.path),
            "run.oci.keep_original_groups": "1",
        }
        argv = ["setpriv", "--groups", "1234,0", str(box.place.runtime), "--root", str(box.place.root)]
        argv += ["run", "--detach", "--bundle", str(box.save()), box.id]
        with (box.path / "stdout").open("w") as out, (box.path / "stderr").open("w") as err:
            subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        with pytest.raises(TimeoutError):
            socket.take()
    for name in box.config["annotations"]:
        assert f"annotation {name} is not heeded without --trust-annotations" in box.errors()
    assert box.exec("grep", "Groups", "/proc/self/status").ok().stdout.split() == ["Groups:"]
    box.delete("--force").ok()
    assert box.output().split() == ["Groups:"]
    assert there.read_text() == "before\n" and not (tmp_path / "new").exists()


def test_the_switch_holds_for_all_of_the_container_s_life(bundle: MakeBundle, tmp_path: Path) -> None:
    """It is create's: whoever starts and deletes need not know."""
    box = bundle("sleep", "1000")
    write_by_hooks(box)
    box.config["annotations"] = {"run.oci.hooks.stdout": str(tmp_path / "out")}
    argv = ("create", "--bundle", box.save(), box.id)
    box.place.call(*argv, flags=SWITCH, stdout=box.path / "stdout", stderr=box.path / "stderr").ok()
    box.start().ok()
    box.delete("--force").ok()
    assert (tmp_path / "out").read_text().split() == ["createRuntime", "createContainer", "poststart", "poststop"]
