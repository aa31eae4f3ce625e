"""linux.netDevices: devices of the host move into the container, with name and addresses, and nothing moves back.

Everything happens between network namespaces of the test's own, on veth pairs and bridges.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.namespaces import own_network
from tests.support.processes import command
from tests.support.workplace import Bundle, MakeBundle, Workplace

Link = dict[str, Any]


@pytest.fixture(autouse=True)
def network(workplace: Workplace) -> Iterator[None]:
    with own_network():
        yield


def links(pid: int | None = None) -> dict[str, Link]:
    """The devices of this network namespace, or of a process's, as `ip address` tells, by name; all but lo."""
    argv = ["ip", "-json", "-details", "address"]
    if pid is not None:
        argv = ["nsenter", f"--net=/proc/{pid}/ns/net", *argv]
    found: list[Link] = json.loads(command(*argv))
    return {link["ifname"]: link for link in found if link["ifname"] != "lo"}


def addresses(link: Link, scope: str = "global") -> set[str]:
    return {f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["scope"] == scope}


def veth(name: str, peer: str) -> None:
    command("ip", "link", "add", name, "type", "veth", "peer", "name", peer)


def up(link: Link) -> bool:
    return "UP" in link["flags"]


def box_with(bundle: MakeBundle, devices: dict[str, Any], *args: str) -> Bundle:
    box = bundle(*(args or ("sleep", "1000")))
    box.config["linux"]["netDevices"] = devices
    return box


def test_a_device_moves_with_its_addresses_and_is_up(container: MakeBundle) -> None:
    veth("one", "two")
    command("ip", "link", "set", "one", "address", "02:00:00:00:00:17", "mtu", "1400")
    command("ip", "link", "set", "one", "up")
    command("ip", "address", "add", "10.77.0.1/24", "broadcast", "10.77.0.255", "dev", "one")
    command("ip", "address", "add", "10.77.0.2", "peer", "10.77.9.9/32", "dev", "one")
    command("ip", "address", "add", "fd00:77::1/64", "nodad", "dev", "one")
    # None of these is a permanent address of global scope.
    command("ip", "address", "add", "10.77.1.1/24", "scope", "link", "dev", "one")
    command("ip", "address", "add", "10.77.2.1/24", "valid_lft", "1000", "preferred_lft", "1000", "dev", "one")
    command("ip", "address", "add", "fd00:78::1/64", "nodad", "valid_lft", "1000", "preferred_lft", "500", "dev", "one")
    box = box_with(container, {"one": {}})
    box.create().ok()
    assert set(links()) == {"two"}
    moved = links(box.pid())
    assert set(moved) == {"one"}
    link = moved["one"]
    assert up(link)
    assert addresses(link) == {"10.77.0.1/24", "10.77.0.2/32", "fd00:77::1/64"}
    assert (link["address"], link["mtu"]) == ("02:00:00:00:00:17", 1400)
    assert addresses(link, "link") <= {a for a in addresses(link, "link") if a.startswith("fe80")}
    by_address = {a["local"]: a for a in link["addr_info"]}
    assert by_address["10.77.0.1"]["broadcast"] == "10.77.0.255"
    assert by_address["10.77.0.2"]["address"] == "10.77.9.9"
    assert by_address["10.77.0.1"]["valid_life_time"] == 0xFFFFFFFF


def test_the_moved_device_carries_packets(bundle: MakeBundle) -> None:
    veth("one", "two")
    command("ip", "address", "add", "10.77.0.1/24", "dev", "one")
    command("ip", "address", "add", "10.77.0.9/24", "dev", "two")
    command("ip", "link", "set", "two", "up")
    box = box_with(bundle, {"one": {"name": "eth0"}}, "ping", "-c", "1", "-W", "5", "10.77.0.9")
    box.config["process"]["capabilities"] = {kind: ["CAP_NET_RAW"] for kind in ("bounding", "permitted", "effective")}
    assert "1 packets received" in box.run().ok().stdout


def test_renamed_and_several_at_once(container: MakeBundle) -> None:
    veth("one", "two")
    veth("three", "four")
    box = box_with(container, {"one": {"name": "eth0"}, "three": {"name": "eth1"}, "four": {}})
    box.create().ok()
    assert set(links()) == {"two"}
    assert set(links(box.pid())) == {"eth0", "eth1", "four"}
    assert all(up(link) for link in links(box.pid()).values())


def test_the_kernel_completes_a_name_with_percent_d(container: MakeBundle) -> None:
    veth("one", "two")
    veth("three", "four")
    command("ip", "address", "add", "10.77.0.1/24", "dev", "three")
    box = box_with(container, {"one": {"name": "eth%d"}, "three": {"name": "eth%d"}, "four": {"name": "eth0"}})
    # eth0 is taken by the first.
    refused = box.create()
    assert refused.returncode == 1
    assert "has a device eth0 already" in refused.stderr
    assert set(links()) == {"one", "two", "three", "four"}
    del box.config["linux"]["netDevices"]["four"]
    box.create().ok()
    moved = links(box.pid())
    assert set(moved) == {"eth0", "eth1"}
    assert addresses(moved["eth1"]) == {"10.77.0.1/24"}


def test_the_index_of_the_device_may_be_taken_in_there(bundle: MakeBundle, workplace: Workplace) -> None:
    # Number 7 here, and number 7 there.
    command("ip", "link", "add", "one", "index", "7", "type", "veth", "peer", "name", "two")
    with other_network(workplace) as there:
        inside(there, "ip", "link", "add", "first", "index", "7", "type", "bridge")
        command("ip", "address", "add", "10.77.0.1/24", "dev", "one")
        box = box_with(bundle, {"one": {"name": "net%d"}})
        join(box, there)
        box.create().ok()
        moved = links(box.pid())
        assert set(moved) == {"first", "net0"}
        assert addresses(moved["net0"]) == {"10.77.0.1/24"}
        assert up(moved["net0"]) and not up(moved["first"])
        box.delete("--force").ok()


class other_network:
    """Another network namespace, kept by a process: its path."""

    def __init__(self, place: Workplace) -> None:
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE, cwd=place.path
        )

    def __enter__(self) -> Path:
        assert self.process.stdout
        self.process.stdout.readline()
        return Path(f"/proc/{self.process.pid}/ns/net")

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def inside(there: Path, *argv: str) -> str:
    return command("nsenter", f"--net={there}", *argv)


def join(box: Bundle, there: Path | str) -> None:
    for entry in box.config["linux"]["namespaces"]:
        if entry["type"] == "network":
            entry["path"] = str(there)


def test_delete_moves_nothing_back(bundle: MakeBundle, workplace: Workplace) -> None:
    veth("one", "two")
    with other_network(workplace) as there:
        box = box_with(bundle, {"one": {}})
        join(box, there)
        box.create().ok()
        box.delete("--force").ok()
        assert set(links()) == {"two"}
        assert "one" in inside(there, "ip", "-brief", "link")


def test_a_name_taken_in_the_joined_namespace_is_an_error_and_everything_is_as_before(
    bundle: MakeBundle, workplace: Workplace
) -> None:
    veth("one", "two")
    veth("three", "four")
    for name in ("one", "three"):
        command("ip", "link", "set", name, "up")
    command("ip", "address", "add", "10.77.0.1/24", "dev", "one")
    command("ip", "address", "add", "10.77.3.1/24", "scope", "link", "dev", "one")
    command("ip", "address", "add", "fd00:77::1/64", "nodad", "dev", "one")
    with other_network(workplace) as there:
        inside(there, "ip", "link", "add", "eth0", "type", "bridge")
        box = box_with(bundle, {"one": {"name": "new"}, "three": {"name": "eth0"}})
        join(box, there)
        before = links()
        for devices in (box.config["linux"]["netDevices"], {"three": {"name": "eth0"}}):
            box.config["linux"]["netDevices"] = devices
            refused = box.create()
            assert refused.returncode == 1
            assert refused.stderr.count("\n") == 1
            assert "/linux/netDevices/three" in refused.stderr
            assert "has a device eth0 already" in refused.stderr
            after = links()
            assert set(after) == set(before)
            for name in ("one", "three"):
                assert up(after[name])
                assert after[name]["ifindex"] == before[name]["ifindex"]
                assert addresses(after[name]) == addresses(before[name])
            assert "10.77.3.1/24" in addresses(after["one"], "link")
            assert set(inside(there, "ip", "-brief", "link").split()) & {"one", "new", "three"} == set()


@pytest.mark.parametrize("user", [False, True])
def test_a_create_that_fails_later_gives_the_devices_back(bundle: MakeBundle, user: bool) -> None:
    veth("one", "two")
    command("ip", "address", "add", "10.77.0.1/24", "dev", "one")
    box = box_with(bundle, {"one": {"name": "eth0"}}, "no-such-program")
    if user:
        with_user_namespace(box)
    refused = box.create()
    assert refused.returncode == 1
    assert "executable file not found" in refused.stderr
    assert set(links()) == {"one", "two"}
    assert addresses(links()["one"]) == {"10.77.0.1/24"}
    assert not up(links()["one"])


def with_user_namespace(box: Bundle) -> None:
    box.config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        box.config["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    command("chown", "-R", "100000:100000", str(box.rootfs))


def test_below_a_user_namespace(container: MakeBundle) -> None:
    veth("one", "two")
    command("ip", "address", "add", "10.77.0.1/24", "dev", "one")
    box = box_with(container, {"one": {"name": "eth0"}})
    with_user_namespace(box)
    box.create().ok()
    moved = links(box.pid())
    assert set(moved) == {"eth0"} and up(moved["eth0"]) and addresses(moved["eth0"]) == {"10.77.0.1/24"}


def test_below_a_user_namespace_that_is_joined(container: MakeBundle) -> None:
    """The new network namespace is made by the second clone, so the device moves only then."""
    veth("one", "two")
    first = container("sleep", "1000")
    with_user_namespace(first)
    first.create().ok()
    box = box_with(container, {"one": {"name": "eth0"}})
    with_user_namespace(box)
    del box.config["linux"]["uidMappings"], box.config["linux"]["gidMappings"]
    box.config["linux"]["namespaces"][-1]["path"] = f"/proc/{first.pid()}/ns/user"
    box.create().ok()
    assert set(links(box.pid())) == {"eth0"}


def test_sysctls_and_hooks_find_the_device(bundle: MakeBundle) -> None:
    veth("one", "two")
    box = box_with(bundle, {"one": {"name": "eth0"}}, "cat", "/proc/sys/net/ipv4/conf/eth0/forwarding")
    box.config["linux"]["sysctl"] = {"net.ipv4.conf.eth0.forwarding": "1"}
    seen = box.path / "seen"
    script = f"pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); nsenter --net=/proc/$pid/ns/net ip -brief link >{seen}"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
    box.config["hooks"] = {"createRuntime": [hook]}
    assert box.run().ok().stdout == "1\n"
    assert "eth0" in seen.read_text()


def test_a_device_that_is_not_there(bundle: MakeBundle) -> None:
    box = box_with(bundle, {"none": {}})
    refused = box.create()
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "move network device none: no such device" in refused.stderr
    assert "/linux/netDevices/none" in refused.stderr


def test_a_device_that_the_kernel_does_not_move(bundle: MakeBundle) -> None:
    command("ip", "link", "add", "one", "type", "bridge")
    refused = box_with(bundle, {"one": {}}).create()
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "move network device one: " in refused.stderr
    assert set(links()) == {"one"}


def test_without_a_network_namespace_of_its_own(bundle: MakeBundle) -> None:
    veth("one", "two")
    box = box_with(bundle, {"one": {}})
    spaces = box.config["linux"]["namespaces"]
    own = f"/proc/{os.getpid()}/ns/net"
    for entries in (
        [entry for entry in spaces if entry["type"] != "network"],
        [{**entry, "path": own} if entry["type"] == "network" else entry for entry in spaces],
    ):
        box.config["linux"]["namespaces"] = entries
        refused = box.create()
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1
        assert "network devices" in refused.stderr
        assert set(links()) == {"one", "two"}


def test_rootless_it_is_an_error(bundle: MakeBundle, workplace: Workplace) -> None:
    veth("one", "two")
    box = box_with(bundle, {"one": {}})
    box.save()
    argv: list[str | Path] = ["unshare", "--user", "--map-root-user", workplace.runtime, "--root", workplace.root]
    argv += ["create", "--bundle", box.path, box.id]
    refused = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert refused.returncode == 1
    assert "unable to move network devices for rootless containers" in refused.stderr
    assert set(links()) == {"one", "two"}


def test_the_plan_says_it(bundle: MakeBundle, workplace: Workplace) -> None:
    box = box_with(bundle, {"one": {"name": "eth0"}})
    box.save()
    plan = json.loads(workplace.call("plan", "--json", box.path).ok().stdout)
    steps = plan["steps"] if isinstance(plan, dict) else plan
    found = [step for step in steps if step["step"] == "netDevices"]
    assert [step["pointer"] for step in found] == ["/linux/netDevices/one"]
    assert found[0]["side"] == "runtime"
