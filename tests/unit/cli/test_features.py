"""pyrunc features and version: what engines ask before they use a runtime."""

from __future__ import annotations

import importlib
import json
import re
from typing import Any

import pytest

from pyrunc.cli.features import features
from pyrunc.cli.main import main
from pyrunc.cli.version import VERSION, libseccomp
from pyrunc.config import OCI_VERSION

# Every property that runtime-spec 1.3.0's features.md and features-linux.md define.
DEFINED = {
    "": "ociVersionMin ociVersionMax hooks mountOptions linux annotations potentiallyUnsafeConfigAnnotations",
    "linux": "namespaces capabilities cgroup seccomp apparmor selinux intelRdt memoryPolicy mountExtensions netDevices",
    "linux.cgroup": "v1 v2 systemd systemdUser rdma",
    "linux.seccomp": "enabled actions operators archs knownFlags supportedFlags",
    "linux.apparmor": "enabled",
    "linux.selinux": "enabled",
    "linux.intelRdt": "enabled schemata monitoring",
    "linux.memoryPolicy": "modes flags",
    "linux.mountExtensions": "idmap",
    "linux.mountExtensions.idmap": "enabled",
    "linux.netDevices": "enabled",
}


def printed(capfd: pytest.CaptureFixture[str], *argv: str, program: str = "pyrunc") -> str:
    assert main([f"/x/{program}", *argv]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return out


def test_only_json_indented_by_four_and_no_property_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    text = printed(capfd, "features")
    assert text.startswith('{\n    "ociVersionMin": "1.0.0",\n    "ociVersionMax": "1.3.0",\n')
    assert text.endswith("}\n")
    got = json.loads(text)
    assert got == features()

    def check(value: object, path: str) -> None:
        if isinstance(value, dict) and path != "annotations":
            assert set(value) <= set(DEFINED[path].split()), path
            for key, inner in value.items():
                check(inner, f"{path}.{key}".lstrip("."))

    check(got, "")
    assert all(isinstance(value, str) for value in got["annotations"].values())


def test_what_engines_look_for() -> None:
    got = features()
    assert got["hooks"] == ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    # containerd: user namespaces, recursive read-only mounts.
    assert "user" in got["linux"]["namespaces"]
    assert got["linux"]["mountExtensions"]["idmap"]["enabled"] is True
    assert {"rro", "ro", "rbind", "idmap", "tmpcopyup"} <= set(got["mountOptions"])
    assert got["mountOptions"] == sorted(set(got["mountOptions"]))
    assert len(got["linux"]["capabilities"]) == 41
    assert "SCMP_ACT_NOTIFY" in got["linux"]["seccomp"]["actions"]
    assert set(got["linux"]["seccomp"]["supportedFlags"]) <= set(got["linux"]["seccomp"]["knownFlags"])


def _linux_or_skip(name: str) -> Any:
    """A module that needs the extension, which a source tree has only once it is built."""
    pytest.importorskip("pyrunc._linux")
    return importlib.import_module(name)


def test_mount_options_are_those_that_the_plan_knows() -> None:
    options = _linux_or_skip("pyrunc.steps.rootfs.mount_options")
    known = set(features()["mountOptions"])
    assert [option for option in known if options.parse([option], "").parameters] == []
    tables = set(options._ATTRIBUTES) | {"r" + name for name in options._ATTRIBUTES}
    tables |= set(options.PROPAGATION) | set(options._SUPERBLOCK) | set(options._IGNORED)
    tables |= set(options._LINKS)
    assert known == tables | {"bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup"}


def test_capabilities_are_the_kernel_s() -> None:
    linux = _linux_or_skip("pyrunc._linux")
    assert features()["linux"]["capabilities"] == sorted(linux.CAPS, key=linux.CAPS.__getitem__)


@pytest.mark.parametrize("program", ["pyrunc", "runc"])
@pytest.mark.parametrize("argv", [["--version"], ["-v"], ["version"]])
def test_the_version_lines_that_callers_parse(argv: list[str], program: str, capfd: pytest.CaptureFixture[str]) -> None:
    lines = printed(capfd, *argv, program=program).splitlines()
    assert lines[0] == f"{program} version {VERSION}"
    assert lines[1].startswith("commit: ")
    assert lines[2] == f"spec: {OCI_VERSION}" == "spec: 1.3.0"
    # docker takes the word before "version" of whatever line has it for the program's name.
    assert [line for line in lines if "version" in line] == lines[:1]
    if libseccomp():
        assert re.fullmatch(r"libseccomp: \d+\.\d+\.\d+", lines[-1])
