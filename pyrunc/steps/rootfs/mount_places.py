"""Which part of an entry of mounts[] an error is about. Loaded when there is one."""

from __future__ import annotations

from errno import ENODEV, ENOTBLK
from typing import Final

# What the kernel says of an option, before its name (fs/fs_parser.c).
_OPTION: Final = ("Unknown parameter '", "Bad value for '")
_SOURCE: Final = ("mount source ", "bind mount of ")
_DESTINATION: Final = (
    ": make mountpoint ",
    "is outside of rootfs",
    "is on the top of rootfs",
    "cannot be mounted because",
    "must be mounted on ordinary directory",
    "would cover a part of proc",
    ": not a directory: ",
    "was moved away meanwhile",
)


def of(message: str, number: int | None, options: list[str]) -> str:
    """The end of the pointer, "" for the whole entry. options: as the config has them. Pure."""
    for words in _OPTION:
        if words in message:
            name = message.partition(words)[2].partition("'")[0]
            for index, option in enumerate(options):
                if option.partition("=")[0] == name:
                    return "/options/" + str(index)
    if message.startswith(_SOURCE) or number == ENOTBLK:
        return "/source"
    if any(words in message for words in _DESTINATION):
        return "/destination"
    return "/type" if number == ENODEV else ""
