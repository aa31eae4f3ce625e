"""pyrunc features: what this program can do, whatever the host, in the shape of runtime-spec's features.md.

Engines ask before anything else: containerd offers user namespaces only when "user" and mountExtensions.idmap are
there, and recursively read-only mounts only with "rro". So nothing stands here that isn't built and tested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrunc import _linux, log
from pyrunc.cli.version import VERSION, commit, libseccomp
from pyrunc.config import OCI_VERSION
from pyrunc.config.rules import MOUNT_OPTIONS
from pyrunc.steps.namespaces import TYPES

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

_MEMORY_MODES = "BIND DEFAULT INTERLEAVE LOCAL PREFERRED PREFERRED_MANY WEIGHTED_INTERLEAVE"
_MEMORY_FLAGS = "NUMA_BALANCING RELATIVE_NODES STATIC_NODES"


def _seccomp() -> dict[str, Any]:
    """The object seccomp. Without libseccomp's bindings no filter can be made."""
    from pyrunc.errors import PyruncError
    from pyrunc.steps.seccomp import compiler

    try:
        return {
            "enabled": True,
            "actions": list(compiler.ACTIONS),
            "operators": list(compiler.OPERATORS),
            "archs": compiler.architectures_supported(),
            "knownFlags": list(compiler.FLAGS),
            "supportedFlags": compiler.flags_supported(),
        }
    except PyruncError:
        return {"enabled": False}


def features() -> dict[str, Any]:
    """The features document (runtime-spec, features.md)."""
    annotations = {
        "org.pyrunc.version": VERSION,
        "org.pyrunc.commit": commit(),
        # docker and podman look for runc's key to know whether checkpoint works.
        "org.opencontainers.runc.checkpoint.enabled": "true",
    }
    seccomp = libseccomp()
    if seccomp:
        annotations["io.github.seccomp.libseccomp.version"] = seccomp
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": MOUNT_OPTIONS.split(),
        "linux": {
            "namespaces": sorted(TYPES),
            "capabilities": list(_linux.CAPS),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": _seccomp(),
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {
                "modes": ["MPOL_" + name for name in _MEMORY_MODES.split()],
                "flags": ["MPOL_F_" + name for name in _MEMORY_FLAGS.split()],
            },
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": annotations,
        # Those that change what this runtime does (docs/compatibility.md).
        "potentiallyUnsafeConfigAnnotations": [
            "org.criu.config",
            "org.systemd.property.",
            "run.oci.hooks.stderr",
            "run.oci.hooks.stdout",
            "run.oci.keep_original_groups",
            "run.oci.pidfd_receiver",
        ],
    }


def run(_call: Call) -> int:
    from pyrunc.jsontext import dumps

    log.output(dumps(features(), indent=4) + "\n")
    return 0
