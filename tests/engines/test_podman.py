"""What podman has and docker has not, or has otherwise."""

import json

import pytest

from . import images
from .engines import Podman, new_id


@pytest.mark.parametrize(
    ("command", "expected"), [("/etc/passwd", 126), ("/etc", 126), ("no-such-command", 127), ("true", 0)]
)
def test_named_on_the_command_line(podman: Podman, command: str, expected: int) -> None:
    """`podman --runtime PATH`, as a person types it. podman then reads no JSON but what conmon saw on stderr."""
    argv = podman.argv("run", "--rm", images.NAME, command)
    done = podman.sandbox.run("podman", "--runtime", podman.runtime, *argv[1:], env=podman.env)
    assert done.returncode == expected, done
    assert expected == 0 or command in done.stderr


@pytest.mark.parametrize(("command", "expected"), [("/etc/passwd", 126), ("/etc", 126), ("no-such-command", 127)])
def test_exec_named_on_the_command_line(podman: Podman, command: str, expected: int) -> None:
    with podman.container("exec sleep 1000") as box:
        argv = podman.argv("exec", box.name, command)
        done = podman.sandbox.run("podman", "--runtime", podman.runtime, *argv[1:], env=podman.env)
        assert done.returncode == expected, done
        assert command in done.stderr


def test_a_user_namespace(podman: Podman) -> None:
    """Root inside, user 200000 outside; the image's files, a volume and a tmpfs belong to root inside."""
    maps = ["--uidmap", "0:200000:5000", "--gidmap", "0:200000:5000"]
    script = "cat /proc/self/uid_map; id -u; stat -c %u /bin /tmp/t; touch /data/x && echo wrote; hostname"
    lines = podman.sh(script, *maps, "--tmpfs", "/tmp/t", "--hostname", "box").splitlines()
    assert lines[0].split() == ["0", "200000", "5000"]
    assert lines[1:] == ["0", "0", "0", "wrote", "box"]


def test_a_user_namespace_is_joined_by_exec(podman: Podman) -> None:
    maps = ["--uidmap", "0:200000:5000", "--gidmap", "0:200000:5000"]
    with podman.container("exec sleep 1000", *maps) as box:
        text = box.exec("sh", "-c", "id -u; id -g; cat /proc/self/uid_map; touch /data/y && echo wrote").stdout
        assert text.split() == ["0", "0", "0", "200000", "5000", "wrote"]
        assert box.exec("-u", "1000:1000", "--", "id", "-u").stdout == "1000\n"


def test_a_pod(podman: Podman) -> None:
    """Two containers that share the namespaces of a third, and a parent cgroup."""
    pod = new_id()
    infra = ["--infra-image", images.NAME, "--infra-command", "/bin/sleep 1000"]
    done = podman("pod", "create", "--name", pod, "--cgroup-parent", f"{podman.sandbox.cgroup}/pods", *infra)
    assert done.returncode == 0, done
    try:
        inside = ["--pod", pod]
        first = podman.sh("readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; hostname", *inside)
        second = podman.sh("readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; hostname", *inside)
        assert first == second
    finally:
        podman.out("pod", "rm", "-f", "-t", "0", pod)


def test_a_private_cgroup_namespace(podman: Podman) -> None:
    text = podman.sh("cut -d: -f3 /proc/self/cgroup | sort -u", "--cgroupns", "private")
    assert text == "/"


def test_a_hook(podman: Podman) -> None:
    """podman's own folder of hooks: one at each point that podman allows, which get the state on stdin."""
    folder, seen = podman.sandbox.folder("hooks"), podman.sandbox.folder("hooks-seen")
    points = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
    for point in points:
        script = podman.sandbox.folder("hooks-bin") / point
        script.write_text(f"#!/bin/sh\ncat >{seen}/{point}.$$ && mv {seen}/{point}.$$ {seen}/{point}\n")
        script.chmod(0o755)
        hook = {"version": "1.0.0", "hook": {"path": str(script)}, "when": {"always": True}, "stages": [point]}
        (folder / f"{point}.json").write_text(json.dumps(hook))
    argv = podman.argv("run", "--rm", images.NAME, "true")
    done = podman.sandbox.run("podman", "--hooks-dir", folder, *argv[1:], env=podman.env)
    assert done.returncode == 0, done
    found = {path.name: json.loads(path.read_text()) for path in seen.iterdir()}
    assert sorted(found) == sorted(points)
    statuses = {point: found[point]["status"] for point in points}
    assert statuses["prestart"] in ("creating", "created")
    assert statuses["createRuntime"] in ("creating", "created")
    assert statuses["poststart"] in ("created", "running")  # runc 1.5 runs it before the user's process has started.
    assert statuses["poststop"] == "stopped"
    assert len({state["id"] for state in found.values()}) == 1
    assert all(state["bundle"] for state in found.values())
