"""The meeting points of the two processes, in order: what the one that waits waits for."""

from __future__ import annotations

RECORDED = "the process is recorded in state.json and its id maps are written"
TIME_NAMESPACE_MADE = "the time namespace is made"
TIME_OFFSETS = "time offsets are written"
RECORDED_AGAIN = "the second process is recorded"
MOUNTED_SO_FAR = "the mounts before are made"
SOURCE_OPENED = "a source that they have made is opened"
MOUNTED = "the rootfs and its mounts are made"
HOOKS_RUN = "the runtime's hooks have run"
READY = "the process is set up"
LIMITED = "resource limits are set"
SETTLED = "the process in the joined pid namespace is recorded"
