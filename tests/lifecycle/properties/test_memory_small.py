"""Memory limits below what other runtimes need themselves: they work, or the error says what is wrong."""

import json
from typing import Any

import pytest

from tests.support import TOP
from tests.support.containers import running
from tests.support.namespaces import add_user_namespace
from tests.support.workplace import MakeBundle

KIB = 1024


def no_change(box: Any) -> None:
    """spec's config."""


def as_engines_ask(box: Any) -> None:
    box.config["process"]["noNewPrivileges"] = False
    box.config["linux"]["seccomp"] = json.loads((TOP / "tests/data/profiles/docker.json").read_text())
    box.config["linux"]["namespaces"].append({"type": "cgroup"})
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}


@pytest.mark.parametrize("change", [no_change, as_engines_ask, add_user_namespace], ids=lambda change: change.__name__)
@pytest.mark.parametrize("limit", [4096 * KIB, 1024 * KIB, 512 * KIB, 256 * KIB])
def test_small_limits_work(limit: int, change: Any, bundle: MakeBundle) -> None:
    box = bundle("/bin/true")
    change(box)
    box.config["linux"]["resources"]["memory"] = {"limit": limit}
    got = box.run()
    assert (got.returncode, got.stdout, got.stderr) == (0, "", "")


@pytest.mark.parametrize("change", [no_change, as_engines_ask], ids=lambda change: change.__name__)
def test_exec_in_a_small_container(change: Any, container: MakeBundle) -> None:
    """The pages that the process copies on its way are not the container's to pay."""
    box = container("sleep", "1000")
    change(box)
    box.config["linux"]["resources"]["memory"] = {"limit": 768 * KIB}
    running(box)
    for _ in range(5):
        got = box.exec("true")
        assert (got.returncode, got.stderr) == (0, "")
    assert box.status() == "running"


def test_the_limit_is_the_kernel_s(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    box.config["linux"]["resources"]["memory"] = {"limit": 256 * KIB}
    running(box)
    assert (box.cgroup_dir("memory") / "memory.limit_in_bytes").read_text() == f"{256 * KIB}\n"
    assert int((box.cgroup_dir("memory") / "memory.max_usage_in_bytes").read_text()) <= 256 * KIB


@pytest.mark.parametrize("limit", [64 * KIB, 16 * KIB, 4 * KIB])
def test_too_small_a_limit_is_told(limit: int, bundle: MakeBundle) -> None:
    box = bundle("/bin/true")
    box.config["linux"]["resources"]["memory"] = {"limit": limit}
    got = box.run()
    # Killed as its program, or before that.
    assert got.returncode in (137, 1)
    assert got.stderr.count("\n") == 1
    assert "memory limit" in got.stderr and "too low" in got.stderr
    assert "/linux/resources/memory/limit" in got.stderr


@pytest.mark.parametrize("limit", [64 * KIB, 4 * KIB])
def test_create_and_start_tell_it_too(limit: int, bundle: MakeBundle) -> None:
    box = bundle("/bin/true")
    box.config["linux"]["resources"]["memory"] = {"limit": limit}
    got = box.create()
    if got.returncode == 0:
        got = box.start()
        text = got.stderr
        if got.returncode == 0:
            box.wait_for("stopped")
            box.delete().ok()
            return
        box.delete("--force").ok()
    else:
        text = got.stderr + box.errors()
    assert got.returncode == 1
    assert "memory limit" in text and "too low" in text and "/linux/resources/memory/limit" in text


def test_a_program_that_reaches_its_limit(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "exec tail /dev/zero")
    box.config["linux"]["resources"]["memory"] = {"limit": 8 << 20}
    got = box.run()
    assert got.returncode == 137
    assert got.stderr.count("\n") == 1
    assert f"{box.id} was killed because it reached its memory limit" in got.stderr
