"""Mount options idmap and ridmap: whose the files of a mount are, seen and made in the container."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.namespaces import own_mounts
from tests.support.processes import command
from tests.support.workplace import Bundle, MakeBundle, Workplace

Config = dict[str, Any]


def runs(*triples: tuple[int, int, int]) -> list[dict[str, int]]:
    return [{"containerID": c, "hostID": h, "size": s} for c, h, s in triples]


@pytest.fixture
def folder(workplace: Workplace) -> Iterator[Path]:
    """A folder with files of users 0, 1 and 5 and of groups 0, 2 and 6, and a mount within."""
    path = workplace.path / "shared"
    path.mkdir()
    path.chmod(0o777)
    for name, uid, gid in (("zero", 0, 0), ("one", 1, 2), ("five", 5, 6)):
        (path / name).touch()
        os.chown(path / name, uid, gid)
    (path / "below").mkdir()
    with own_mounts():
        command("mount", "-t", "tmpfs", "-o", "mode=777", "tmpfs", str(path / "below"))
        (path / "below/one").touch()
        os.chown(path / "below/one", 1, 2)
        yield path


def owners(box: Bundle, *names: str) -> dict[str, str]:
    """Run the container: `uid:gid` of these names below /shared."""
    paths = " ".join(f"/shared/{name}" for name in names)
    box.config["process"]["args"] = ["sh", "-c", f"stat -c '%n %u:%g' {paths}"]
    lines = box.run().ok().stdout.splitlines()
    return dict(line.removeprefix("/shared/").split() for line in lines)


def shared(bundle: MakeBundle, folder: Path, options: list[str], **mappings: Any) -> Bundle:
    box = bundle()
    entry = {"destination": "/shared", "type": "bind", "source": str(folder), "options": options, **mappings}
    box.config["mounts"].append(entry)
    return box


def in_user_namespace(box: Bundle, uids: list[dict[str, int]], gids: list[dict[str, int]]) -> None:
    box.config["linux"]["namespaces"].append({"type": "user"})
    box.config["linux"].update(uidMappings=uids, gidMappings=gids)
    give(box)


def give(box: Bundle) -> None:
    """The rootfs to the user namespace's root, who makes the mount points in it."""
    os.chown(box.rootfs, 100000, 100000)


OWN = {"uidMappings": runs((0, 1000, 3), (5, 2000, 1)), "gidMappings": runs((0, 3000, 3))}


@pytest.mark.parametrize("options", [["bind", "idmap"], ["rbind", "idmap"], ["rbind", "rw", "idmap", "nosuid"]])
def test_mappings_of_the_mount(bundle: MakeBundle, folder: Path, options: list[str]) -> None:
    box = shared(bundle, folder, options, **OWN)
    # Group 6 is not mapped: the overflow id.
    names = {"zero": "1000:3000", "one": "1001:3002", "five": "2000:65534"}
    if "rbind" in options:
        names["below/one"] = "1:2"
    assert owners(box, *names) == names


def test_recursive(bundle: MakeBundle, folder: Path) -> None:
    box = shared(bundle, folder, ["rbind", "ridmap"], **OWN)
    assert owners(box, "one", "below/one") == {"one": "1001:3002", "below/one": "1001:3002"}


def test_mappings_without_the_option_count_and_are_told(bundle: MakeBundle, folder: Path) -> None:
    box = shared(bundle, folder, ["bind"], **OWN)
    box.config["process"]["args"] = ["stat", "-c", "%u:%g", "/shared/one"]
    done = box.run().ok()
    assert done.stdout == "1001:3002\n"
    assert "has uidMappings, but not the option idmap or ridmap" in done.stderr


def test_files_made_there_get_the_ids_of_the_other_side(bundle: MakeBundle, folder: Path) -> None:
    box = shared(bundle, folder, ["bind", "idmap"], uidMappings=runs((0, 1000, 10)), gidMappings=runs((0, 1000, 10)))
    box.config["process"]["args"] = ["touch", "/shared/made"]
    box.config["process"]["user"] = {"uid": 1007, "gid": 1003}
    box.run().ok()
    status = (folder / "made").stat()
    assert (status.st_uid, status.st_gid) == (7, 3)


def test_the_container_s_own_mapping(bundle: MakeBundle, folder: Path) -> None:
    """What is root's on the host is root's in the user namespace."""
    box = shared(bundle, folder, ["rbind", "idmap"])
    in_user_namespace(box, runs((0, 100000, 1000)), runs((0, 200000, 1000)))
    names = {"zero": "0:0", "one": "1:2", "five": "5:6", "below/one": "65534:65534"}
    assert owners(box, *names) == names
    box.config["process"]["args"] = ["touch", "/shared/made"]
    box.run().ok()
    status = (folder / "made").stat()
    assert (status.st_uid, status.st_gid) == (0, 0)


def test_mappings_of_the_mount_in_a_user_namespace(bundle: MakeBundle, folder: Path) -> None:
    """As Kubernetes has them: files of host user 0 appear as the host's 100000, which is 0 in there."""
    box = shared(
        bundle, folder, ["rbind", "ridmap"], uidMappings=runs((0, 100000, 100)), gidMappings=runs((1, 100002, 100))
    )
    in_user_namespace(box, runs((0, 100000, 1000)), runs((0, 100000, 1000)))
    names = {"zero": "0:65534", "one": "1:3", "below/one": "1:3"}
    assert owners(box, *names) == names


@pytest.mark.parametrize("own", [False, True])
def test_in_a_user_namespace_that_is_joined(container: MakeBundle, folder: Path, own: bool) -> None:
    first = container("sleep", "1000")
    in_user_namespace(first, runs((0, 100000, 1000)), runs((0, 100000, 1000)))
    first.create().ok()
    box = shared(container, folder, ["rbind", "idmap"])
    if own:
        box.config["mounts"][-1].update(uidMappings=runs((0, 100007, 10)), gidMappings=runs((0, 100007, 10)))
    box.config["linux"]["namespaces"].append({"type": "user", "path": f"/proc/{first.pid()}/ns/user"})
    give(box)
    add = 7 if own else 0
    assert owners(box, "zero", "one") == {"zero": f"{add}:{add}", "one": f"{add + 1}:{add + 2}"}


def test_a_new_file_system_can_be_mapped_too(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "stat -c %u:%g /new; touch /new/file && stat -c %u:%g /new/file; grep /new /proc/mounts")
    entry = {"destination": "/new", "type": "tmpfs", "source": "tmpfs", "options": ["idmap", "mode=777"]}
    box.config["mounts"].append({**entry, "uidMappings": runs((0, 1000, 9)), "gidMappings": runs((0, 1000, 9))})
    box.config["process"]["user"] = {"uid": 1004, "gid": 1005}
    lines = box.run().ok().stdout.splitlines()
    assert lines[:2] == ["1000:1000", "1004:1005"]
    assert "idmapped" in lines[2]


def test_a_file_too(bundle: MakeBundle, folder: Path) -> None:
    box = bundle("stat", "-c", "%u:%g", "/one")
    entry = {"destination": "/one", "type": "bind", "source": str(folder / "one"), "options": ["bind", "idmap"]}
    box.config["mounts"].append({**entry, **OWN})
    assert box.run().ok().stdout == "1001:3002\n"


def test_two_mounts_share_one_helper(bundle: MakeBundle, folder: Path, workplace: Workplace) -> None:
    box = shared(bundle, folder, ["bind", "idmap"], **OWN)
    box.config["mounts"].append({**box.config["mounts"][-1], "destination": "/again"})
    box.config["mounts"].append({**box.config["mounts"][-1], "destination": "/other", "gidMappings": runs((0, 7, 1))})
    box.save()
    plan = workplace.call("plan", box.path).ok().stdout
    assert plan.count("make a user namespace that maps") == 2
    box.config["process"]["args"] = ["stat", "-c", "%u:%g", "/shared/one", "/again/one", "/other/zero"]
    assert box.run().ok().stdout.splitlines() == ["1001:3002", "1001:3002", "1000:7"]


# ---- what is refused ----


def refused(box: Bundle, words: str) -> None:
    done = box.create()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr
    assert f"/mounts/{len(box.config['mounts']) - 1}" in done.stderr


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_no_mapping_at_all(bundle: MakeBundle, folder: Path, option: str) -> None:
    box = shared(bundle, folder, ["rbind", option])
    refused(box, "id-mapped mounts must have both uid and gid mappings specified")


def test_one_of_the_two_mappings(bundle: MakeBundle, folder: Path) -> None:
    box = shared(bundle, folder, ["bind", "idmap"], uidMappings=OWN["uidMappings"])
    refused(box, "id-mapped mounts must have both uid and gid mappings specified")


def test_mappings_that_overlap(bundle: MakeBundle, folder: Path) -> None:
    box = shared(
        bundle, folder, ["bind", "idmap"], uidMappings=runs((0, 1000, 10), (5, 2000, 1)), gidMappings=runs((0, 0, 1))
    )
    refused(box, "containerID 5 is mapped twice")


def test_a_file_system_that_cannot(bundle: MakeBundle) -> None:
    box = shared(bundle, Path("/proc"), ["rbind", "idmap"], **OWN)
    refused(box, "id-map the mount of /proc: invalid argument")


def test_below_it_one_that_cannot(bundle: MakeBundle, folder: Path) -> None:
    command("mount", "-t", "proc", "proc", str(folder / "below"))
    box = shared(bundle, folder, ["rbind", "ridmap"], **OWN)
    refused(box, "id-map the mount of " + str(folder))
    box.config["mounts"][-1]["options"] = ["rbind", "idmap"]
    assert owners(box, "one") == {"one": "1001:3002"}


def test_a_new_file_system_in_a_user_namespace(bundle: MakeBundle) -> None:
    box = bundle()
    in_user_namespace(box, runs((0, 100000, 1000)), runs((0, 100000, 1000)))
    box.config["mounts"].append({"destination": "/new", "type": "tmpfs", "source": "tmpfs", "options": ["idmap"]})
    refused(box, "only bind mounts can be id-mapped")
