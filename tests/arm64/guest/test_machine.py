"""What is different on arm64: the numbers of system calls in filters, and the config that an engine makes."""

import json
import os
import subprocess
from pathlib import Path

from bench import configs
from tests.support import TOP
from tests.support.workplace import Bundle, MakeBundle


def test_the_machine() -> None:
    assert os.uname().machine == "aarch64"


def test_what_was_built() -> None:
    said = subprocess.run([TOP / "build/pyrunc", "--version"], capture_output=True, text=True, check=True).stdout
    assert "python: " in said
    # e_machine of the ELF header, elf(5).
    assert int.from_bytes((TOP / "build/pyrunc").read_bytes()[18:20], "little") == 183


def test_a_call_is_refused_by_its_number_here(bundle: MakeBundle) -> None:
    """mkdirat is 34 here and 258 on amd64, which has mkdir too; what is 34 there, pause, is no call here."""
    box = bundle("sh", "-c", "mkdir /tmp/a; rmdir /bin; echo $?; echo written >/tmp/b && cat /tmp/b")
    box.config["root"]["readonly"] = False
    box.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 78},
            {"names": ["pause"], "action": "SCMP_ACT_KILL_PROCESS"},
        ],
    }
    done = box.run()
    assert done.stdout == "1\nwritten\n" and done.returncode == 0, done
    assert "can't create directory '/tmp/a': Remote address changed" in done.stderr


def test_a_condition_on_an_argument(bundle: MakeBundle) -> None:
    """clone's flags come first on both; what follows them is in another order here."""
    box = bundle("sh", "-c", "unshare -u true; echo $?; unshare -i true; echo $?")
    box.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {
                "names": ["unshare"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 78,
                "args": [{"index": 0, "value": 0x04000000, "valueTwo": 0x04000000, "op": "SCMP_CMP_MASKED_EQ"}],
            }
        ],
    }
    for field in ("bounding", "effective", "permitted"):
        box.config["process"]["capabilities"].setdefault(field, []).append("CAP_SYS_ADMIN")
    done = box.run()
    assert done.stdout == "1\n0\n", done
    assert "Remote address changed" in done.stderr


def _engine(box: Bundle, *args: str) -> None:
    """The config that podman writes, for that bundle and its cgroup."""
    made = configs.make("engine", list(args), box.path / "engine", Path("unused"))
    box.config = json.loads((made / "config.json").read_text())
    box.config["linux"]["cgroupsPath"] = box.cgroup
    box.config["root"]["path"] = str(made / "rootfs")


def test_the_config_of_an_engine(bundle: MakeBundle) -> None:
    """Twelve mounts, masked paths, capabilities, and a profile that names 437 system calls."""
    box = bundle()
    _engine(box, "/bin/sleep", "1000")
    box.create().ok()
    box.start().ok()
    try:
        _look(box)
    finally:
        box.kill()
        box.wait_for("stopped")
        box.delete().ok()


def _look(box: Bundle) -> None:
    status = dict(line.split(":\t", 1) for line in box.exec("/bin/cat", "/proc/self/status").ok().stdout.splitlines())
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "0")
    assert status["CapEff"] == status["CapBnd"] != "000001ffffffffff"
    assert box.exec("/bin/sh", "-c", "cat /proc/keys; ls /sys/firmware").ok().stdout == ""
    refused = box.exec("/bin/unshare", "-m", "/bin/true")
    assert refused.returncode == 1 and "Operation not permitted" in refused.stderr
    refused = box.exec("/bin/mount", "-t", "tmpfs", "tmpfs", "/mnt")
    assert refused.returncode != 0
