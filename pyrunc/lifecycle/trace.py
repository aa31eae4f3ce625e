"""Measuring one create, run, exec or start: when each step of both processes began and ended.

Loaded by `pyrunc trace` alone. Nothing that is measured knows of it or asks for it: watch() puts a clock around the
steps of the plan, the calls by which the two processes meet, and the hooks, in this one process and its children.

What the container process measures gets to the runtime by memory that both share: an anonymous mapping made before the
clone. There is no descriptor to be closed and no system call that a filter could refuse, it is there still when the
process has been killed, and execve(2) takes it out of the process. Who takes hold of the process before that can write
to it, so what is read there is looked at as whatever comes from a container.

The clock is CLOCK_MONOTONIC, read without a system call (vdso(7)). A time namespace shifts it; by how much, the wall's
clock tells, which is the same in all of them.
"""

from __future__ import annotations

import mmap
import posix
import struct
import time
from typing import TYPE_CHECKING, Any, Final

from pyrunc.lifecycle import create, foreground, start
from pyrunc.lifecycle import exec as exec_module
from pyrunc.plan import failures, perform, sync, waiting
from pyrunc.steps import hooks
from pyrunc.steps.process.last_steps import BecomeProgram
from pyrunc.steps.step import CONTAINER, RUNTIME, Meet, Plan, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyrunc.config.types import Hook
    from pyrunc.errors import PyruncError
    from pyrunc.steps.context import Context

#: One record of the shared memory: what happened (0: nothing, the end), to which entry, and two clocks in nanoseconds.
_RECORD: Final = struct.Struct("=IIQQ")
_RECORDS: Final = 2048
_BEGIN: Final = 1
_END: Final = 2
_FAILED: Final = 3
# The entry whose end is the end of what the container process does before its program.
_SETTLED: Final = "settled"
# Nanoseconds by which the two clocks of a process may differ without a time namespace.
_SHIFT: Final = 1_000_000


class Entry:
    """What can be timed.

    kind: "phase" (of the runtime, around steps), "step", "undo", "hook", "say" and "wait": the two halves of a meeting;
    the runtime waits for other things, too. does: in words; what is said or waited for. step, pointer, section: as of
    Step. meeting: which one, of "say" and "wait"; -1 for none.
    """

    __slots__ = ("does", "kind", "meeting", "pointer", "section", "step")

    def __init__(
        self, kind: str, does: str, step: str = "", pointer: str = "", section: str = "", meeting: int = -1
    ) -> None:
        self.kind = kind
        self.does = does
        self.step = step
        self.pointer = pointer
        self.section = section
        self.meeting = meeting


class Slice:
    """A stretch of time of one process.

    side: which. begin, end: nanoseconds of CLOCK_MONOTONIC. depth: in how many other slices of its process it lies.
    outcome: "done", "failed", "unfinished" (it was cut off; the end is when the runtime knew), or "seen" (the process
    cannot tell the end itself: it is when the runtime saw it).
    """

    __slots__ = ("begin", "depth", "end", "entry", "outcome", "side")

    def __init__(self, entry: Entry, side: str, begin: int, end: int, outcome: str) -> None:
        self.entry = entry
        self.side = side
        self.begin = begin
        self.end = end
        self.outcome = outcome
        self.depth = 0


class Trace:
    """What was measured. began: nanoseconds, the moment that all else counts from. pid: of the runtime."""

    def __init__(self) -> None:
        self.began = time.monotonic_ns()
        self.wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        self.pid = posix.getpid()
        self.entries: list[Entry] = []
        self.marks: list[tuple[int, int, int]] = []
        self.context: Context | None = None
        #: Of startContainer and other hooks of the plan, by the identity of their objects, which a fork keeps.
        self.hooks: dict[int, int] = {}
        self.memory = mmap.mmap(-1, _RECORDS * _RECORD.size)
        # Touched here, so that no page of it is charged to the container.
        self.memory.write(bytes(_RECORDS * _RECORD.size))
        self.used = 0
        #: The runtime found that the container process had ended.
        self.died = False

    # ---- while it is measured, in either process ----

    def add(self, entry: Entry) -> int:
        """The number by which mark() knows it. Both processes know what was added before the clone."""
        self.entries.append(entry)
        return len(self.entries) - 1

    def mark(self, entry: int, what: int) -> None:
        """Note what happens now."""
        if self.context is None or not self.context.in_container:
            self.marks.append((entry, what, time.monotonic_ns()))
            return
        try:
            clocks = time.monotonic_ns(), time.clock_gettime_ns(time.CLOCK_REALTIME)
        except OSError:
            return  # read by a system call on this machine, which the container's filter refuses
        if self.used < _RECORDS:
            _RECORD.pack_into(self.memory, self.used * _RECORD.size, what, entry, *clocks)
            self.used += 1

    def timed(self, entry: int, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        """Call it, and note when it begins and ends."""
        self.mark(entry, _BEGIN)
        try:
            result = function(*args, **keywords)
        except BaseException:
            self.mark(entry, _FAILED)
            raise
        self.mark(entry, _END)
        return result

    # ---- afterwards, in the runtime ----

    def child(self) -> int:
        """The container process's number, 0 where there was none of ours."""
        return self.context.pid if self.context is not None else 0

    def slices(self) -> list[Slice]:
        """All that was measured, by its beginning."""
        found = self._matched(self.marks, RUNTIME)
        seen = [one.end for one in found if one.entry.step == _SETTLED and one.outcome == "done"]
        found += self._matched(self._from_container(), CONTAINER, seen[0] if seen and not self.died else 0)
        found.sort(key=lambda one: (one.begin, -one.end))
        for side in (RUNTIME, CONTAINER):
            around: list[Slice] = []
            for one in [one for one in found if one.side == side]:
                while around and around[-1].end < one.end:
                    around.pop()
                one.depth = len(around)
                around.append(one)
        return found

    def _from_container(self) -> list[tuple[int, int, int]]:
        """The container process's marks, on the runtime's clock, as far as they can be true."""
        spaces = self.context.config.get("linux", {}).get("namespaces", []) if self.context is not None else []
        shifted = any(entry["type"] == "time" for entry in spaces)
        marks: list[tuple[int, int, int]] = []
        last, now = self.began, time.monotonic_ns()
        for number in range(_RECORDS):
            record: tuple[int, int, int, int] = _RECORD.unpack_from(self.memory, number * _RECORD.size)
            what, entry, monotonic, wall = record
            shift = (monotonic - self.began) - (wall - self.wall)
            if shifted and abs(shift) > _SHIFT:
                monotonic -= shift
            if what not in (_BEGIN, _END, _FAILED) or entry >= len(self.entries) or not last <= monotonic <= now:
                break
            last = monotonic
            marks.append((entry, what, monotonic))
        return marks

    def _matched(self, marks: list[tuple[int, int, int]], side: str, seen: int = 0) -> list[Slice]:
        """Beginnings and ends in pairs. seen: when the runtime saw that the process had done all; 0 if it did not."""
        found: list[Slice] = []
        under_way: list[tuple[int, int]] = []
        for number, what, at in marks:
            entry = self.entries[number]
            if what == _BEGIN:
                under_way.append((number, at))
            elif under_way and under_way[-1][0] == number:
                found.append(Slice(entry, side, under_way.pop()[1], at, "failed" if what == _FAILED else "done"))
            elif side == CONTAINER and not found and not under_way:
                born = Entry("born", "is born", entry.step, entry.pointer, entry.section)
                found.append(Slice(born, side, at, at, "done"))
        cut_off = max([at for _, _, at in self.marks + marks], default=self.began)
        for number, at in under_way:
            entry = self.entries[number]
            outcome = "seen" if seen >= at and entry.step == BecomeProgram.name else "unfinished"
            found.append(Slice(entry, side, at, seen if outcome == "seen" else cut_off, outcome))
        return found

    # ---- putting it around ----

    def watch_plan(self, plan: Plan, context: Context) -> None:
        """Time each step of a plan, and each hook in it."""
        self.context = context
        for step in plan.steps:
            if not isinstance(step, Meet):
                self._watch_step(step)
        meetings = [step for step in plan.steps if isinstance(step, Meet)]
        for side, says, waits in (
            (RUNTIME, (sync, "send_rights"), (sync, "take_rights")),
            (CONTAINER, (sync, "report_meeting"), (waiting, "await_meeting")),
        ):
            mine = [(number, meet.label) for number, meet in enumerate(meetings) if meet.side == side]
            for kind, (owner, name) in (("say", says), ("wait", waits)):
                numbers = [self.add(Entry(kind, label, "meet", meeting=number)) for number, label in mine]
                self._around(owner, name, iter(numbers))

    def _watch_step(self, step: Step) -> None:
        kind = type(step)
        words = step.describe()
        trace, does = self, self.add(Entry("step", words, step.name, step.pointer, step.section))
        methods: dict[str, object] = {
            "__slots__": (),
            "apply": lambda self, context: trace.timed(does, kind.apply, self, context),
        }
        if kind.undo is not Step.undo:
            undoes = self.add(Entry("undo", "undo: " + words, step.name, step.pointer, step.section))
            methods["undo"] = lambda self, context: trace.timed(undoes, kind.undo, self, context)
        # A class without slots of its own: the object may change into it, and stays what isinstance() takes it for.
        step.__class__ = type(kind.__name__, (kind,), methods)
        inside = step.hooks if isinstance(step, BecomeProgram) else step
        if isinstance(inside, hooks.HooksStep):
            self._add_hooks(inside.kind, inside.hooks)
        elif isinstance(inside, hooks.StartContainerHooks):
            self._add_hooks("startContainer", inside.hooks)

    def _add_hooks(self, kind: str, wanted: list[Hook]) -> None:
        for index, hook in enumerate(wanted):
            pointer = f"/hooks/{kind}/{index}"
            entry = Entry("hook", f"{kind} hook {hook['path']}", "hooks", pointer, hooks.HooksStep.section)
            self.hooks[id(hook)] = self.add(entry)

    def _around(self, owner: Any, name: str, entries: Iterator[int] | int) -> None:
        """Time a function of a module, or of a class. entries: the entry of each call, or of all."""
        original = getattr(owner, name)

        def measured(*args: Any, **keywords: Any) -> Any:
            entry = entries if isinstance(entries, int) else next(entries, None)
            if entry is None:
                return original(*args, **keywords)
            return self.timed(entry, original, *args, **keywords)

        setattr(owner, name, measured)

    def phase(self, owner: Any, name: str, does: str, kind: str = "phase", step: str = "") -> None:
        """Time all calls of a function of the runtime's."""
        self._around(owner, name, self.add(Entry(kind, does, step)))


def watch(trace: Trace) -> None:
    """From now on, and for good, this process measures what it does."""
    for owner, name, does in (
        (create, "load_bundle", "read and check config.json"),
        (create, "_compile", "decide: compile the plan"),
        (exec_module, "compile_exec", "decide: compile the plan"),
        (Plan, "foresee", "load what is loaded rarely"),
        (waiting, "take_over", "learn of the second process"),
        (perform, "undo", "undo what was done"),
        (start, "_let_go", "let the process go, by exec.fifo"),
        (start, "take_away", "destroy the container"),
    ):
        trace.phase(owner, name, does)
    trace.phase(waiting, "await_waiting", "the process has nothing left to set up", "wait", _SETTLED)
    trace.phase(start, "_await_program", "the process is seen to have executed its program", "wait")
    trace.phase(foreground.Foreground, "wait", "the program ends", "wait")
    _watch_plans(trace)
    _watch_hooks(trace)
    _watch_ends(trace)


def _watch_plans(trace: Trace) -> None:
    """Each plan is watched as soon as it is compiled."""
    prepare, compile_exec = create.prepare, exec_module.compile_exec

    def prepared(*args: Any) -> create.Creation:
        creation = prepare(*args)
        trace.watch_plan(creation.plan, creation.context)
        return creation

    def compiled(*args: Any) -> tuple[Context, Plan]:
        context, plan = compile_exec(*args)
        trace.watch_plan(plan, context)
        return context, plan

    setattr(create, "prepare", prepared)  # noqa: B010
    setattr(exec_module, "compile_exec", compiled)  # noqa: B010


def _watch_ends(trace: Trace) -> None:
    """That the process waits for start and that it has died look alike at first."""
    original = failures.ended

    def ended(plan: Plan, context: Context) -> PyruncError:
        trace.died = True
        return original(plan, context)

    for module in (waiting, perform):
        setattr(module, "ended", ended)  # noqa: B010


def _watch_hooks(trace: Trace) -> None:
    """Hooks of the plan are known; those of start and delete are when they run."""
    run, one = hooks.run, hooks._run_one

    def run_all(wanted: list[Hook], kind: str, *args: Any, **keywords: Any) -> None:
        if any(id(hook) not in trace.hooks for hook in wanted):
            trace._add_hooks(kind, wanted)
        run(wanted, kind, *args, **keywords)

    def run_one(hook: Hook, *args: Any) -> None:
        trace.timed(trace.hooks[id(hook)], one, hook, *args)

    setattr(hooks, "run", run_all)  # noqa: B010
    setattr(hooks, "_run_one", run_one)  # noqa: B010
