"""What all tests share: the runtime under test, bundles, the leak check, and the accepted skips.

    def test_status(bundle: MakeBundle) -> None:
        box = bundle("sh", "-c", "exit 3")
        assert box.run().returncode == 3

Whatever takes `bundle` or `workplace` is followed by the leak check: no process, mount, cgroup or state that it made
may be left. A test that wants leftovers takes them away itself (`box.delete("--force")`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from . import workplace as places
from .workplace import Bundle, Workplace

TOP = Path(__file__).parent.parent


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


@pytest.fixture
def workplace(runtime: Path) -> Iterator[Workplace]:
    """A place for containers, empty again after the test or the test fails."""
    if os.geteuid() != 0:
        pytest.skip("no root: containers are made by root here")
    if not places.BUSYBOX.exists():
        pytest.skip("no busybox-static")
    places.become_subreaper()
    place = Workplace(runtime)
    try:
        yield place
        left = place.check()
    finally:
        place.close()
    if left:
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


class MakeBundle(Protocol):
    """bundle(*args, name=ID): a bundle that runs args (default: `true`)."""

    def __call__(self, *args: str, name: str | None = None) -> Bundle: ...


@pytest.fixture
def bundle(workplace: Workplace) -> MakeBundle:
    """Makes bundles in the test's workplace."""
    return workplace.bundle


class AcceptedSkips:
    """In CI a test may be skipped only when the file says which feature of the kernel or machine it misses.

    Lines of the file: `NODE ID | FEATURE`; what follows a # at the start of a line is a remark.
    """

    def __init__(self, path: Path) -> None:
        lines = path.read_text().splitlines()
        entries = [line.rsplit(" | ", 1) for line in lines if line.strip() and not line.startswith("#")]
        self.accepted = {name.strip(): feature.strip() for name, feature in entries}
        self.skipped: dict[str, str] = {}
        self.ran: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report.nodeid, report.longrepr)
        elif report.when == "call":
            self.ran.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report.nodeid, report.longrepr)

    def _note(self, name: str, why: object) -> None:
        self.skipped[name] = str(why[2]) if isinstance(why, tuple) else str(why)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) and self.unexpected():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def unexpected(self) -> list[str]:
        """Skipped, and not in the file."""
        return [name for name in self.skipped if name not in self.accepted]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name in self.unexpected():
            terminalreporter.write_line(f"skipped, but not an accepted skip: {name}: {self.skipped[name]}", red=True)
        for name in sorted(self.ran.intersection(self.accepted)):
            terminalreporter.write_line(f"listed in accepted-skips.txt, but it ran: {name}")
