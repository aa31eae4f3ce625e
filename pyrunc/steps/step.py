"""What a plan is made of: steps, each with one kernel-visible effect, and the meeting points between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pyrunc.errors import PyruncError
    from pyrunc.steps.context import Context

RUNTIME: Final = "runtime"
CONTAINER: Final = "container"


class Step:
    """One effect. describe() says it in one line, apply() does it, undo() takes it back.

    name: short and fixed ("mount"), the "step" of an error. pointer: JSON pointer of the config property that
    caused it, "" when none did. section: where the specification asks for it. side: the process that does it.
    Effects in the container process end with it, so only steps of the runtime have an undo.
    """

    __slots__ = ("pointer",)
    name = "step"
    section = ""
    side = RUNTIME

    def __init__(self, pointer: str = "") -> None:
        self.pointer = pointer

    def describe(self) -> str:
        raise NotImplementedError

    def foresee(self) -> None:
        """Called for each step before the first is applied: load what is loaded rarely. No other effect.

        What an image does not hold (native/image.py) is asked for here, where another program can still do it all.
        """

    def apply(self, context: Context) -> None:
        """Do it. Raises OSError or PyruncError; whoever executes the plan adds the step's name and pointer."""
        raise NotImplementedError

    def place(self, error: PyruncError) -> str:
        """The JSON pointer to what made an error of this step: as exact as can be told from it."""
        return self.pointer

    def undo(self, context: Context) -> None:
        """Take it back. Called only after apply() has begun, also when it failed half-way. Never raises."""


class Meet(Step):
    """A meeting point: the process that is not `side` waits here until `side` has done all that stands before it."""

    __slots__ = ("label", "side")
    name = "meet"

    def __init__(self, side: str, label: str) -> None:
        Step.__init__(self)
        self.side: str = side
        self.label = label

    def describe(self) -> str:
        other = CONTAINER if self.side == RUNTIME else RUNTIME
        return f"the {other} process waits for: {self.label}"


class Plan:
    """The ordered steps of one create, run or exec.

    steps: in the order of their execution; those of one side between two meeting points follow each other, those of
    both sides there run at the same time. warnings: what is worth telling and stops nothing.
    """

    __slots__ = ("steps", "warnings")

    def __init__(self, steps: list[Step], warnings: list[str]) -> None:
        self.steps = steps
        self.warnings = warnings

    def foresee(self) -> None:
        """To be called before anything is done."""
        for step in self.steps:
            step.foresee()

    def as_json(self) -> list[dict[str, Any]]:
        """The plan as data for `plan --json`."""
        return [
            {
                "side": step.side,
                "step": step.name,
                "does": step.describe(),
                "pointer": step.pointer or None,
                "specification": step.section or None,
            }
            for step in self.steps
        ]
