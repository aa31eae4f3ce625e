"""config.json: what is accepted, what is refused and how that is said, without root and without a container."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyrunc.config import explain, load, rules, schema, validate
from pyrunc.errors import ConfigError, PyruncError
from tests.support import TOP

DATA = TOP / "tests/data"
SPEC = TOP / "spec"
EVERYTHING: dict[str, Any] = json.loads((DATA / "configs/everything.json").read_text())

Json = dict[str, Any]


def minimal(**properties: Any) -> Json:
    return {"ociVersion": "1.0.2", "root": {"path": "rootfs"}, **properties}


def started(**properties: Any) -> Json:
    """A minimal config with a process that has these properties."""
    return minimal(process={"cwd": "/", "args": ["true"], "user": {"uid": 0, "gid": 0}, **properties})


def linux(*namespaces: str, **properties: Any) -> Json:
    listed = [{"type": name.partition(":")[0], **_path(name)} for name in namespaces]
    return minimal(linux={"namespaces": listed, **properties})


def _path(name: str) -> Json:
    path = name.partition(":")[2]
    return {"path": path} if path else {}


def mount(destination: str, *options: str, **properties: Any) -> Json:
    return minimal(mounts=[{"destination": destination, "options": list(options), **properties}])


def seccomp(action: str = "SCMP_ACT_ALLOW", **properties: Any) -> Json:
    return minimal(linux={"seccomp": {"defaultAction": action, **properties}})


def resources(**properties: Any) -> Json:
    return minimal(linux={"resources": properties})


def everything_without(*names: str) -> Json:
    config: Json = copy.deepcopy(EVERYTHING)
    for name in names:
        owner: Any = config
        *path, last = name.split("/")
        for part in path:
            owner = owner[part]
        del owner[last]
    return config


def problems(config: Json) -> list[tuple[str, str]]:
    found = [(one.pointer, one.message) for one in explain.explain(config)]
    return found or list(rules.violations(config))  # type: ignore[arg-type]


# --- files -----------------------------------------------------------------------------------------------------------

EXPECTED = [
    tuple(line.split(" | ", 2))
    for line in (DATA / "bad_configs/expected.txt").read_text().splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize(("name", "place", "text"), EXPECTED, ids=[row[0] for row in EXPECTED])
def test_bad_config(name: str, place: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load.load_bundle("/nonexistent", str(DATA / "bad_configs" / (name + ".json")))
    assert text in caught.value.message
    assert (caught.value.pointer or "-") == place
    line = caught.value.line()
    assert "\n" not in line
    assert line.encode()
    assert len(line) < 600
    # validate finds at least the same.
    found, _ = validate.problems("/nonexistent", str(DATA / "bad_configs" / (name + ".json")))
    assert (caught.value.pointer or "", caught.value.message) in [(one.pointer, one.message) for one in found]


def test_every_bad_config_is_expected() -> None:
    assert {row[0] for row in EXPECTED} == {path.stem for path in (DATA / "bad_configs").glob("*.json")}


def test_bundle(tmp_path: Path) -> None:
    text = (DATA / "configs/everything.json").read_bytes()
    (tmp_path / "config.json").write_bytes(text)
    config, data = load.load_bundle(str(tmp_path))
    assert config == EVERYTHING
    assert data == text
    (tmp_path / "other.json").write_text(json.dumps(minimal()))
    config, _ = load.load_bundle(str(tmp_path), str(tmp_path / "other.json"))
    assert config == minimal()
    assert "process" not in config


def test_engines_config() -> None:
    config, _ = load.load_bundle("/nonexistent", str(TOP / "bench/engine-config.json"))
    assert rules.warnings(config) == []


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"JSON specification file \S+/config.json not found"):
        load.load_bundle(str(tmp_path))
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        load.load_bundle(str(tmp_path))
    with pytest.raises(ConfigError, match="embedded null"):
        load.load_bundle("a\0b")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match="Too many levels of symbolic links"):
        load.load_bundle(str(tmp_path / "loop"))


def test_odd_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than 4194304 bytes"):
        load.load_bundle(str(tmp_path), "/dev/zero")
    big = tmp_path / "big.json"
    big.write_bytes(b'{"a": "' + b"x" * 10_000_000 + b'"}')
    with pytest.raises(ConfigError, match="larger than 4194304 bytes"):
        load.load_bundle(str(tmp_path), str(big))
    big.write_bytes(b'{"a":' * 10_000 + b"1" + b"}" * 10_000)
    with pytest.raises(ConfigError, match="nested deeper than 128 levels"):
        load.load_bundle(str(tmp_path), str(big))


def test_config_from_a_pipe() -> None:
    """As a shell's <(...): what comes late is waited for."""
    reader, writer = os.pipe()
    with subprocess.Popen(["sh", "-c", f"sleep 0.2; echo '{json.dumps(minimal())}'"], stdout=writer):
        os.close(writer)
        config, _ = load.load_bundle("/nonexistent", f"/proc/self/fd/{reader}")
    os.close(reader)
    assert config == minimal()


def test_process_and_resources() -> None:
    process = load.load_process(b'{"cwd": "/", "args": ["a"], "user": {"uid": 5, "gid": 6}}')
    assert process["user"] == {"uid": 5, "gid": 6}
    with pytest.raises(ConfigError, match="args must not be empty"):
        load.load_process(b'{"cwd": "/"}')
    with pytest.raises(ConfigError, match="contains nul byte") as caught:
        load.load_process(b'{"cwd": "/", "args": ["a", "\\u0000"]}')
    assert caught.value.pointer == "/args/1"
    assert load.load_resources(b'{"memory": {"limit": -1}, "pids": {}}') == {"memory": {"limit": -1}, "pids": {}}
    with pytest.raises(ConfigError) as caught:
        load.load_resources(b'{"cpu": {"quota": 5, "burst": 6}}')
    assert caught.value.pointer == "/cpu/burst"


# --- what is accepted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        minimal(),
        minimal(process={"cwd": "/", "args": ["x"]}),
        EVERYTHING,
        minimal(unknown={"deep": [None]}, linux={"unknown": 1}, windows={"x": 1}, freebsd={}),
        started(unknown=1, capabilities={"bounding": ["CAP_OF_TOMORROW"], "more": 1}),
        # Everything that engines write beyond the published schema.
        linux("mount", rootfsPropagation="rshared"),
        resources(pids={}, memory={}, cpu={}, blockIO={"weight": 0}, network={}),
        minimal(linux={"devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 2, "fileMode": 8630}]}),
        *[
            minimal(ociVersion=version)
            for version in ("1.0.2-dev", "0.5.0-dev", "1.3.0+a.b-c", "2.0.0", "1.2.3-rc.1+5")
        ],
        mount("/a", "rbind", *rules._OPTIONS - {"idmap", "ridmap"}, source="/b"),
        mount("/a", "", "bind", source="b"),
        mount("relative", type="tmpfs"),
        mount("/proc/", type="proc"),
        mount("/proc", "bind", source="/proc"),
        mount("//proc/./meminfo", "bind", source="/x"),
        mount("/a/../proc/x", type="tmpfs"),
        mount("/a", "size=1", "mode=755", type="tmpfs"),
        mount("/a", "remount", "ro"),
        {**mount("/a", "bind", "idmap", source="/b"), **linux("user:/x")},
        linux("user:/proc/1/ns/user", uidMappings=[{"containerID": 5, "hostID": 5, "size": 1}]),
        linux("ipc", sysctl={"fs.mqueue.msg_max": "1", "kernel/sem": "1", "kernel.shm_rmid_forced": "1"}),
        linux("network", sysctl={"net.ipv4.conf.eno2/100.rp_filter": "1", "net/ipv4/conf/eno2.100/forwarding": "0"}),
        linux("uts", sysctl={"kernel.domainname": "x"}),
        linux("network:/nonexistent", sysctl={"net.core.somaxconn": "1"}),
        linux("network", netDevices={"a": {}, "fifteen-bytes-x": {"name": ""}}),
        linux(devices=[{"path": "/dev/fifo", "type": "p"}]),
        started(execCPUAffinity={"initial": "", "final": " 3 , 5-5,,1"}),
        started(consoleSize={"height": 70000, "width": 1}),
        started(scheduler={"policy": "SCHED_FIFO", "priority": 99}),
        started(scheduler={"policy": "SCHED_OTHER", "nice": -20, "priority": 0, "runtime": 0}),
        started(env=["A=", "A==b"]),
        started(oomScoreAdj=0),
        minimal(linux={"memoryPolicy": {"mode": "MPOL_PREFERRED"}}),
        minimal(linux={"memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": ""}}),
        minimal(linux={"intelRdt": {"closID": "/"}}),
        minimal(linux={"intelRdt": {"closID": ""}}),
        minimal(hostname="", domainname=""),
        minimal(annotations={"a": "\0"}),
        resources(cpu={"quota": -1, "burst": 5}),
        resources(memory={"swappiness": 2**64 - 1}),
        resources(devices=[{"allow": True, "type": "a", "access": "m"}]),
        seccomp(listenerPath="", listenerMetadata=""),
    ],
)
def test_accepted(config: Json) -> None:
    assert problems(config) == []
    assert schema.accepts(config)
    schema.check(config)
    rules.check(config)  # type: ignore[arg-type]


# --- what is refused -------------------------------------------------------------------------------------------------

ONE = [{"containerID": 0, "hostID": 100000, "size": 1}]


@pytest.mark.parametrize(
    ("config", "place", "text"),
    [
        # The schema: one for each kind of statement; test_schema_agreement.py compares the rest.
        (minimal(ociVersion=1), "/ociVersion", "1 stands where a version such as 1.3.0 is expected"),
        (minimal(root=[]), "/root", "an empty array stands where an object is expected"),
        (minimal(root={"path": ""}), "/root/path", '"" stands where a string that is not empty is expected'),
        (minimal(mounts={}), "/mounts", "an object stands where an array is expected"),
        (started(terminal=1), "/process/terminal", "1 stands where true or false is expected"),
        (started(terminal=None), "/process/terminal", "null stands where true or false is expected"),
        (
            started(consoleSize={"width": 1}),
            "/process/consoleSize",
            '"height" is missing: an integer from 0 to 18446744073709551615 is required',
        ),
        (
            started(oomScoreAdj=True),
            "/process/oomScoreAdj",
            "true stands where an integer from -1000 to 1000 is expected",
        ),
        (started(env=["a=b", 1]), "/process/env/1", "1 stands where a string is expected"),
        (
            minimal(linux={"rootfsPropagation": "x" * 100}),
            "/linux/rootfsPropagation",
            '"' + "x" * 55 + '..." stands where one of shared, slave, private, unbindable, rshared, rslave, rprivate, '
            "runbindable is expected",
        ),
        (linux("pid:relative"), "/linux/namespaces/0/path", '"relative" stands where an absolute path is expected'),
        (
            minimal(linux={"maskedPaths": ["/a", "b\n"]}),
            "/linux/maskedPaths/1",
            '"b\\n" stands where an absolute path is expected',
        ),
        (
            linux("time", timeOffsets={"realtime": {}}),
            "/linux/timeOffsets",
            'the name "realtime" stands where a name that is one of boottime, monotonic is expected',
        ),
        (
            seccomp(syscalls=[{"names": [], "action": "SCMP_ACT_ALLOW"}]),
            "/linux/seccomp/syscalls/0/names",
            "an empty array stands where an array of at least one entry is expected",
        ),
        (
            resources(devices=[{"allow": True}]),
            "/linux/resources/devices/0",
            '"access" is missing: a combination of the letters r, w and m is required',
        ),
        (
            minimal(linux={"intelRdt": {"memBwSchema": "MB:0=1\n"}}),
            "/linux/intelRdt/memBwSchema",
            '"MB:0=1\\n" stands where a string that starts with MB: and has no newline is expected',
        ),
        # The rules.
        (minimal(ociVersion="1.3.0x"), "/ociVersion", '"1.3.0x" is not a version in SemVer 2.0.0'),
        (minimal(ociVersion="1.3.0-"), "/ociVersion", '"1.3.0-" is not a version in SemVer 2.0.0'),
        (minimal(ociVersion="1.3.0-é"), "/ociVersion", '"1.3.0-é" is not a version in SemVer 2.0.0'),
        ({"ociVersion": "1.0.0"}, "", "root must be specified"),
        (started(cwd=""), "/process/cwd", "Cwd property must not be empty"),
        (started(cwd="a"), "/process/cwd", 'Cwd must be an absolute path: "a"'),
        (started(args=[]), "/process/args", "args must not be empty"),
        (minimal(process={"cwd": "/"}), "/process", "args must not be empty"),
        (started(env=["=x"]), "/process/env/0", "invalid environment variable: name cannot be empty"),
        (started(env=[""]), "/process/env/0", "invalid environment variable: missing '='"),
        (
            started(terminal=True, consoleSize={"height": 65536, "width": 1}),
            "/process/consoleSize",
            "a terminal has at most 65535 lines and columns",
        ),
        (
            started(rlimits=[{"type": "RLIMIT_AS", "soft": 2, "hard": 1}]),
            "/process/rlimits/0",
            "RLIMIT_AS: soft 2 is above hard 1",
        ),
        (
            started(scheduler={"policy": "SCHED_RR"}),
            "/process/scheduler",
            "scheduler.priority of SCHED_RR is from 1 to 99, not 0",
        ),
        (
            started(scheduler={"policy": "SCHED_OTHER", "priority": 1}),
            "/process/scheduler",
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        ),
        (
            started(scheduler={"policy": "SCHED_IDLE", "deadline": 1}),
            "/process/scheduler",
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
        ),
        (
            started(execCPUAffinity={"initial": "3-1"}),
            "/process/execCPUAffinity/initial",
            "bad CPUAffinity.Initial: invalid range: 3-1",
        ),
        (
            started(execCPUAffinity={"final": "1-"}),
            "/process/execCPUAffinity/final",
            'bad CPUAffinity.Final: invalid number ""',
        ),
        (
            started(execCPUAffinity={"final": "100000"}),
            "/process/execCPUAffinity/final",
            'bad CPUAffinity.Final: invalid number "100000"',
        ),
        (
            started(execCPUAffinity={"final": ","}),
            "/process/execCPUAffinity/final",
            'bad CPUAffinity.Final: no members found in set ","',
        ),
        (minimal(domainname="x"), "/domainname", "unable to set domainname without a private UTS namespace"),
        ({**linux("uts"), "hostname": "é" * 33}, "/hostname", "hostname is longer than 64 bytes"),
        (mount("./", type="tmpfs"), "/mounts/0/destination", 'mountpoint "/" is on the top of rootfs'),
        (mount("/proc", type="tmpfs"), "/mounts/0", '"/proc" cannot be mounted because it is not of type proc'),
        (
            mount("proc/cpuinfo diskstats", type="tmpfs"),
            "/mounts/0/destination",
            '"/proc/cpuinfo diskstats" cannot be mounted because it is inside /proc',
        ),
        (mount("/a", "bind"), "/mounts/0", "a bind mount needs a source"),
        (mount("/a"), "/mounts/0", "a mount that is no bind mount needs a type"),
        (
            mount("/a", "bind", source="/b", uidMappings=ONE),
            "/mounts/0",
            "id-mapped mounts must have both uid and gid mappings specified",
        ),
        (
            mount("/a", "bind", "idmap", source="/b"),
            "/mounts/0/options",
            "id-mapped mounts must have both uid and gid mappings specified where there is no user namespace",
        ),
        (
            mount("/a", "bind", "idmap", source="/b", uidMappings=ONE, gidMappings=[*ONE, {**ONE[0], "hostID": 1}]),
            "/mounts/0/gidMappings",
            "containerID 0 is mapped twice",
        ),
        (
            linux("user"),
            "/linux/namespaces",
            "user namespaces enabled, but no namespace path to join nor mappings to apply specified",
        ),
        (linux("user", uidMappings=ONE), "/linux", "user namespaces enabled, but no gid mappings found"),
        (
            linux("user", gidMappings=ONE, uidMappings=[{"containerID": 1, "hostID": 1, "size": 1}]),
            "/linux/uidMappings",
            "user namespaces enabled, but no mapping found for uid 0",
        ),
        (
            {**started(user={"uid": 0, "gid": 1}), **linux("user", uidMappings=ONE, gidMappings=ONE)},
            "/linux/gidMappings",
            "cannot setgid to unmapped gid 1 in user namespace",
        ),
        (
            linux("user", gidMappings=ONE, uidMappings=[{"containerID": 0, "hostID": 1, "size": 4294967295}]),
            "/linux/uidMappings",
            "a mapping goes beyond hostID 4294967294",
        ),
        (
            linux(gidMappings=ONE),
            "/linux/gidMappings",
            "user namespace mappings specified, but user namespace isn't enabled in the config",
        ),
        (
            linux(timeOffsets={"boottime": {"secs": 1}}),
            "/linux/timeOffsets",
            "time namespace offsets specified, but time namespace isn't enabled in the config",
        ),
        (
            linux("time:/x", timeOffsets={"boottime": {"secs": 1}}),
            "/linux/timeOffsets",
            "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one",
        ),
        (
            linux(readonlyPaths=["/a"]),
            "/linux/readonlyPaths",
            "unable to restrict sys entries without a private MNT namespace",
        ),
        (
            linux(sysctl={"kernel.sem": "1"}),
            "/linux/sysctl/kernel.sem",
            'sysctl "kernel.sem" is not allowed in the hosts ipc namespace',
        ),
        (
            linux(sysctl={"net/core/somaxconn": "1"}),
            "/linux/sysctl/net~1core~1somaxconn",
            'sysctl "net/core/somaxconn" not allowed in host network namespace',
        ),
        (
            linux("network:/proc/self/ns/net", sysctl={"net.core.somaxconn": "1"}),
            "/linux/sysctl/net.core.somaxconn",
            'sysctl "net.core.somaxconn" not allowed in host network namespace',
        ),
        (
            linux("uts", sysctl={"kernel.hostname": "x"}),
            "/linux/sysctl/kernel.hostname",
            'sysctl "kernel.hostname" is not allowed as it conflicts with the OCI "hostname" field',
        ),
        (
            {**linux("uts", sysctl={"kernel.domainname": "x"}), "domainname": "y"},
            "/linux/sysctl/kernel.domainname",
            'sysctl "kernel.domainname" is not allowed as it conflicts with the OCI "domainname" field',
        ),
        (
            linux(sysctl={"kernel.domainname": "x"}),
            "/linux/sysctl/kernel.domainname",
            'sysctl "kernel.domainname" is not in a separate kernel namespace',
        ),
        (
            linux(sysctl={"user.max_user_namespaces": "1"}),
            "/linux/sysctl/user.max_user_namespaces",
            "setting ucounts without a user namespace not allowed: user.max_user_namespaces",
        ),
        *[
            (
                linux("network", sysctl={name: "1"}),
                "/linux/sysctl/" + name.replace("/", "~1"),
                f'sysctl "{name}" is not the name of a kernel parameter',
            )
            for name in ("net", "net/../kernel/panic", "net.//.kernel.panic", "net..x", "/net/x", "net/./x", "net/x/")
        ],
        (
            linux(devices=[{"path": "/dev/x", "type": "b", "major": 1}]),
            "/linux/devices/0",
            '"minor" is missing: every device but a FIFO (type p) has one',
        ),
        (
            linux(netDevices={"a": {}}),
            "/linux/netDevices",
            "unable to move network devices without a NET namespace",
        ),
        *[
            (
                linux("network", netDevices={name: {}}),
                "/linux/netDevices/" + shown,
                f"invalid network device name {text}",
            )
            for name, shown, text in (
                ("sixteen-bytes-xx", "sixteen-bytes-xx", '"sixteen-bytes-xx"'),
                ("..", "..", '".."'),
                ("a/b", "a~1b", '"a/b"'),
                ("a:b", "a:b", '"a:b"'),
                ("a b", "a b", '"a b"'),
                (" ", " ", '" "'),
            )
        ],
        (
            linux("network", netDevices={"a": {"name": "x y"}}),
            "/linux/netDevices/a",
            'invalid network device name "x y"',
        ),
        (minimal(linux={"intelRdt": {"closID": ".."}}), "/linux/intelRdt/closID", 'invalid intelRdt.ClosID ".."'),
        (minimal(linux={"intelRdt": {"closID": "a/b"}}), "/linux/intelRdt/closID", 'invalid intelRdt.ClosID "a/b"'),
        (
            minimal(linux={"memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0-1"}}),
            "/linux/memoryPolicy/nodes",
            "memory policy mode requires 0 nodes but got 2: MPOL_LOCAL",
        ),
        (
            minimal(linux={"memoryPolicy": {"mode": "MPOL_BIND"}}),
            "/linux/memoryPolicy",
            "memory policy mode requires at least one node but got 0: MPOL_BIND",
        ),
        (
            minimal(linux={"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "1-0"}}),
            "/linux/memoryPolicy/nodes",
            'invalid memory policy nodes "1-0": invalid range: 1-0',
        ),
        (
            minimal(linux={"personality": {"domain": "LINUX", "flags": ["X"]}}),
            "/linux/personality/flags",
            "the specification has no personality flags",
        ),
        (
            seccomp(listenerMetadata="x"),
            "/linux/seccomp/listenerMetadata",
            "seccomp listenerMetadata is set, but listenerPath is not",
        ),
        (
            seccomp("SCMP_ACT_NOTIFY", listenerPath="/x"),
            "/linux/seccomp/defaultAction",
            "SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (
            seccomp(defaultErrnoRet=1),
            "/linux/seccomp/defaultErrnoRet",
            "the seccomp action SCMP_ACT_ALLOW returns no errno",
        ),
        (
            seccomp(syscalls=[{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]),
            "/linux/seccomp/syscalls/0/action",
            "seccomp listenerPath is not set, but a rule has the action SCMP_ACT_NOTIFY",
        ),
        (
            resources(memory={"swappiness": 101}),
            "/linux/resources/memory/swappiness",
            "invalid memory swappiness 101: 0 to 100",
        ),
        (
            resources(cpu={"quota": 10, "burst": 11}),
            "/linux/resources/cpu/burst",
            "cpu burst 11 is larger than the quota 10",
        ),
        (
            resources(blockIO={"weightDevice": [{"major": 1, "minor": 1}]}),
            "/linux/resources/blockIO/weightDevice/0",
            "neither weight nor leafWeight: at least one is required",
        ),
        (
            resources(rdma={"a/b": {}}),
            "/linux/resources/rdma/a~1b",
            "neither hcaHandles nor hcaObjects: at least one is required",
        ),
        (
            resources(unified={"../memory.max": "1"}),
            "/linux/resources/unified/..~1memory.max",
            'unified resource "../memory.max" must be a file name (no slashes)',
        ),
        (
            resources(unified={"..": "1"}),
            "/linux/resources/unified/..",
            'unified resource ".." must be a file name (no slashes)',
        ),
    ],
)
def test_refused(config: Json, place: str, text: str) -> None:
    assert problems(config) == [(place, text)]
    with pytest.raises(ConfigError) as caught:
        schema.check(config)
        rules.check(config)  # type: ignore[arg-type]
    assert caught.value.message == text
    assert (caught.value.pointer or "") == place
    assert explain.section(place).startswith("config")


def test_all_at_once(tmp_path: Path) -> None:
    """validate tells every violation, each with what stands there, what is allowed and where that is said."""
    config = started(cwd=1, rlimits=[{"type": "RLIMIT_AS"}])
    config["root"] = {"readonly": 0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found, odd = validate.problems(str(tmp_path))
    assert [(one.pointer, one.found, one.allowed, one.section) for one in found] == [
        ("/root", "nothing", "a string that is not empty", "config.md#root"),
        ("/root/readonly", "0", "true or false", "config.md#root"),
        ("/process/cwd", "1", "a string", "config.md#process"),
        ("/process/rlimits/0", "nothing", "an integer from 0 to 18446744073709551615", "config.md#posix-process"),
        ("/process/rlimits/0", "nothing", "an integer from 0 to 18446744073709551615", "config.md#posix-process"),
    ]
    assert odd == []
    (tmp_path / "config.json").write_text(json.dumps({**started(cwd="a", args=[]), "hostname": "\0"}))
    found, _ = validate.problems(str(tmp_path))
    assert [(one.pointer, one.section) for one in found] == [
        ("/hostname", "config.md#hostname"),
        ("/process/cwd", "config.md#process"),
        ("/process/args", "config.md#process"),
        ("/hostname", "config.md#hostname"),
    ]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (minimal(ociVersion="1.4.0"), "ociVersion 1.4.0 is newer than 1.3, which pyrunc follows"),
        (minimal(ociVersion="1.30.0"), "ociVersion 1.30.0 is newer than 1.3, which pyrunc follows"),
        (minimal(ociVersion="2.0.0"), "ociVersion 2.0.0 is newer than 1.3, which pyrunc follows"),
        (minimal(ociVersion="9" * 5000 + ".0.0"), "is newer than 1.3"),
        (mount("a/b", type="tmpfs"), 'mount destination "a/b" is not absolute: deprecated, taken as below /'),
        (
            mount("/a", "bind", source="/b", uidMappings=ONE, gidMappings=ONE),
            'mount "/a" has uidMappings, but not the option idmap or ridmap',
        ),
        (mount("/a", "bind", "ro rw", source="/b"), 'bind mount "/a": the option "ro rw" has no effect'),
        (resources(memory={"kernel": -1}), "Kernel memory settings are ignored and will be removed"),
        (
            minimal(linux={"intelRdt": {"l3CacheSchema": "x"}}),
            "intelRdt.l3CacheSchema should start with L3:",
        ),
    ],
)
def test_warned(config: Json, text: str) -> None:
    assert problems(config) == []
    (found,) = rules.warnings(config)  # type: ignore[arg-type]
    assert text in found and "(config.json /" in found


def test_validate_warns_of_unknown_capabilities(tmp_path: Path) -> None:
    pytest.importorskip("pyrunc._linux")
    sets = {"bounding": ["CAP_KILL", "CAP_NEW"], "effective": ["CAP_NEW", "kill"], "later": [1]}
    (tmp_path / "config.json").write_text(json.dumps(started(capabilities=sets)))
    assert validate.problems(str(tmp_path)) == (
        [],
        [
            "unknown capability CAP_NEW is ignored (config.json /process/capabilities/bounding/1)",
            "unknown capability kill is ignored (config.json /process/capabilities/effective/1)"
            ": did you mean CAP_KILL?",
        ],
    )


def test_validate_warns_of_misspelt_properties(tmp_path: Path) -> None:
    """spec.md: unknown properties are ignored. One that is nearly a known one is probably a typo; others are not."""
    config = started(usr={"uid": 1}, later=True, rlimits=[{"type": "RLIMIT_CPU", "sotf": 1, "soft": 1, "hard": 1}])
    (tmp_path / "config.json").write_text(json.dumps({**config, "windows": {}, "mouts": []}))
    assert validate.problems(str(tmp_path)) == (
        [],
        [
            '"usr" is no property of the specification, and ignored (config.json /process/usr): did you mean user?',
            '"sotf" is no property of the specification, and ignored (config.json /process/rlimits/0/sotf)'
            ": did you mean soft?",
            '"mouts" is no property of the specification, and ignored (config.json /mouts): did you mean mounts?',
        ],
    )


# --- the schemas and what is made of them ----------------------------------------------------------------------------


def objects(value: Any, place: str) -> list[tuple[str, Json]]:
    """Every schema within a schema, with where it stands."""
    found = [(place, value)]
    for keyword in ("properties", "definitions"):
        for name, item in value.get(keyword, {}).items():
            found += objects(item, f"{place}/{keyword}/{name}")
    for keyword in ("items", "additionalProperties", "propertyNames"):
        if isinstance(value.get(keyword), dict):
            found += objects(value[keyword], f"{place}/{keyword}")
    return found


SCHEMAS = [item for path in sorted(SPEC.glob("*.json")) for item in objects(json.loads(path.read_text()), path.name)]


def test_every_property_is_described() -> None:
    bare = [place for place, value in SCHEMAS if "/properties/" in place and not value.get("description")]
    bare += [place for place, value in SCHEMAS if "/definitions/" in place and not value.get("description")]
    assert [
        place for place in bare if place.rsplit("/", 1)[1] not in ("items", "additionalProperties", "propertyNames")
    ] == []
    assert all("description" in value and "title" in value for place, value in SCHEMAS if "/" not in place)


def test_every_property_leads_to_the_specification() -> None:
    for place in walk(EVERYTHING):
        assert explain.section(place).partition("#")[0] in ("config.md", "config-linux.md")


def walk(value: Any, place: str = "") -> list[str]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place] + [found for name, item in pairs for found in walk(item, f"{place}/{name}")]


def test_everything_json_has_every_property() -> None:
    """So that what is tried on it is tried on every property."""
    have = {part for place in walk(EVERYTHING) for part in [place.rsplit("/", 1)[-1]]}
    hot = [item for item in SCHEMAS if not item[0].startswith(("features.json", "state.json"))]
    want = {name for _, value in hot for name in value.get("properties", {})}
    assert want - have == set()


def generate(spec: Path, output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOP / "tools/gencheck.py"), str(spec), str(output)], capture_output=True, text=True
    )


def test_the_check_is_of_these_schemas(tmp_path: Path) -> None:
    made = generate(SPEC, tmp_path / "_check.py")
    assert (made.returncode, made.stderr) == (0, "")
    for name in ("_check.py", "_schema.py"):
        assert (tmp_path / name).read_text() == (TOP / "pyrunc/config" / name).read_text(), "make build"
    text = (tmp_path / "_check.py").read_text()
    assert "import" not in text
    assert len(text) < 20_000


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"maxLength": 3}, "hostname: keyword maxLength is not supported"),
        ({"$ref": "defs.json#/definitions/none"}, "config.json: nothing at defs.json#/definitions/none"),
        ({"$ref": "defs.json#/definitions/text"}, "draft-07 ignores what stands beside $ref"),
        ({"type": ["string", "null"]}, "only one type"),
        ({"pattern": "a$"}, "a pattern must start with ^"),
        ({"pattern": "^a$"}, "not supported in a pattern: $"),
        ({"pattern": "^(a|b)"}, "not supported in a pattern: ("),
        ({"pattern": "^[0-9]*5$(?!\\n)"}, "ambiguous without backtracking"),
        ({"pattern": "^\\d"}, "not supported in a pattern: \\"),
        ({"pattern": "^[\\d]"}, "not supported in a pattern: ["),
        ({"minLength": 2}, "only one of enum, pattern and a minLength of 1"),
        ({"minLength": 1, "enum": ["a"]}, "only one of enum, pattern and a minLength of 1"),
        ({"type": "number"}, "only one type"),
        ({"type": "integer"}, "an integer without a minimum"),
        ({"type": "array"}, "an array without items"),
        ({"type": "object", "required": ["a"]}, "required what is no property"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "additionalProperties has propertyNames"),
    ],
)
def test_the_generator_takes_nothing_it_would_lose(change: Json, text: str, tmp_path: Path) -> None:
    for path in SPEC.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    config = json.loads((SPEC / "config.json").read_text())
    config["properties"]["hostname"].update(change)
    (tmp_path / "config.json").write_text(json.dumps(config))
    made = generate(tmp_path, tmp_path / "_check.py")
    assert made.returncode == 1
    assert text in made.stderr
    assert "Traceback" not in made.stderr
    assert not (tmp_path / "_check.py").exists()


def test_without_the_check_the_verdict_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrunc.config._check", None)
    import pyrunc.config

    monkeypatch.delattr(pyrunc.config, "_check", raising=False)
    assert schema.accepts(EVERYTHING)
    assert not schema.accepts(minimal(ociVersion="x"))


def test_without_jsonschema_there_is_an_error_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    monkeypatch.setattr(explain, "_VALIDATORS", {})
    with pytest.raises(PyruncError, match="can only be said with jsonschema"):
        schema.check(minimal(ociVersion="x"))
    schema.check(minimal())


def test_an_accepted_config_loads_nothing_heavy() -> None:
    code = f"""
import sys
sys.path.insert(0, {str(TOP)!r})
from pyrunc.config import load, rules
config, _ = load.load_bundle("/x", {str(TOP / "bench/engine-config.json")!r})
rules.warnings(config)
print(*sorted(name for name in sys.modules if name.startswith("pyrunc")))
heavy = {{"json", "jsonschema"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [
        "pyrunc",
        "pyrunc._json",
        "pyrunc.config",
        "pyrunc.config._check",
        "pyrunc.config.load",
        "pyrunc.config.rules",
        "pyrunc.config.schema",
        "pyrunc.errors",
        "pyrunc.jsontext",
        "pyrunc.linux",
        "pyrunc.linux.files",
    ]


def test_null_is_as_good_as_absent(tmp_path: Path) -> None:
    """As to Go's and C's readers of configs."""
    bundle = minimal(
        hostname=None,
        mounts=None,
        annotations={"a": "b"},
        linux={"timeOffsets": None, "namespaces": [{"type": "time", "path": None}]},
        process={"cwd": "/", "args": ["true"], "capabilities": None, "user": {"uid": 0, "gid": 0, "umask": None}},
    )
    (tmp_path / "config.json").write_text(json.dumps(bundle))
    config, raw = load.load_bundle(str(tmp_path))
    assert "hostname" not in config and "mounts" not in config
    assert config["linux"] == {"namespaces": [{"type": "time"}]}
    assert set(config["process"]) == {"cwd", "args", "user"}
    assert b"null" in raw
    bundle["ociVersion"] = None
    (tmp_path / "config.json").write_text(json.dumps(bundle))
    with pytest.raises(ConfigError, match='"ociVersion" is missing'):
        load.load_bundle(str(tmp_path))
    with pytest.raises(ConfigError, match="null stands where"):
        load.load_process(b'{"cwd": "/", "args": [null]}')


def test_names_in_another_case(tmp_path: Path) -> None:
    """Taken as their own, told of by validate: to Go's reader upper and lower case are the same."""
    bundle: Any = resources(hugepageLimits=[{"pagesize": "2MB", "LIMIT": 4096}])
    bundle |= {"Hostname": "x", "annotations": {"Root": "y"}, "org.example": {"hostname": 1}}
    bundle["linux"]["namespaces"] = [{"type": "uts"}]
    (tmp_path / "config.json").write_text(json.dumps(bundle))
    config, text = load.load_bundle(str(tmp_path))
    assert config["linux"]["resources"]["hugepageLimits"] == [{"pageSize": "2MB", "limit": 4096}]
    assert config["annotations"] == {"Root": "y"} and config["hostname"] == "x"
    assert json.loads(text) == config
    found, odd = validate.problems(str(tmp_path))
    assert (found, len(odd)) == ([], 3)


def test_names_in_another_case_where_the_schema_is_met_without(tmp_path: Path) -> None:
    """Of two the later counts, and objects are merged."""
    bundle: Any = resources(cpu={"shares": 5, "cpus": "0"})
    bundle["linux"]["resources"]["CPU"] = {"Cpus": "1", "Mems": "0"}
    bundle |= {"Hostname": "x", "hostNAME": "y"}
    bundle["linux"]["namespaces"] = [{"type": "uts"}]
    (tmp_path / "config.json").write_text(json.dumps(bundle))
    config, text = load.load_bundle(str(tmp_path))
    assert config["linux"]["resources"]["cpu"] == {"shares": 5, "cpus": "1", "mems": "0"}
    assert config["hostname"] == "y" and json.loads(text) == config
    found, odd = validate.problems(str(tmp_path))
    assert found == [] and {
        f'"{name}" is read as "hostname" (config.json /{name})' for name in ("Hostname", "hostNAME")
    } <= set(odd)
    data = json.dumps({"CPU": {"Cpus": "0"}, "MEMORY": {"Limit": 5, "limit": 6}, "unified": {"CPU": "1"}}).encode()
    assert load.load_resources(data) == {"cpu": {"cpus": "0"}, "memory": {"limit": 6}, "unified": {"CPU": "1"}}
    with pytest.raises(ConfigError) as caught:
        load.load_resources(b'{"CPU": {"Shares": "many"}}')
    assert caught.value.pointer == "/cpu/shares"


def test_a_plain_config_is_not_read_twice(tmp_path: Path) -> None:
    """Its text is kept byte by byte, and what explains is not loaded."""
    text = json.dumps(minimal(), indent=3).encode()
    (tmp_path / "config.json").write_bytes(text)
    assert load.load_bundle(str(tmp_path))[1] == text
