"""What `trace` puts itself around is there, by its name. What it measures: tests/lifecycle/commands/test_trace.py."""

import subprocess
import sys

import pytest

from tests.support import TOP

pytest.importorskip("pyrunc._linux")

#: In a process of its own: what is watched stays so.
PROGRAM = """
from pyrunc.config.default import default_config
from pyrunc.lifecycle import trace
from pyrunc.plan import perform, sync, waiting
from pyrunc.steps.context import Context
from tests.support.plans import HOST, plan_of

names = {"send_rights": sync, "take_rights": sync, "report_meeting": sync}
names |= {"await_meeting": waiting, "await_waiting": waiting, "take_over": waiting}
before = {name: getattr(module, name) for name, module in names.items()}
config = default_config()
plan = plan_of(config, relay=True)
kinds = [type(step) for step in plan.steps]
measured = trace.Trace()
trace.watch(measured)
measured.watch_plan(plan, Context("box", "/bundle", config, HOST, "/state"))
assert all(getattr(names[name], name) is not function for name, function in before.items())
# Where they are called: by the module, so that what stands there now is called.
assert not set(names) & set(vars(perform)), vars(perform).keys()
assert all(isinstance(step, kind) for step, kind in zip(plan.steps, kinds, strict=True))
assert measured.slices() == []
"""


def test_all_that_is_watched_is_there() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=TOP, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
