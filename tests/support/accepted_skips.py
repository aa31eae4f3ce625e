"""CI's rule for tests that are skipped."""

from __future__ import annotations  # an older pytest, as Debian 12 has it, lacks one of the names

from pathlib import Path

import pytest


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
