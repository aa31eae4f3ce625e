"""Each claim of `pyrunc features`, by what the kernel then does: nothing is claimed that is not so."""

import errno
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyrunc.steps.seccomp import compiler
from tests.support import TOP
from tests.support.cgroups import hierarchies
from tests.support.namespaces import NAMESPACE_FILES, namespaces_of
from tests.support.workplace import Bundle, MakeBundle, Workplace

Features = dict[str, Any]


@pytest.fixture(scope="module")
def features(runtime: Path) -> Features:
    found: Features = json.loads(subprocess.run([runtime, "features"], capture_output=True, check=True).stdout)
    return found


def test_both_versions_and_those_between_are_accepted(bundle: MakeBundle, features: Features) -> None:
    box = bundle()
    for version in (features["ociVersionMin"], "1.2.1", features["ociVersionMax"]):
        box.config["ociVersion"] = version
        assert box.run().ok().stderr == ""


def test_hooks(bundle: MakeBundle, features: Features) -> None:
    box = bundle("true")
    box.config["root"]["readonly"] = False
    seen = box.rootfs / "seen"
    kinds = features["hooks"]
    # Where a hook runs its words are the same: in the runtime's namespace and in the container's.
    for kind in kinds:
        inside = kind == "startContainer"
        where = "/seen" if inside else str(seen)
        hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} >>{where}"]}
        box.config.setdefault("hooks", {})[kind] = [hook]
    box.run().ok()
    assert seen.read_text().split() == kinds


def test_mount_options(features: Features) -> None:
    """All others are tried one by one: test_mount_options.py, which holds its tables against this list."""
    assert features["linux"]["mountExtensions"] == {"idmap": {"enabled": True}}
    assert {"idmap", "ridmap"} <= set(features["mountOptions"])


def test_namespaces(container: MakeBundle, features: Features) -> None:
    kinds = features["linux"]["namespaces"]
    box = container("sleep", "1000")
    box.config["linux"]["namespaces"] = [{"type": kind} for kind in kinds]
    for kind in ("uidMappings", "gidMappings"):
        box.config["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    box.create().ok()
    box.start().ok()
    here, there = namespaces_of("self"), namespaces_of(box.pid())
    assert [kind for kind in kinds if there[kind] == here[kind]] == []
    # And that is all there are in this kernel.
    assert {NAMESPACE_FILES[kind] for kind in kinds} == {
        name.removesuffix("_for_children") for name in os.listdir("/proc/self/ns")
    }


def test_capabilities(bundle: MakeBundle, features: Features) -> None:
    """By number, all that this kernel has, each one by itself and not its neighbours."""
    names = features["linux"]["capabilities"]
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert len(names) == last + 1
    own = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapPrm" in line)[8:], 16)
    box = bundle("grep", "Cap", "/proc/self/status")
    for odd in (0, 1):
        chosen = names[odd::2]
        mask = sum(1 << names.index(name) for name in chosen) & own
        box.config["process"]["capabilities"] = dict.fromkeys(
            ("bounding", "effective", "permitted", "inheritable", "ambient"), chosen
        )
        lines = dict(line.split() for line in box.run().ok().stdout.splitlines())
        for kind in ("CapEff:", "CapPrm:", "CapInh:", "CapBnd:", "CapAmb:"):
            assert int(lines[kind], 16) == mask, kind


def test_cgroups(container: MakeBundle, features: Features) -> None:
    """v1 here; v2 and systemd have a virtual machine of their own (tests/vm)."""
    cgroup = features["linux"]["cgroup"]
    assert cgroup == {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True}
    if "memory" not in hierarchies():
        pytest.skip("no cgroup v1")
    box = container("sleep", "1000")
    box.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 7}}
    box.create().ok()
    assert f":{box.cgroup}\n" in Path(f"/proc/{box.pid()}/cgroup").read_text()
    assert (box.cgroup_dir("memory") / "memory.limit_in_bytes").read_text() == f"{64 << 20}\n"
    assert (box.cgroup_dir("pids") / "pids.max").read_text() == "7\n"


# ---- seccomp ----

# Action: how `mkdir` under it ends: its exit status, and what it says.
ENDS = {
    "SCMP_ACT_ALLOW": (0, ""),
    "SCMP_ACT_LOG": (0, ""),
    "SCMP_ACT_ERRNO": (1, "cross-device link"),
    "SCMP_ACT_TRACE": (1, "not implemented"),  # with nobody to trace it
    "SCMP_ACT_TRAP": (128 + 31, ""),
    "SCMP_ACT_KILL": (128 + 31, ""),
    "SCMP_ACT_KILL_THREAD": (128 + 31, ""),
    "SCMP_ACT_KILL_PROCESS": (128 + 31, ""),
}


def with_rule(box: Bundle, **rule: Any) -> Bundle:
    box.config["root"]["readonly"] = False
    default = "SCMP_ACT_ALLOW" if rule.get("action") != "SCMP_ACT_ALLOW" else "SCMP_ACT_LOG"
    box.config["linux"]["seccomp"] = {"defaultAction": default, "syscalls": [rule]}
    return box


def test_seccomp_actions(bundle: MakeBundle, features: Features) -> None:
    seccomp = features["linux"]["seccomp"]
    assert seccomp["enabled"] is True
    # SCMP_ACT_NOTIFY has its agent in tests/security/test_seccomp_agent.py.
    assert set(seccomp["actions"]) == set(ENDS) | {"SCMP_ACT_NOTIFY"}
    box = bundle()
    for number, (action, (status, words)) in enumerate(ENDS.items()):
        more = {"errnoRet": errno.EXDEV} if action == "SCMP_ACT_ERRNO" else {}
        with_rule(box, names=["mkdir", "mkdirat"], action=action, **more)
        box.config["process"]["args"] = ["mkdir", f"/tmp/{number}"]
        done = box.run()
        assert (done.returncode, words in done.stderr.lower()) == (status, True), action
        assert (box.rootfs / f"tmp/{number}").exists() == (status == 0), action


# Operator: a condition of its rule on chmod's mode, and which of the modes 022 and 077 it hits.
HITS = {
    "SCMP_CMP_EQ": ({"value": 0o22}, ["022"]),
    "SCMP_CMP_NE": ({"value": 0o22}, ["077"]),
    "SCMP_CMP_LT": ({"value": 0o77}, ["022"]),
    "SCMP_CMP_LE": ({"value": 0o22}, ["022"]),
    "SCMP_CMP_GE": ({"value": 0o77}, ["077"]),
    "SCMP_CMP_GT": ({"value": 0o22}, ["077"]),
    "SCMP_CMP_MASKED_EQ": ({"value": 0o55, "valueTwo": 0o55}, ["077"]),
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="chmod is no system call of its own")
def test_seccomp_operators(bundle: MakeBundle, features: Features) -> None:
    assert set(features["linux"]["seccomp"]["operators"]) == set(HITS)
    for operator, (condition, hit) in HITS.items():
        box = with_rule(
            bundle("sh", "-c", "for mode in 022 077; do chmod $mode /etc/passwd 2>/dev/null || echo $mode; done"),
            names=["chmod"],
            action="SCMP_ACT_ERRNO",
            args=[{"index": 1, "op": operator, **condition}],
        )
        assert box.run().stdout.split() == hit, operator


def test_seccomp_architectures(bundle: MakeBundle, features: Features) -> None:
    """Each is known; libseccomp cannot have one of the other byte order in the same filter, and says so."""
    box = bundle()
    for arch in features["linux"]["seccomp"]["archs"]:
        box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [arch]}
        done = box.create()
        if done.returncode:
            assert "libseccomp cannot have the architecture " + arch in done.stderr
            assert arch not in ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64")
        else:
            assert "Seccomp:\t2" in Path(f"/proc/{box.pid()}/status").read_text()
            box.delete("--force").ok()
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"]}
    assert "SCMP_ARCH_PDP11" in box.create().stderr


def test_seccomp_flags(bundle: MakeBundle, features: Features) -> None:
    seccomp = features["linux"]["seccomp"]
    assert set(seccomp["supportedFlags"]) <= set(seccomp["knownFlags"]) == set(compiler.FLAGS)
    box = bundle()
    for flag in seccomp["knownFlags"]:
        if flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV":
            continue  # wants a listener: tests/security/test_seccomp_agent.py
        box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag]}
        done = box.create()
        assert (done.returncode == 0) == (flag in seccomp["supportedFlags"]), flag
        if done.returncode == 0:
            box.delete("--force").ok()


def test_seccomp_default_errno(bundle: MakeBundle) -> None:
    """Docker's profile, with another number than EPERM for what it does not allow."""
    profile = json.loads((TOP / "tests/data/profiles/docker.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    box = bundle("mount", "-t", "tmpfs", "tmpfs", "/tmp")
    box.config["linux"]["seccomp"] = {**profile, "defaultErrnoRet": errno.EXDEV}
    done = box.run()
    assert done.returncode and "cross-device link" in done.stderr.lower()
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": errno.EXDEV}
    done = box.create()
    assert done.returncode == 1 and "/linux/seccomp/defaultErrnoRet" in done.stderr


# ---- the rest of linux ----


@pytest.mark.parametrize(
    ("name", "where", "key", "value"),
    [
        ("apparmor", "process", "apparmorProfile", "a-profile"),
        ("selinux", "process", "selinuxLabel", "a:b:c:d"),
    ],
)
def test_labels(bundle: MakeBundle, features: Features, name: str, where: str, key: str, value: str) -> None:
    """Compiled in; without the module on the host a label is an error (tests/lifecycle/properties/test_labels.py)."""
    assert features["linux"][name] == {"enabled": True}
    box = bundle()
    box.config[where][key] = value
    done = box.create()
    assert done.returncode == 1 and f"/{where}/{key}" in done.stderr


def test_intel_rdt_and_net_devices(features: Features) -> None:
    """tests/lifecycle/properties/test_intel_rdt.py, test_net_devices.py."""
    assert features["linux"]["intelRdt"] == {"enabled": True, "schemata": True, "monitoring": True}
    assert features["linux"]["netDevices"] == {"enabled": True}


def test_annotations_that_change_what_is_done(bundle: MakeBundle, features: Features, workplace: Workplace) -> None:
    """Those claimed are tried in test_cli_crun.py and tests/vm; others, of other runtimes, change nothing."""
    unsafe = features["potentiallyUnsafeConfigAnnotations"]
    assert unsafe == sorted(unsafe)
    box = bundle()
    box.save()
    plain = workplace.call("plan", box.path).ok().stdout
    others = {"run.oci.handler": "x", "bundle": "/x", "run.oci.seccomp.receiver": "/x"}
    assert not [name for name in others if any(name.startswith(claim) for claim in unsafe)]
    box.config["annotations"] = others
    box.save()
    assert workplace.call("plan", box.path).ok().stdout == plain
