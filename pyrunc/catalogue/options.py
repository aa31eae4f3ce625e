"""The words that a mount option may have been meant to be (mount(8), tmpfs(5), proc(5))."""

from __future__ import annotations

from typing import Final

from pyrunc.config.rules import MOUNT_OPTIONS as WORDS

__all__ = ("OF_FILESYSTEMS", "WORDS")

OF_FILESYSTEMS: Final = {
    "tmpfs": "size nr_blocks nr_inodes mode uid gid huge mpol inode32 inode64 noswap usrquota grpquota",
    "proc": "hidepid gid subset",
    "devpts": "newinstance ptmxmode mode uid gid max",
    "overlay": "lowerdir upperdir workdir redirect_dir index metacopy nfs_export userxattr volatile xino uuid",
    "cgroup2": "nsdelegate favordynmods memory_localevents memory_recursiveprot pids_localevents",
}
