"""SELinux labels, in a boot of their own: a kernel runs SELinux or AppArmor. The policy is permissive, labels are real.

process.selinuxLabel, linux.mountLabel and exec --process-label as the host sees them: in /proc/PID/attr, in the mount
table, and in the security.selinux attribute of files.
"""

import json
import os
from pathlib import Path

import pytest

from tests.support.processes import command
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, one_line

from .support import cgroup, read

LABEL = "system_u:system_r:container_t:s0:c1,c2"
OTHER = "system_u:system_r:container_t:s0:c7,c9"
FILES = "system_u:object_r:container_file_t:s0:c1,c2"
#: No such type, not so many fields, nothing at all.
WRONG = ("system_u:system_r:no_such_t:s0", "nonsense", "system_u:system_r:container_t:s0:c1,c99999", " ")


def current(pid: int) -> str:
    """The label of a process."""
    return Path(f"/proc/{pid}/attr/current").read_text().strip("\0\n")


def label(box: Bundle, path: str) -> str:
    """The label of a file of the container."""
    return os.getxattr(f"/proc/{box.pid()}/root{path}", "security.selinux").decode().strip("\0")


def super_options(box: Bundle) -> dict[str, str]:
    """The options of each file system that the container has mounted, by its place."""
    lines = Path(f"/proc/{box.pid()}/mountinfo").read_text().splitlines()
    return {line.split()[4]: line.rpartition(" ")[2] for line in lines}


def labelled(box: Bundle) -> None:
    box.config["process"]["selinuxLabel"] = LABEL
    box.config["linux"]["mountLabel"] = FILES


def test_the_kernel_has_it() -> None:
    assert Path("/sys/fs/selinux/enforce").read_text() == "0"
    found = json.loads(command("/usr/local/bin/pyrunc", "features"))
    assert found["linux"]["selinux"] == {"enabled": True}


def test_a_process_is_labelled(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.config["process"]["selinuxLabel"] = LABEL
    box.create().ok()
    # Its program is what has the label; until then the process is the runtime's.
    assert current(box.pid()) != LABEL
    box.start().ok()
    assert current(box.pid()) == LABEL
    # As its child sees it, and an exec that says nothing else.
    assert box.exec("cat", "/proc/self/attr/current").ok().stdout.strip("\0\n") == LABEL
    box.delete("--force").ok()


def test_a_process_without_a_label_has_the_runtime_s(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.run("--detach").ok()
    assert current(box.pid()) == current(os.getpid())
    box.delete("--force").ok()


def test_exec_with_another_label(bundle: MakeBundle, tmp_path: Path) -> None:
    box = bundle("sleep", "1000")
    box.config["process"]["selinuxLabel"] = LABEL
    box.run("--detach").ok()
    box.exec("--detach", "--process-label", OTHER, "sleep", "1000").ok()
    wait_until(lambda: len(read(cgroup(box), "cgroup.procs").split()) == 2, "the exec is in the container")
    (other,) = {int(line) for line in read(cgroup(box), "cgroup.procs").split()} - {box.pid()}
    wait_until(lambda: current(other) == OTHER, "the exec has its label")
    assert current(box.pid()) == LABEL
    # The whole process of a file.
    file = tmp_path / "process.json"
    process = {**box.config["process"], "args": ["cat", "/proc/self/attr/current"], "selinuxLabel": OTHER}
    file.write_text(json.dumps(process))
    assert box.call("exec", "--process", file, box.id).ok().stdout.strip("\0\n") == OTHER
    # It is a child of this process now, which has to bury it before the container can end.
    os.kill(other, 9)
    os.waitpid(other, 0)
    box.delete("--force").ok()


def test_the_keyring_is_labelled(bundle: MakeBundle) -> None:
    """An enforcing kernel would not let the program search a keyring with the runtime's label."""
    script = "import ctypes; text = ctypes.create_string_buffer(256); "
    # keyctl(KEYCTL_GET_SECURITY, KEY_SPEC_SESSION_KEYRING, ...)
    script += "ctypes.CDLL(None).syscall(250, 17, -3, text, 256); print(text.value.decode())"
    box = bundle("/usr/bin/python3", "-c", script)
    for path in ("/usr", "/lib", "/lib64"):
        box.config["mounts"].append({"destination": path, "source": path, "options": ["rbind", "ro"]})
    box.config["process"]["selinuxLabel"] = LABEL
    assert box.run().ok().stdout == LABEL + "\n"


def test_mounts_are_labelled(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "echo >/dev/shm/file; echo >/tmp/file; echo >/over/file; sleep 1000")
    labelled(box)
    (box.rootfs / "masked").mkdir()
    box.config["linux"]["maskedPaths"].append("/masked")
    layers = [box.path / name for name in ("lower", "upper", "work")]
    for layer in layers:
        layer.mkdir()
    layered = [f"{name}={layer}" for name, layer in zip(("lowerdir", "upperdir", "workdir"), layers, strict=True)]
    box.config["mounts"] += [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
        {"destination": "/read-only", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
        {"destination": "/over", "type": "overlay", "source": "overlay", "options": layered},
    ]
    (box.rootfs / "tmp/copied").write_text("")
    own = os.getxattr(box.rootfs / "tmp/copied", "security.selinux")
    box.run("--detach").ok()
    wait_until(lambda: Path(f"/proc/{box.pid()}/root/over/file").exists(), "the files are made")
    options = super_options(box)
    for place in ("/dev", "/dev/pts", "/dev/shm", "/tmp", "/read-only", "/over", "/masked"):
        assert f'context="{FILES}"' in options[place], (place, options)
        assert label(box, place) == FILES
    for file in ("/dev/null", "/dev/shm/file", "/tmp/file", "/tmp/copied", "/over/file", "/dev/mqueue"):
        assert label(box, file) == FILES, file
    # These the kernel labels by itself, and the root is the bundle's.
    for place in ("/proc", "/sys", "/sys/fs/cgroup", "/"):
        assert "container_file_t" not in options[place] and "container_file_t" not in label(box, place)
    assert os.getxattr(box.rootfs / "tmp/copied", "security.selinux") == own
    box.delete("--force").ok()


def test_in_a_user_namespace(bundle: MakeBundle) -> None:
    """The kernel takes a context for few file systems there, the message queues not among them."""
    box = bundle("sh", "-c", "echo >/dev/shm/file; sleep 1000")
    labelled(box)
    box.config["linux"]["namespaces"].append({"type": "user"})
    for key in ("uidMappings", "gidMappings"):
        box.config["linux"][key] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    os.chmod(box.place.path, 0o711)
    box.run("--detach").ok()
    wait_until(lambda: Path(f"/proc/{box.pid()}/root/dev/shm/file").exists(), "the file is made")
    assert current(box.pid()) == LABEL
    assert label(box, "/dev/shm/file") == FILES
    assert f'context="{FILES}"' in super_options(box)["/dev/pts"]
    box.delete("--force").ok()


def test_the_mount_of_an_option_that_the_old_call_takes(bundle: MakeBundle) -> None:
    """iversion is only in mount(2), where commas part the options: the label has one."""
    box = bundle("sleep", "1000")
    labelled(box)
    box.config["mounts"].append(
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["iversion", "size=1m"]}
    )
    box.run("--detach").ok()
    assert f'context="{FILES}"' in super_options(box)["/tmp"] and "size=1024k" in super_options(box)["/tmp"]
    box.delete("--force").ok()


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_label(wrong: str, bundle: MakeBundle) -> None:
    """One line that names it, and nothing left."""
    box = bundle("sleep", "1000")
    for part, key in (("process", "selinuxLabel"), ("linux", "mountLabel")):
        box.config[part][key] = wrong
        said = one_line(box.create(), 1)
        assert wrong in said and f"/{part}/{key}" in said, said
        assert not cgroup(box).exists() and box.call("state", box.id).returncode == 1
        box.config[part][key] = ""
    box.config["process"]["selinuxLabel"] = LABEL
    box.run("--detach").ok()
    done = box.exec("--process-label", wrong, "true")
    assert done.returncode == 255 and done.stderr.count("\n") == 1 and wrong in done.stderr, done
    assert read(cgroup(box), "cgroup.procs").split() == [str(box.pid())]
    box.delete("--force").ok()
