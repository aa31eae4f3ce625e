"""Figures to tables."""

import dataclasses
import json
import os
import statistics
from collections.abc import Callable

from .measure import MS, Sample

#: What the others are divided by.
YARDSTICK = "runc"

_ORDER = "run", "run, nothing cached", "create", "start", "state", "exec", "kill", "delete", "delete -f", "lifecycle"


@dataclasses.dataclass
class Table:
    """What was measured on one kind of config."""

    kind: str
    samples: dict[str, dict[str, list[Sample]]] = dataclasses.field(default_factory=dict)
    memory: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    #: Runtimes that are out, and why.
    failed: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, runtime: str, samples: dict[str, Sample]) -> None:
        for what, sample in samples.items():
            self.samples.setdefault(what, {}).setdefault(runtime, []).append(sample)


def wall_median(samples: list[Sample]) -> float:
    """Milliseconds."""
    return statistics.median(sample.wall for sample in samples) / MS


def wall_quartile(samples: list[Sample]) -> float:
    """Lower quartile, milliseconds: less of it is waiting for the kernel."""
    if len(samples) < 2:
        return wall_median(samples)
    return statistics.quantiles([sample.wall for sample in samples], n=4, method="inclusive")[0] / MS


def cpu_median(samples: list[Sample]) -> float:
    """Milliseconds."""
    return statistics.median(sample.cpu for sample in samples) / MS


_FIGURES: dict[str, Callable[[list[Sample]], float]] = {
    "wall median": wall_median,
    "wall lower quartile": wall_quartile,
    "CPU median": cpu_median,
}

# Config, call, figure, at most so many times the yardstick's.
_AIMS = [
    ("engine", "run", 0.55),
    ("engine", "exec", 0.55),
    ("engine", "lifecycle", 0.4),
    ("engine", "state", 2.0),
    ("engine", "kill", 2.0),
]
_MEMORY_AIMS = {"run": 1.0, "exec": 1.0}
_OTHER_MEMORY_AIM = 1.25


@dataclasses.dataclass
class Report:
    """All of one run."""

    rounds: int
    cpu_source: str
    versions: dict[str, str]
    tables: list[Table]
    #: Average load before the first call.
    load: float

    def text(self) -> str:
        lines = [f"{name}: {what}" for name, what in self.versions.items()]
        lines += [
            f"{self.rounds} rounds, in turns; {os.cpu_count()} CPUs",
            f"CPU time by {self.cpu_source}",
            f"ms, and in brackets times {YARDSTICK}'s",
        ]
        if self.load > 1:
            lines.append(
                f"BUSY MACHINE: load {self.load:.1f} before the first call; trust CPU times more than the clock"
            )
        for table in self.tables:
            for name, why in table.failed.items():
                lines += ["", f"{table.kind}: {name} is out: {why}"]
            for title, figure in _FIGURES.items():
                rows = {
                    what: {name: figure(samples) for name, samples in found.items() if name not in table.failed}
                    for what, found in table.samples.items()
                }
                lines += ["", f"{table.kind} config, {title}, ms", *self._rows(rows)]
            memory = {
                what: {name: float(found[what]) / 1024 for name, found in table.memory.items() if what in found}
                for what in _ORDER
            }
            lines += ["", f"{table.kind} config, peak RSS of the largest process, MiB", *self._rows(memory)]
        lines += ["", *self.verdicts()]
        return "\n".join(lines)

    def _rows(self, rows: dict[str, dict[str, float]]) -> list[str]:
        names = list(self.versions)
        lines = [" " * 20 + "".join(f"{name:>18}" for name in names)]
        for what in _ORDER:
            row = rows.get(what)
            if row:
                lines.append(f"{what:20}" + "".join(f"{self._cell(row, name):>18}" for name in names))
        return lines

    def _cell(self, row: dict[str, float], name: str) -> str:
        if name not in row:
            return "-"
        if name == YARDSTICK or not row.get(YARDSTICK):
            return f"{row[name]:.2f}       "
        return f"{row[name]:.2f} ({row[name] / row[YARDSTICK]:.2f})".rjust(15)

    def verdicts(self) -> list[str]:
        """Each aim of the project, and what was found."""
        lines = []
        for table in self.tables:
            for kind, what, most in _AIMS:
                found = table.samples.get(what, {})
                if kind == table.kind and "pyrunc" in found and YARDSTICK in found:
                    wall, low, cpu = (
                        figure(found["pyrunc"]) / figure(found[YARDSTICK]) for figure in _FIGURES.values()
                    )
                    lines.append(
                        f"{'met   ' if wall <= most else 'MISSED'} {kind}: {what} at most {most} of {YARDSTICK}'s: "
                        f"{wall:.2f} (lower quartile {low:.2f}, CPU {cpu:.2f})"
                    )
            my_peaks, their_peaks = table.memory.get("pyrunc", {}), table.memory.get(YARDSTICK, {})
            for what in (what for what in _ORDER if what in my_peaks and what in their_peaks):
                most = _MEMORY_AIMS.get(what, _OTHER_MEMORY_AIM)
                ratio = my_peaks[what] / their_peaks[what]
                lines.append(
                    f"{'met   ' if ratio <= most else 'MISSED'} {table.kind}: peak RSS of {what} at most {most} of "
                    f"{YARDSTICK}'s: {ratio:.2f}"
                )
        return lines

    def json(self) -> str:
        tables = [
            {
                "config": table.kind,
                "failed": table.failed,
                "calls": {
                    what: {
                        name: {
                            "wall_median_ms": wall_median(samples),
                            "wall_lower_quartile_ms": wall_quartile(samples),
                            "cpu_median_ms": cpu_median(samples),
                            "peak_rss_kib": table.memory.get(name, {}).get(what),
                            "samples": len(samples),
                        }
                        for name, samples in found.items()
                    }
                    for what, found in table.samples.items()
                },
            }
            for table in self.tables
        ]
        return (
            json.dumps(
                {"rounds": self.rounds, "load": self.load, "versions": self.versions, "tables": tables}, indent=1
            )
            + "\n"
        )
