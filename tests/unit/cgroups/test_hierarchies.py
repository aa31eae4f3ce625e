"""Where cgroups are and which devices rules allow: pure, and so for machines other than this one."""

import itertools
from typing import Any

import pytest

from pyrunc.cgroups import device_rules, hierarchies
from pyrunc.cgroups.hierarchies import Hierarchies, parse_mountinfo
from pyrunc.errors import ConfigError, PyruncError

# The usual names of systemd hosts: two hierarchies of two controllers each.
HIERARCHIES = ["name=systemd", "cpu,cpuacct", "net_cls,net_prio", "memory", "devices"]
MOUNTINFO = rb"""24 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 24 0:28 / /sys/fs/cgroup ro,nosuid shared:8 - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate
33 31 0:30 / /sys/fs/cgroup/systemd rw shared:10 - cgroup cgroup rw,xattr,name=systemd
34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/net_cls,net_prio rw shared:12 - cgroup cgroup rw,net_cls,net_prio
36 31 0:33 / /sys/fs/cgroup/memory rw shared:13 - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/devices rw shared:14 - cgroup cgroup rw,devices
"""
CGROUP = "/sys/fs/cgroup/"


def test_controllers_mounted_together() -> None:
    mounts = parse_mountinfo(MOUNTINFO, HIERARCHIES)
    assert mounts.pop("") == (CGROUP + "unified", "/")
    assert mounts == {
        "name=systemd": (CGROUP + "systemd", "/"),
        "cpu": (CGROUP + "cpu,cpuacct", "/"),
        "cpuacct": (CGROUP + "cpu,cpuacct", "/"),
        "net_cls": (CGROUP + "net_cls,net_prio", "/"),
        "net_prio": (CGROUP + "net_cls,net_prio", "/"),
        "memory": (CGROUP + "memory", "/"),
        "devices": (CGROUP + "devices", "/"),
    }
    paths = hierarchies.paths(Hierarchies("v1", mounts, {}), "/pod/box", "id")
    assert paths["cpu"] == paths["cpuacct"] == CGROUP + "cpu,cpuacct/pod/box"
    assert paths["name=systemd"] == CGROUP + "systemd/pod/box"


def test_the_mounts_of_containers_are_not_ours() -> None:
    theirs = b"90 1 0:33 /docker/1 /var/lib/x\\040y/sys/fs/cgroup/memory ro master:13 - cgroup cgroup rw,memory\n"
    for data in (theirs + MOUNTINFO, MOUNTINFO + theirs):
        assert parse_mountinfo(data, HIERARCHIES)["memory"] == (CGROUP + "memory", "/")
    assert parse_mountinfo(theirs, HIERARCHIES) == {"memory": ("/var/lib/x y/sys/fs/cgroup/memory", "/docker/1")}


def test_what_is_mounted_over_another() -> None:
    over = b"91 36 0:33 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    assert parse_mountinfo(MOUNTINFO + over, HIERARCHIES)["memory"] == (CGROUP + "memory", "/docker/1")


@pytest.mark.parametrize(
    ("own", "root", "asked", "below"),
    [
        ("/", "/", "/a/b", "/a/b"),
        ("/", "/", "a//b/./", "/a/b"),
        ("/", "/", None, "/the-id"),
        ("/", "/", "", "/the-id"),
        ("/user/1", "/", "/a", "/a"),
        ("/user/1", "/", "a", "/user/1/a"),
        # In a container: the mount's root is the container's cgroup.
        ("/docker/1", "/docker/1", "/a", "/a"),
        ("/docker/1", "/docker/1", "a", "/a"),
        ("/docker/1/sub", "/docker/1", "a", "/sub/a"),
        ("/docker/10", "/docker/1", "a", "/a"),
        # Mounts made outside of the cgroup namespace; a process that was moved out of its namespace's root.
        ("/", "/../..", "a", "/a"),
        ("/../x", "/", "a", "/a"),
    ],
)
def test_paths(own: str, root: str, asked: str | None, below: str) -> None:
    host = Hierarchies("v1", {"devices": ("/cg/devices", root)}, {"devices": own})
    assert hierarchies.paths(host, asked, "the-id") == {"devices": "/cg/devices" + below}


@pytest.mark.parametrize("asked", ["/", "//.", ".", "..", "/..", "/a/../b", "a/..", "../a", "/a\0b"])
def test_paths_that_leave_their_place(asked: str) -> None:
    """The root itself holds every process of the machine: nothing below may be deleted as a container's."""
    host = Hierarchies("v1", {"devices": ("/cg/devices", "/")}, {"devices": "/"})
    with pytest.raises(ConfigError, match="must name a cgroup below") as caught:
        hierarchies.paths(host, asked, "the-id")
    assert caught.value.pointer == "/linux/cgroupsPath"


def test_no_devices_no_v1_and_other_named_hierarchies() -> None:
    with pytest.raises(PyruncError, match="the devices cgroup is not mounted"):
        hierarchies.paths(Hierarchies("v1", {"memory": ("/cg/memory", "/")}, {}), "/a", "id")
    with pytest.raises(PyruncError, match="no cgroup hierarchy is mounted"):
        hierarchies.paths(Hierarchies("none", {}, {}), "/a", "id")
    assert hierarchies.paths(Hierarchies("v2", {}, {"": "/user.slice/x"}), "/a", "id") == {"": "/sys/fs/cgroup/a"}
    assert hierarchies.paths(Hierarchies("v2", {}, {"": "/user.slice/x"}), None, "id") == {
        "": "/sys/fs/cgroup/user.slice/id"
    }
    named = {"devices": ("/cg/d", "/"), "name=openrc": ("/cg/openrc", "/"), "name=systemd": ("/cg/systemd", "/")}
    assert set(hierarchies.paths(Hierarchies("v1", named, {}), "/a", "id")) == {"devices", "name=systemd"}


# --- devices


@pytest.mark.parametrize(
    ("rule", "pointer", "words"),
    [
        ({"allow": True, "type": "u", "access": "r"}, "/0/type", "invalid device type 'u'"),
        ({"allow": True, "access": ""}, "/0/access", "must not be empty"),
        ({"allow": True}, "/0/access", "must not be empty"),
        ({"allow": True, "access": "rx"}, "/0/access", "invalid device access 'rx'"),
        ({"allow": True, "major": -2, "access": "r"}, "/0/major", "invalid device number -2"),
        ({"allow": True, "minor": 2**32, "access": "r"}, "/0/minor", "invalid device number 4294967296"),
    ],
)
def test_bad_device_rules(rule: Any, pointer: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        device_rules.parse([rule])
    assert caught.value.pointer == "/linux/resources/devices" + pointer


def test_an_engines_device_rules() -> None:
    """What podman writes: deny all, and the defaults after it."""
    rules = device_rules.parse([{"allow": False, "access": "rwm"}])
    assert rules == [(False, "a", -1, -1, 7)]
    default, exceptions = device_rules.reduce(rules)
    assert not default
    writes = device_rules.v1_writes(default, exceptions)
    assert writes[0] == ("devices.deny", ["a"])
    assert writes[1][0] == "devices.allow" and len(writes) == 2
    assert writes[1][1][:3] == ["c *:* m", "b *:* m", "c 1:3 rwm"]
    assert device_rules.v1_writes(*device_rules.reduce(device_rules.parse([{"allow": True, "access": "rwm"}]))) == [
        ("devices.allow", ["a"])
    ]


def test_the_last_rule_decides_each_access() -> None:
    rules = device_rules.parse(
        [
            {"allow": True, "type": "c", "major": 7, "access": "rw"},
            {"allow": False, "type": "c", "access": "w"},
            {"allow": True, "type": "c", "major": 7, "minor": 1, "access": "w"},
        ]
    )
    assert device_rules.allowed(rules, "c", 7, 1, 6)
    assert device_rules.allowed(rules, "c", 7, 0, 2)
    assert not device_rules.allowed(rules, "c", 7, 0, 6)
    assert not device_rules.allowed(rules, "b", 7, 1, 2)
    # One exception has to cover both accesses of an open for reading and writing.
    assert device_rules.reduce(rules, ()) == (False, {("c", 7, -1): 2, ("c", 7, 1): 6})


def test_a_default_rule_never_makes_a_config_invalid() -> None:
    """All but majors 10 and 136: tun and pseudo-terminals can't be excepted from that on v1, and stay denied."""
    rules = device_rules.parse(
        [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 10, "access": "rw"}]
    )
    assert device_rules.reduce(rules) == (True, {("c", 10, -1): 6})


def test_reduced_rules_mean_the_same() -> None:
    """Every list of three rules over two devices and wildcards, against the rules taken one after another."""
    patterns = [("c", 1, 1), ("c", 1, -1), ("c", -1, 1), ("c", -1, -1), ("a", -1, -1)]
    every = [(allow, *pattern, access) for allow in (True, False) for pattern in patterns for access in (2, 6)]
    asked = [(major, minor, access) for major in (1, 2) for minor in (1, 2) for access in (2, 4, 6)]
    refused = 0
    for rules in itertools.product(every, repeat=3):
        try:
            default, exceptions = device_rules.reduce(rules, ())
        except ConfigError:
            refused += 1
            continue
        for major, minor, access in asked:
            matching = [
                bits
                for (kind, ex_major, ex_minor), bits in exceptions.items()
                if kind == "c" and ex_major in (-1, major) and ex_minor in (-1, minor)
            ]
            # The kernel: an exception allows what it covers whole, and denies what it touches.
            verdict = (
                not any(bits & access for bits in matching) if default else any(access & ~b == 0 for b in matching)
            )
            assert verdict == device_rules.allowed(rules, "c", major, minor, access), rules
    assert 0 < refused < 20**3 / 2
