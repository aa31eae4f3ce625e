"""What a mount of type cgroup shows where the container has no cgroup of its own: those that its process is in."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.cgroups import hierarchies
from tests.support.mounts import mounts_of
from tests.support.workplace import Bundle, MakeBundle

USER = 1900


def own_cgroups(pid: int) -> dict[str, Path]:
    """Where in the host's hierarchies a process is, by controller; without cgroup v2's."""
    where = hierarchies()
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in filter(None, names.split(",")):
            found[name.removeprefix("name=")] = where.get(name.removeprefix("name="), Path()) / path.lstrip("/")
    return {name: path for name, path in found.items() if name in where}


def check(box: Bundle, **how: Any) -> None:
    """how: who asks for the state."""
    pid = int(json.loads(box.call("state", box.id, **how).ok().stdout)["pid"])
    cgroups = own_cgroups(pid)
    assert "memory" in cgroups
    for name, directory in cgroups.items():
        shown = os.stat(f"/proc/{pid}/root/sys/fs/cgroup/{name}")
        assert (shown.st_dev, shown.st_ino) == (os.stat(directory).st_dev, os.stat(directory).st_ino), name
        assert str(pid) in Path(f"/proc/{pid}/root/sys/fs/cgroup/{name}/cgroup.procs").read_text().split()
    mounts = mounts_of(pid)
    for point in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory"):
        assert mounts[point].options >= {"ro", "nosuid", "noexec", "nodev"}
    names = {name for name in os.listdir(f"/proc/{pid}/root/sys/fs/cgroup") if "," not in name}
    assert names == cgroups.keys()


@pytest.fixture
def box(bundle: MakeBundle) -> Bundle:
    if "memory" not in hierarchies():
        pytest.skip("cgroup v1 is not mounted")
    return bundle("sleep", "1000")


def by_an_ordinary_user(box: Bundle, *namespaces: str) -> str:
    """Run the bundle as one who may make no cgroup, detached. What was said on standard error."""
    box.path.joinpath("config.json").unlink()
    subprocess.run(["chown", "-R", f"{USER}:{USER}", box.place.path], check=True)
    linux = box.config["linux"]
    linux["namespaces"] = [{"type": kind} for kind in ("user", "ipc", "uts", "mount", *namespaces)]
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": USER, "size": 1}]
    linux.pop("cgroupsPath")
    linux.pop("resources", None)
    bound = ["/sys"] if "pid" in namespaces else ["/sys", "/proc"]
    keep = []
    for mount in box.config["mounts"]:
        if mount["destination"] in bound:
            place = mount["destination"]
            mount = {"destination": place, "type": "none", "source": place, "options": ["rbind", "ro"]}
        options = [option for option in mount.get("options", ()) if not option.startswith("gid=")]
        keep.append({**mount, "options": options})
    box.config["mounts"] = keep
    box.save()
    argv = ("run", "--detach", "--bundle", box.path, box.id)
    box.call(*argv, user=USER, stdout=box.path / "stdout", stderr=box.path / "stderr").ok()
    return (box.path / "stderr").read_text()


@pytest.mark.usefixtures("public_place")
@pytest.mark.parametrize("namespace", [False, True])
def test_of_an_ordinary_user(namespace: bool, box: Bundle) -> None:
    """Who may make no cgroup. It was an empty tmpfs once."""
    assert by_an_ordinary_user(box, "pid", *(["cgroup"] if namespace else [])) == ""
    check(box, user=USER)
    box.call("delete", "--force", box.id, user=USER).ok()


@pytest.mark.usefixtures("public_place")
def test_without_a_pid_namespace_either(box: Bundle) -> None:
    """Nothing tells then which processes are the container's."""
    said = by_an_ordinary_user(box)
    assert said.count("\n") == 1
    assert "level=warning" in said and "Such configuration is strongly discouraged" in said
    box.call("delete", "--force", box.id, user=USER).ok()


@pytest.mark.parametrize("namespace", [False, True])
def test_without_a_cgroup(namespace: bool, box: Bundle) -> None:
    box.config["linux"].pop("resources", None)
    if namespace:
        box.config["linux"]["namespaces"].append({"type": "cgroup"})
    argv = ("run", "--detach", "--bundle", box.save(), box.id)
    box.call(*argv, flags=("--cgroup-manager", "disabled"), stdout=box.path / "stdout", stderr=box.path / "stderr").ok()
    check(box)
    box.delete("--force").ok()
