"""Labels of security modules that this host does not run: an error, never silence."""

from pathlib import Path

import pytest

from tests.support.workplace import MakeBundle

APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
SELINUX = Path("/sys/fs/selinux/enforce")
LABEL = "system_u:system_r:container_t:s0:c1,c2"


@pytest.mark.skipif(SELINUX.exists(), reason="SELinux is enabled")
def test_selinux(bundle: MakeBundle) -> None:
    box = bundle()
    box.config["process"]["selinuxLabel"] = LABEL
    done = box.create()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "selinux is not enabled on this host (container c0, config.json /process/selinuxLabel)" in done.stderr


@pytest.mark.skipif(SELINUX.exists(), reason="SELinux is enabled")
def test_mount_label(bundle: MakeBundle) -> None:
    """It is SELinux's word too (config-linux.md, "Mount Label"): a mount without it is not what was asked for."""
    box = bundle()
    box.config["linux"]["mountLabel"] = LABEL
    done = box.create()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "selinux is not enabled on this host (container c0, config.json /linux/mountLabel)" in done.stderr


@pytest.mark.skipif(APPARMOR.exists() and APPARMOR.read_text()[:1] == "Y", reason="AppArmor is enabled")
def test_apparmor(bundle: MakeBundle) -> None:
    box = bundle()
    box.config["process"]["apparmorProfile"] = "a-profile"
    done = box.create()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "apparmor is not enabled on this host (container c0, config.json /process/apparmorProfile)" in done.stderr


def test_exec(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    box.create().ok()
    for flag, value, lsm in (("--process-label", LABEL, "selinux"), ("--apparmor", "a-profile", "apparmor")):
        if (SELINUX if lsm == "selinux" else APPARMOR).exists():
            continue
        done = box.exec(flag, value, "true")
        assert (done.returncode, done.stderr.count("\n")) == (255, 1)
        assert lsm + " is not enabled on this host" in done.stderr


def test_empty_labels_are_none(bundle: MakeBundle) -> None:
    """As engines write them where there is no such module."""
    box = bundle()
    box.config["process"].update(selinuxLabel="", apparmorProfile="")
    box.config["linux"]["mountLabel"] = ""
    box.run().ok()
