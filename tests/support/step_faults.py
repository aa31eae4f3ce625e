"""The same lifecycle as the launcher's, but a step of one's choice fails, or the runtime dies at it.

Run as a program by test_every_step.py, it reads one JSON request a line and answers with one JSON line. Each request
is carried out by a fork of it, the "runtime", which is the same code that the launcher runs; only the list of steps is
wrapped. The shipped program has nothing of this.
"""

import json
import mmap
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pyrunc.cli import main as cli
from pyrunc.errors import PyruncError
from pyrunc.lifecycle import create, run
from pyrunc.lifecycle import exec as exec_module
from pyrunc.lifecycle.options import CreateOptions, ExecOptions
from pyrunc.state.store import Store
from pyrunc.steps import clone
from pyrunc.steps.clone import Clone
from pyrunc.steps.context import Context
from pyrunc.steps.process.last_steps import BecomeProgram
from pyrunc.steps.step import CONTAINER, Meet, Plan, Step


class Fault:
    """What happens at one step.

    step: its index, or their number, for the moment when all are done and the runtime has the rest to do; -1: never.
    when: "before" or "after" its effect; "inside": right after the clone, in the new process.
    how: "fail": it raises an error; "end": the container process ends there without a word; "kill": the runtime gets
    SIGKILL, and the container process, if the step is its own, goes on when the runtime is dead.
    """

    def __init__(self, step: int, when: str, how: str, word: mmap.mmap) -> None:
        self.step = step
        self.when = when
        self.how = how
        #: Memory shared with the driver, since descriptors are closed on the way: 1 asks it to kill the runtime, 2 says
        #: that it is dead.
        self.word = word
        self.runtime = os.getpid()

    def strike(self) -> None:
        if self.how == "fail":
            raise PyruncError("made to fail", errno=5)
        if self.how == "end":
            os._exit(1)
        if os.getpid() == self.runtime:
            os.kill(self.runtime, signal.SIGKILL)
        # In the container: its pid namespace may not know the runtime, so that the driver has to kill it.
        self.word[0] = 1
        while self.word[0] != 2:
            time.sleep(0.0005)

    def put_into(self, plan: Plan) -> None:
        if self.step < 0:
            return
        if self.step == len(plan.steps):
            self._at_the_end()
            return
        step = plan.steps[self.step]
        kind: Any = type(step)
        fault = self

        def apply(self: Step, context: Context) -> None:
            if fault.when == "before":
                fault.strike()
            kind.apply(self, context)
            # clone comes back in both processes; the new one is none of the runtime.
            half = "inside" if context.in_container and self.side != CONTAINER else "after"
            if fault.when == half:
                fault.strike()

        # A class without slots of its own: the object may change into it.
        step.__class__ = type(kind.__name__, (kind,), {"__slots__": (), "apply": apply})

    def _at_the_end(self) -> None:
        original: Callable[[int], bool] = clone.has_ended

        def has_ended(pidfd: int) -> bool:
            self.strike()
            return original(pidfd)

        clone.has_ended = has_ended


def describe(plan: Plan) -> list[dict[str, Any]]:
    """The steps: which process's, what, and whether something can be done to them."""
    return [
        {
            "side": step.side,
            "kind": type(step).__name__,
            "does": step.describe(),
            # Nothing is applied at a meeting; the steps around it stand for it.
            "when": []
            if isinstance(step, Meet)
            else ["before"]
            if isinstance(step, BecomeProgram)
            else ["before", "after"],
        }
        for step in plan.steps
    ]


def _when(step: Step) -> list[str]:
    if isinstance(step, Meet):
        return []
    if isinstance(step, BecomeProgram):
        return ["before"]
    return ["before", "inside", "after"] if isinstance(step, Clone) else ["before", "after"]


def act(request: dict[str, Any], put_into: Callable[[Plan], None]) -> int:
    """Create, run or exec as the request says, the plan handed to put_into first. Returns run's or exec's status."""
    store = Store(request["root"])
    settings = request.get("options", {})
    if request["command"] == "exec":
        chosen = ExecOptions()
        for name, value in settings.items():
            setattr(chosen, name, value)
        module: Any = exec_module
        compile_exec = module.compile_exec

        def compiled(*args: Any) -> tuple[Context, Plan]:
            context, plan = compile_exec(*args)
            put_into(plan)
            return context, plan

        module.compile_exec = compiled
        return exec_module.exec_(store, request["id"], chosen)
    os.chdir(request["bundle"])
    options = CreateOptions(request["bundle"])
    options.detach = request["command"] == "create"
    for name, value in settings.items():
        setattr(options, name, value)
    module = create
    prepare = module.prepare

    def prepared(*args: Any) -> create.Creation:
        creation: create.Creation = prepare(*args)
        put_into(creation.plan)
        return creation

    module.prepare = prepared
    if request["command"] == "create":
        create.create(store, request["id"], options)
        return 0
    return run.run(store, request["id"], options)


class Listed(Exception):
    """Only the steps were asked for."""


def in_runtime(request: dict[str, Any], answer: int, word: mmap.mmap) -> None:
    """The fork: never returns."""
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if request["command"] == "cli":
            status = cli.main(["pyrunc", "--root", request["root"], *request["argv"]])
        elif "fault" in request:
            status = act(request, Fault(word=word, **request["fault"]).put_into)
        else:
            status = act(request, lambda plan: _list(plan, answer))
    except Listed:
        pass
    except PyruncError as error:
        os.write(answer, json.dumps({"message": error.message, "step": error.step, "pointer": error.pointer}).encode())
    except BaseException as error:
        os.write(
            answer, json.dumps({"message": f"{type(error).__name__}: {error}", "step": None, "odd": True}).encode()
        )
    finally:
        os._exit(status)


def _list(plan: Plan, answer: int) -> None:
    data = json.dumps(describe(plan)).encode()
    while data:
        data = data[os.write(answer, data) :]
    raise Listed


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Carry out one request: how the runtime ended, whether the fault was reached, and what it said."""
    answer, to_answer = os.pipe2(os.O_CLOEXEC)
    word = mmap.mmap(-1, mmap.PAGESIZE)
    pid = os.fork()
    if pid == 0:
        in_runtime(request, to_answer, word)
    os.close(to_answer)
    pidfd = os.pidfd_open(pid)
    text = b""
    # The steps of a large plan are more than a pipe holds.
    if "fault" not in request and request["command"] != "cli":
        while chunk := os.read(answer, 65536):
            text += chunk
    while not select.select([pidfd], [], [], 0.001)[0]:
        if word[0] == 1:
            os.kill(pid, signal.SIGKILL)
            break
    status = os.waitpid(pid, 0)[1]
    met = word[0] == 1
    word[0] = 2
    os.set_blocking(answer, False)
    if not text:
        try:
            text = os.read(answer, 65536)
        except BlockingIOError:
            pass
    for fd in (answer, pidfd):
        os.close(fd)
    return {"status": os.waitstatus_to_exitcode(status), "met": met, "said": json.loads(text) if text else None}


def main() -> None:
    listener = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["command"] == "console":
            # Somebody who takes terminals' masters, and does nothing with them.
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(request["path"])
            listener.listen(1000)
            answer: dict[str, Any] = {}
        else:
            answer = serve(request)
        print(json.dumps(answer), flush=True)
    if listener:
        listener.close()


if __name__ == "__main__":
    main()
