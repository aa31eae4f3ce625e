"""pyrunc inspect: what was asked for a container beside what the kernel has, read back from it."""

from collections.abc import Sequence
from typing import Any

from pyrunc.inspect import limits, mounts, process, rdt, scheduling, seccomp, spaces
from pyrunc.inspect.proc import Process, open_process
from pyrunc.inspect.report import Report
from pyrunc.state import updated
from pyrunc.state.container import Container


def inspect(container: Container, syscalls: Sequence[str] = ()) -> dict[str, Any]:
    """All that is known of a container, as data: docs/library.md has its shape.

    syscalls: names or numbers of system calls that the seccomp filter is asked about. Of a stopped container only what
    was requested. Raises PyruncError, StateError, UsageError for an unknown system call.
    """
    status = container.status()
    config: Any = container.config()
    init = open_process(container) if status != "creating" else None
    report = Report()
    try:
        verdicts = _fill(report, config, container, init, status, syscalls)
    finally:
        if init:
            init.close()
    return {
        "id": container.id,
        "status": status,
        "pid": container.pid if init else 0,
        "bundle": container.fields["bundle"],
        "created": container.fields["created"],
        "differences": sum(row.differs for row in report.rows),
        "properties": [row.as_json() for row in report.rows],
        "syscalls": verdicts,
    }


def _fill(
    report: Report,
    config: dict[str, Any],
    container: Container,
    init: Process | None,
    status: str,
    syscalls: Sequence[str],
) -> list[dict[str, Any]]:
    """Add all rows; gives the verdicts on syscalls."""
    linux = config.get("linux", {})
    wanted = config.get("process", {})
    resources: Any = updated.merged(linux.get("resources", {}), container.fields.get("updated"))
    spaces.namespaces(report, linux, init)
    if wanted:
        process.ids(report, wanted, init, container)
    spaces.mappings(report, linux, init)
    if wanted:
        process.privileges(report, wanted, init)
    seccomp.mode(report, linux, init)
    verdicts = []
    if syscalls:
        verdicts = seccomp.verdicts(report, syscalls, linux, init, container.store.root + "/@seccomp")
    if status != "creating":
        limits.compare(report, resources, container, init)
        rdt.compare(report, linux, container, init)
    if wanted:
        process.limits(report, wanted, init)
    mounts.Mounts(report, config, container, init).compare()
    if wanted:
        process.labels(report, wanted, init, executed=status != "created")
    cpus = str(resources.get("cpu", {}).get("cpus") or "")
    scheduling.scheduling(report, wanted, linux, cpus, init)
    spaces.settings(report, config, init)
    return verdicts
