"""Where cgroups are: pure, and so for machines other than this one."""

import pytest

from pyrunc.cgroups import hierarchies
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
