"""The containers of one root: where their state stands on disk, and what it is called.

<root>/<id>/state.json   what is known of the container, replaced atomically
<root>/<id>/config.json  the config as it was at create: later changes to the bundle do not matter
<root>/<id>/exec.fifo    there while the container is `created`
"""

from __future__ import annotations

import posix
from typing import Final

from pyrunc.errors import PyruncError, StateError
from pyrunc.state import state_file
from pyrunc.state.container import Container

_ID_CHARACTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")


def check_id(container_id: str) -> None:
    """Raises StateError unless it can be a container's name: it becomes a directory's."""
    if (
        not container_id
        or not _ID_CHARACTERS.issuperset(container_id)
        or container_id in (".", "..")
        or len(container_id) > 255
    ):
        raise StateError("invalid container ID format: " + container_id[:256])


class Store:
    """The containers below one root directory, an absolute path."""

    __slots__ = ("root",)

    def __init__(self, root: str) -> None:
        self.root = root

    def directory(self, container_id: str) -> str:
        """The container's state directory. Raises StateError for what is no ID."""
        check_id(container_id)
        return f"{self.root}/{container_id}"

    def load(self, container_id: str) -> Container:
        """The container of this name.

        Raises StateError when there is none, PyruncError when its state cannot be read or is not to be believed.
        """
        directory = self.directory(container_id)
        try:
            return Container(self, directory, state_file.read(directory, container_id))
        except PyruncError as error:
            error.container = container_id
            raise

    def list(self) -> list[Container]:
        """All containers, by name; what cannot be read is left out."""
        try:
            names = sorted(posix.listdir(self.root))
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            try:
                found.append(self.load(name))
            except PyruncError:
                continue
        return found
