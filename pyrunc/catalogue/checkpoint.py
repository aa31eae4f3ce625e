"""The catalogue: checkpoint and restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyrunc.catalogue.entry import CALL, CONFIG, FILE, GIVEN, HOST, IMAGES, STATE, STEP, path

if TYPE_CHECKING:
    from pyrunc.catalogue.entry import Entry

_OTHER: Final = "restore with the config that the container was created from"
_LOG: Final = "CRIU's log, dump.log or restore.log below --work-path, has more"
_WHOLE: Final = "--image-path must be the directory of a checkpoint that was completed"

ENTRIES: Final[dict[str, Entry]] = {
    # ---- flags ----
    "Use --page-server ADDRESS:PORT to specify page server": ("--page-server", CALL, "--page-server 192.0.2.1:9999"),
    "Invalid port number": ("port number", CALL, "--page-server ADDRESS:PORT, with a port from 1 to 65535"),
    "--parent-path must be relative": ("--parent-path", CALL, "relative to --image-path, such as ../first"),
    "invalid --parent-path: stat {}: {}": ("{0}", CALL, path(0, "the directory of the checkpoint before")),
    'namespace "{}" is not supported': ("{0}", CALL, "--empty-ns network is all that there is"),
    "invalid --status-fd argument {}: {}": ("{0}", CALL, "the number of a descriptor that is open for writing"),
    "invalid manage-cgroups-mode value": ("manage-cgroups-mode", CALL, GIVEN),
    "--manage-cgroups-mode strict: criu would have to make the cgroup, and it is made before it starts": (
        "--manage-cgroups-mode",
        CALL,
        GIVEN,
    ),
    'invalid value "{}" for flag -lsm-profile: want apparmor:NAME or selinux:LABEL': (
        "lsm-profile",
        CALL,
        "--lsm-profile apparmor:NAME or selinux:LABEL",
    ),
    "--lsm-profile: {} is not enabled on this host": (
        "{0}",
        CALL,
        "leave it out; /sys/kernel/security/lsm has what is on",
    ),
    "--lsm-mount-context: selinux is not enabled on this host": ("selinux", CALL, "leave it out"),
    "--lsm-profile {}: a process of the checkpoint had no profile that criu could replace": ("{0}", CALL, GIVEN),
    "--lsm-profile {}: no such profile is loaded": ("{0}", CALL, "`apparmor_parser` loads one, `aa-status` lists them"),
    # ---- what can be saved ----
    "Container cannot be checkpointed in {} state": ("container", STATE, "only a running or paused one can be"),
    "a container without a mount namespace cannot be checkpointed": ("container", CONFIG, "create it with one"),
    "a container without a mount namespace cannot be restored": ("container", CONFIG, _OTHER),
    "the container's {} is a terminal of the host's: {}": ("{0}", STATE, GIVEN),
    "mounts on {} cannot be checkpointed: CRIU has no way to write ']:'": ("{0}", STATE, "another destination"),
    "read the container's mounts: {}": ("container", STATE, "its process may just have ended"),
    # ---- CRIU ----
    "checkpoint and restore need CRIU, and there is no program criu": ("criu", HOST, GIVEN),
    "checkpoint and restore need root: CRIU cannot do them for an ordinary user": ("CRIU", HOST, "call it as root"),
    "CRIU's Python module cannot be loaded: {}": ("{0}", HOST, GIVEN),
    "criu {} is too old": ("{0}", HOST, GIVEN),
    "criu {} does not work on Linux {}": ("{0}", HOST, GIVEN),
    "criu is missing features: this kernel cannot track changed memory (MemTrack)": (
        "MemTrack",
        HOST,
        "leave --pre-dump and --parent-path out: CONFIG_MEM_SOFT_DIRTY is off in this kernel",
    ),
    "criu is missing features: this kernel cannot restore memory later (LazyPages)": (
        "LazyPages",
        HOST,
        "leave --lazy-pages out: this kernel's userfaultfd cannot do it",
    ),
    "criu failed: type {}": ("{0}", IMAGES, GIVEN),
    "criu ended unexpectedly": ("criu", IMAGES, _LOG),
    "criu ended unexpectedly: {}": ("criu", IMAGES, _LOG),
    "speak with criu: {}": ("criu", IMAGES, _LOG),
    "criu did not say which process it restored": ("criu", IMAGES, _LOG),
    "the process that was to become criu ended": ("criu", IMAGES, "somebody killed it: dmesg may say"),
    "checkpoint directory {}: {}": ("{0}", FILE, path(0, "the caller must be able to write there")),
    # ---- images ----
    "{} is not a list of names": ("{0}", FILE, _WHOLE),
    "{} has no mount points: it is not the directory of a checkpoint that is complete": ("{0}", FILE, _WHOLE),
    "the checkpoint has no {} namespace, and the config asks for a new one": ("{0}", CONFIG, _OTHER),
    "the checkpoint has a {} namespace of its own, and the config joins one": ("{0}", CONFIG, _OTHER),
    "criu cannot restore into a {} namespace that is there already": (
        "{0}",
        CONFIG,
        "leave its path out of the config",
    ),
    "the checkpoint has a mount on {}": ("{0}", IMAGES, _OTHER),
    "the checkpoint has an external mount that is not of pyrunc's making: {}": (
        "{0}",
        IMAGES,
        "restore with what saved it",
    ),
    "the checkpoint has a mount that cannot be restored: {}": ("{0}", IMAGES, "save it without that mount"),
    "the checkpoint has a mount on {} that the config does not have": ("{0}", IMAGES, GIVEN),
    "the checkpoint restores the mount on {} without {}": ("{0}", IMAGES, GIVEN),
    "mount point {} of the checkpoint is behind a symbolic link of the rootfs": ("{0}", IMAGES, GIVEN),
    "the checkpoint is of a shell job: its {} has to be a terminal": ("{0}", CALL, GIVEN),
    "the restored process has no terminal to send to the console socket": (
        "console socket",
        CALL,
        "leave --console-socket out: the container had no terminal when it was saved",
    ),
    "{} cannot be done in the restored container": ("{0}", STEP, "a filter or a limit of its own is in the way"),
}
