"""`doctor` with a bundle: what that needs and this host lacks, each with its place in config.json."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.doctors import USER, Doctor, as_user, problems, the
from tests.support.namespaces import set_namespaces
from tests.support.workplace import Bundle, MakeBundle


def of_bundle(doctor: Doctor, box: Bundle, line: str = ":", **how: Any) -> list[dict[str, Any]]:
    return doctor.findings(line, box.save(), **how)


def test_a_bundle_that_can_be_run(doctor: Doctor, bundle: MakeBundle) -> None:
    box = bundle("/bin/true")
    assert the(of_bundle(doctor, box), "bundle")["level"] == "ok"
    assert not doctor.place.root.exists()
    box.run().ok()


def test_what_a_bundle_needs(doctor: Doctor, bundle: MakeBundle) -> None:
    """All of it at once, each with its place; and create refuses the bundle."""
    box = bundle("/bin/none")
    config = box.config
    config["hooks"] = {"prestart": [{"path": "/bin/true"}, {"path": "/no/hook"}]}
    config["mounts"].append({"destination": "/x", "type": "bind", "source": "/no/source", "options": ["bind"]})
    config["mounts"].append({"destination": "/y", "type": "nosuchfs", "source": "none"})
    config["linux"]["namespaces"][0]["path"] = "/no/namespace"
    config["linux"]["sysctl"] = {"net.nothing.of.the.kind": "1"}
    config["linux"]["resources"]["rdma"] = {"x": {"hcaHandles": 1}}
    last = len(config["mounts"]) - 1
    found = of_bundle(doctor, box)
    assert problems(found) >= {
        ("hooks", "/hooks/prestart/1/path"),
        ("mounts", f"/mounts/{last - 1}/source"),
        (config["linux"]["namespaces"][0]["type"] + " namespace", "/linux/namespaces/0/path"),
        ("program", "/process/args/0"),
    }
    assert ("hooks", "/hooks/prestart/0/path") not in problems(found)
    assert the(found, "mounts", "nosuchfs")["pointer"] == f"/mounts/{last}/type"
    assert the(found, "sysctl")["pointer"] == "/linux/sysctl/net.nothing.of.the.kind"
    assert box.create().returncode == 1


def test_a_config_that_is_refused(doctor: Doctor, bundle: MakeBundle) -> None:
    box = bundle("true")
    box.config["process"]["cwd"] = "relative"
    assert ("config", "/process/cwd") in problems(of_bundle(doctor, box))


def test_no_library_for_filters(doctor: Doctor, bundle: MakeBundle) -> None:
    """Of no matter for a bundle without a filter."""
    bindings = sorted(Path("/usr/lib/python3/dist-packages").glob("seccomp*.so"))
    if not bindings:
        pytest.skip("libseccomp's bindings lie elsewhere")
    line = "; ".join([f"mount --bind /dev/null {path}" for path in bindings])
    box = bundle("/bin/true")
    found = of_bundle(doctor, box, line)
    assert the(found, "libseccomp")["level"] == "problem" and problems(found) == {("libseccomp", None)}
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    assert ("seccomp", "/linux/seccomp") in problems(of_bundle(doctor, box, line))
    assert ("seccomp", "/linux/seccomp") not in problems(of_bundle(doctor, box))


def test_a_config_elsewhere(doctor: Doctor, bundle: MakeBundle) -> None:
    """Its path is the caller's, not the bundle's."""
    box = bundle("/bin/true")
    box.save()
    box.config["process"]["cwd"] = "relative"
    (doctor.place.path / "other.json").write_text(json.dumps(box.config))
    assert problems(doctor.findings(":", "--config", "other.json", box.path)) == {("config", "/process/cwd")}


def test_a_controller_that_is_not_here(doctor: Doctor, bundle: MakeBundle) -> None:
    """On a host without it; the same bundle is none where it is mounted."""
    box = bundle("/bin/true")
    box.config["linux"]["resources"]["rdma"] = {"mlx5": {"hcaHandles": 1}}
    box.config["linux"]["resources"]["pids"] = {"limit": 10}
    found = problems(of_bundle(doctor, box))
    assert (("controllers", "/linux/resources/rdma") in found) != controller_is_here("rdma")
    assert ("controllers", "/linux/resources/pids") not in found


def controller_is_here(name: str) -> bool:
    return name in Path("/proc/cgroups").read_text() and Path("/sys/fs/cgroup", name).exists()


def test_namespaces_that_a_bundle_may_not_have(doctor: Doctor, bundle: MakeBundle) -> None:
    box = bundle("/bin/true")
    set_namespaces(box, "mount", "pid", "user")
    box.config["linux"]["uidMappings"] = box.config["linux"]["gidMappings"] = [
        {"containerID": 0, "hostID": 0, "size": 1}
    ]
    line = "echo 0 > /proc/sys/user/max_user_namespaces"
    found = of_bundle(doctor, box, line, unshare=["--user", "--map-root-user"])
    assert ("user namespace", "/linux/namespaces/2/type") in problems(found)


def test_limits_above_the_caller_s(doctor: Doctor, bundle: MakeBundle) -> None:
    box = bundle("/bin/true")
    box.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 100000, "soft": 10}]
    found = of_bundle(doctor, box, "ulimit -n 1000", wrap="setpriv --bounding-set=-sys_resource")
    assert ("rlimits", "/process/rlimits/0/hard") in problems(found)


def test_a_cgroup_that_is_taken(doctor: Doctor, container: MakeBundle) -> None:
    first, second = container("sleep", "100"), container("/bin/true")
    first.create().ok()
    second.config["linux"]["cgroupsPath"] = first.cgroup
    assert ("cgroup", "/linux/cgroupsPath") in problems(of_bundle(doctor, second))


@pytest.mark.usefixtures("public_place")
def test_ids_that_are_not_granted(doctor: Doctor, bundle: MakeBundle, tmp_path: Path) -> None:
    """Of an ordinary user."""
    if not shutil.which("newuidmap"):
        pytest.skip("no uidmap")
    box = bundle("/bin/true")
    set_namespaces(box, "mount", "pid", "user")
    maps = [{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 1000}]
    box.config["linux"]["uidMappings"] = box.config["linux"]["gidMappings"] = maps
    file = tmp_path / "subuid"
    file.write_text(f"{USER}:100000:500\n")
    line = f"mount --bind {file} /etc/subuid; mount --bind {file} /etc/subgid"
    found = problems(of_bundle(doctor, box, line, wrap=as_user()))
    assert ("id maps", "/linux/uidMappings/1") in found and ("id maps", "/linux/uidMappings/0") not in found
