"""All faults, by subject. Whoever adds an error adds its fault to one of these."""

from __future__ import annotations

from . import calls, configs, executions, limits, programs, roots, states
from .fault import Fault

FAULTS: list[Fault] = [
    *configs.FAULTS,
    *roots.FAULTS,
    *programs.FAULTS,
    *executions.FAULTS,
    *limits.FAULTS,
    *states.FAULTS,
    *calls.FAULTS,
]
