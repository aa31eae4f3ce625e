"""What is accepted and what is refused, by the schema and by the rules, and how that is said."""

from __future__ import annotations

import pytest

from pyrunc.config import explain, rules, schema
from pyrunc.errors import ConfigError
from tests.support.configs import EVERYTHING, Json, linux, minimal, mount, problems, resources, seccomp, started

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
