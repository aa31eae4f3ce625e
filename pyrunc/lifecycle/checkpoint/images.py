"""What is in the images of a checkpoint."""

from __future__ import annotations

import glob
import posix
from typing import Any, Final

from pyrunc.errors import PyruncError, reason
from pyrunc.jsontext import loads
from pyrunc.lifecycle.checkpoint import criu
from pyrunc.lifecycle.checkpoint.checkpoint import DESCRIPTORS
from pyrunc.linux import files

_IMAGE_LIMIT: Final = 16 << 20
_PROFILES: Final = "/sys/kernel/security/apparmor/profiles"


def check_profile(profile: str, images: str) -> None:
    """Whether CRIU can put the processes under --lsm-profile. Raises PyruncError.

    It gives a profile to those that had one, others run on without, and it says nothing. When the kernel refuses a
    profile it hangs, where there are several processes (CRIU 3.17).
    """
    kind, _, name = profile.partition(":")
    for process in _image_entries(images, "core-*.img"):
        # Threads but the first have no such part.
        if process.get("tc") and not process["thread_core"]["creds"].get("lsm_profile"):
            raise PyruncError(
                f"--lsm-profile {profile}: a process of the checkpoint had no profile that criu could replace",
                hint="restore it without, or save a container that runs under a profile",
            )
    if kind == "apparmor" and not set(name).intersection(":&"):
        try:
            loaded = files.read(_PROFILES, limit=_IMAGE_LIMIT).decode("utf-8", "surrogateescape").split("\n")
        except OSError:
            return
        if not any(line.rpartition(" (")[0] == name for line in loaded):
            raise PyruncError(f"--lsm-profile {profile}: no such profile is loaded")


def descriptors(images: str) -> list[str]:
    """Where the standard streams of the process led. Raises PyruncError."""
    try:
        names: Any = loads(files.read(f"{images}/{DESCRIPTORS}"), DESCRIPTORS)
    except OSError as error:
        raise PyruncError(
            f"read {images}/{DESCRIPTORS}: {reason(error)}",
            errno=error.errno,
            hint="is this the directory of a checkpoint that is complete?",
        ) from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PyruncError(f"{images}/{DESCRIPTORS} is not a list of names")
    return names


def image_mounts(images: str) -> list[ImageMount]:
    """The mounts that a checkpoint has. Raises PyruncError."""
    posix.close(criu.open_directory(images, "checkpoint directory"))
    found = _image_entries(images, "mountpoints-*.img")
    if not found:
        raise PyruncError(images + " has no mount points: it is not the directory of a checkpoint that is complete")
    return [
        ImageMount(
            entry["mountpoint"],
            entry.get("ext_key") or (entry["root"] if entry.get("ext_mount") else ""),
            bool(entry.get("deleted")),
            bool(entry.get("with_plugin")),
        )
        for entry in found
    ]


def _image_entries(images: str, pattern: str) -> list[Any]:
    """What is in the images whose names match. Raises PyruncError."""
    from pycriu import images as format_  # type: ignore[import-untyped,import-not-found,unused-ignore]

    found: list[Any] = []
    for path in glob.glob(f"{glob.escape(images)}/{pattern}"):
        try:
            found += format_.loads(files.read(path, limit=_IMAGE_LIMIT))["entries"]
        except Exception as error:  # whatever the library stumbles on
            raise PyruncError(f"read {path}: {error}") from None
    return found


class ImageMount:
    """A mount as a checkpoint's images have it. name: of an external mount, or ""."""

    __slots__ = ("deleted", "name", "plugin", "point")

    def __init__(self, point: str, name: str, deleted: bool, plugin: bool) -> None:
        self.point = point
        self.name = name
        self.deleted = deleted
        self.plugin = plugin


def check_images(found: list[ImageMount]) -> None:
    """Refuse what no checkpoint of ours has, and CRIU would act upon. Raises PyruncError."""
    for mount in found:
        if mount.name and not mount.name.startswith("pyrunc:"):
            raise PyruncError("the checkpoint has an external mount that is not of pyrunc's making: " + mount.point)
        if mount.plugin or (mount.name and mount.deleted):
            raise PyruncError("the checkpoint has a mount that cannot be restored: " + mount.point)


def check_names(found: list[ImageMount], names: set[str]) -> None:
    """Whether everything that the checkpoint needs of the host is in the config. Raises PyruncError."""
    for mount in found:
        if mount.name and mount.name not in names:
            raise PyruncError(
                f"the checkpoint has a mount on {mount.point.lstrip('.')} that the config does not have",
                hint="restore with the mounts that the container had: destination " + mount.name.split(":")[-1],
            )
