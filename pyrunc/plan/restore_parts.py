"""The parts of a restore. Order: order.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.steps import cgroup
from pyrunc.steps.step import Step

if TYPE_CHECKING:
    from pyrunc.plan.create_parts import CreateParts


class RestoreParts:
    """created: the parts of the create that would make this container. criu, restored: what CRIU is asked for.

    pipes: for those of the standard streams that were pipes.
    """

    def __init__(
        self, created: CreateParts, made: cgroup.MakeCgroup | None, pipes: list[Step], criu: Step, restored: Step
    ) -> None:
        self.created = created
        self.cgroup = made
        self.pipes = pipes
        self.criu = criu
        self.restored = restored

    def mapped_sources(self) -> list[Step]:
        """Sources with other ids, and the user namespaces that map them."""
        files = self.created.files
        mappings = files.mapper.steps if files.mapper is not None else []
        trees = [] if files.locked else [tree for tree in files.trees if tree.mapping is not None]
        return [*mappings, *trees]

    def make_cgroup(self, *, around_process: bool = False) -> list[Step]:
        return cgroup.made(self.cgroup, around_process=around_process)
