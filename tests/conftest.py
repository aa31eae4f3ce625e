"""What all tests share: the runtime under test, bundles, the leak check, and the accepted skips.

    def test_status(bundle: MakeBundle) -> None:
        box = bundle("sh", "-c", "exit 3")
        assert box.run().returncode == 3

Whatever takes `bundle` or `workplace` is followed by the leak check: no process, mount, cgroup or state that it made
may be left. `container` makes bundles too, and deletes their containers after the test:

    def test_its_name(container: MakeBundle) -> None:
        box = container("sleep", "1000")
        box.run("--detach").ok()
        assert Path(f"/proc/{box.pid()}/comm").read_text() == "sleep\\n"
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import TOP
from tests.support.accepted_skips import AcceptedSkips
from tests.support.processes import become_subreaper
from tests.support.rootfs import BUSYBOX
from tests.support.workplace import Bundle, MakeBundle, Workplace


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(AcceptedSkips(TOP / "tests/accepted-skips.txt"), "accepted-skips")


@pytest.fixture(scope="session")
def runtime() -> Path:
    """The runtime under test: PYRUNC from the environment, else what was built here, else what is installed.

    PYRUNC_IMAGE=off takes the one beside it that knows of no image; no program of ours reads the variable.
    """
    for candidate in (os.environ.get("PYRUNC"), TOP / "build/pyrunc", "/usr/local/bin/pyrunc"):
        if candidate and os.access(candidate, os.X_OK):
            path = Path(candidate).absolute()
            return path.with_name("pyrunc-ordinary") if os.environ.get("PYRUNC_IMAGE") == "off" else path
    pytest.skip("no runtime: neither PYRUNC, build/pyrunc nor /usr/local/bin/pyrunc")


@pytest.fixture(scope="session")
def public_tree() -> Iterator[Path]:
    """A folder with copies of the package and of tools, for sys.path of what an ordinary user runs in a test.

    The work tree itself may lie where only its owner may look.
    """
    with tempfile.TemporaryDirectory(prefix="pyrunc-tree-", dir="/tmp") as folder:
        for name in ("pyrunc", "tools"):
            shutil.copytree(TOP / name, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__"))
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def public_runtime(runtime: Path) -> Iterator[Path]:
    """The runtime under test where every user can start it.

    A launcher has the path of its second stage built in, so one whose work tree is closed to others (below /root, say)
    is installed in a public folder.
    """
    if os.geteuid() != 0:
        pytest.skip("no root: nobody else can be had to start it")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*nobody, runtime, "--version"], capture_output=True, check=False).returncode == 0:
        yield runtime
    elif not runtime.is_relative_to(TOP):
        pytest.skip(f"only its owner can start {runtime}")
    else:
        with tempfile.TemporaryDirectory(prefix="pyrunc-installed-", dir="/tmp") as folder:
            Path(folder).chmod(0o755)
            made = subprocess.run(["make", "install", f"PREFIX={folder}"], cwd=TOP, capture_output=True, text=True)
            assert made.returncode == 0, made.stderr
            yield Path(folder, "bin/pyrunc")


@pytest.fixture
def workplace(runtime: Path) -> Iterator[Workplace]:
    """A place for containers, empty again after the test or the test fails."""
    if os.geteuid() != 0:
        pytest.skip("no root: containers are made by root here")
    if not BUSYBOX.exists():
        pytest.skip("no busybox-static")
    become_subreaper()
    place = Workplace(runtime)
    try:
        yield place
        left = place.check()
    finally:
        place.close()
    if left:
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def public_place(workplace: Workplace, public_runtime: Path) -> Workplace:
    """The test's workplace, with a runtime that every user can start."""
    workplace.runtime = public_runtime
    return workplace


@pytest.fixture
def bundle(workplace: Workplace) -> MakeBundle:
    """Makes bundles in the test's workplace."""
    return workplace.bundle


@pytest.fixture
def container(workplace: Workplace) -> Iterator[MakeBundle]:
    """Makes bundles in the test's workplace, and deletes by force what the test has made of them; that must work."""
    made: list[Bundle] = []

    def make(*args: str, name: str | None = None) -> Bundle:
        made.append(workplace.bundle(*args, name=name))
        return made[-1]

    yield make
    # Whoever joined another's namespaces was made after it.
    for box in reversed(made):
        box.delete("--force").ok()
