"""The catalogue: what to do when the kernel refuses a step, by the step's name, where its message has no entry.

A step whose system call fails says itself what it was doing on what; here is what helps, by errno, 0 for all others.
"""

from __future__ import annotations

from errno import (
    EACCES,
    EAGAIN,
    EBUSY,
    EINVAL,
    ELOOP,
    EMFILE,
    ENAMETOOLONG,
    ENFILE,
    ENODEV,
    ENOENT,
    ENOMEM,
    ENOSPC,
    ENOSYS,
    ENOTDIR,
    EPERM,
    EROFS,
    EUSERS,
)
from typing import Final

# Of any step.
ANY: Final = {
    EMFILE: "the caller's RLIMIT_NOFILE is too low (ulimit -n)",
    ENFILE: "the host has too many files open: the sysctl fs.file-max",
    ENOMEM: "the host, or the cgroup of the caller, has no memory left",
    ENOSPC: "something is full: a file system, or one of the limits of /proc/sys/user (namespaces, mounts)",
    ENAMETOOLONG: "a name has at most 255 bytes, a path 4096",
    ELOOP: "there are links on the way that lead to each other",
    EAGAIN: "a limit on processes is reached (RLIMIT_NPROC, pids.max, kernel.threads-max), or try again",
    ENOSYS: "this kernel does not have that system call, or a filter around the runtime hides it",
    EROFS: "that file system is read-only",
    EPERM: "the runtime lacks a capability for it, or a security module or a filter around it forbids it",
    EACCES: "the caller must be able to search and write the way there",
}

STEPS: Final[dict[str, dict[int, str]]] = {
    "state": {0: "the state root, which --root names, must be a directory that the caller can write to"},
    "root": {0: "the container's process may just have ended"},
    "execCPUAffinity": {
        EINVAL: "name CPUs that the container may use: taskset -p PID shows them",
        0: "sched_setaffinity(2)",
    },
    "terminal": {0: "process.terminal needs a devpts on /dev/pts, with newinstance and ptmxmode=0666"},
    "cgroup": {0: "linux.cgroupsPath must name a cgroup that the caller can write to"},
    "descriptors": {0: "the container's process may just have ended"},
    "unmount": {EBUSY: "a process uses it", 0: "umount2(2)"},
    "criu": {0: "`criu check` on the host"},
    "restore": {0: "CRIU's log below --work-path has more"},
    "source": {0: "the caller must be able to open the source of each bind mount"},
    "clone": {
        EPERM: "user namespaces may be off: the sysctls kernel.unprivileged_userns_clone and "
        "kernel.apparmor_restrict_unprivileged_userns; else CAP_SYS_ADMIN is needed",
        ENOSPC: "/proc/sys/user has a limit on namespaces of each kind (max_user_namespaces ...)",
        EUSERS: "user namespaces nest 32 deep",
        EINVAL: "this kernel lacks a namespace that the config asks for: /proc/self/ns has those that there are",
        EBUSY: "the cgroup has controllers for cgroups below it: another cgroupsPath",
        0: "clone(2)",
    },
    "namespaces": {
        EPERM: "CAP_SYS_ADMIN is needed, in the user namespace that owns it as well",
        EINVAL: "this kernel lacks a namespace that the config asks for: /proc/self/ns has those that there are",
        0: "setns(2), unshare(2)",
    },
    "record": {0: "the state root must be writable for the caller, and have room"},
    "CPU affinity": {0: "sched_setaffinity(2)"},
    "memory": {0: "the memory limit may be too low to make a container in"},
    "device": {0: "/dev of the container should be a tmpfs: then nothing of the image is in the way"},
    "links": {0: "/dev of the container should be a tmpfs: then nothing of the image is in the way"},
    "exec.fifo": {0: "the file system of the state root must have FIFOs: name another by --root"},
    "hooks": {0: "a hook's path is a program of the host's that the caller may execute"},
    "idmap": {0: "mount_setattr(2) has which file systems can be id-mapped"},
    "intelRdt": {0: "/sys/fs/resctrl/info has what this CPU can do"},
    "propagation": {0: "mount_setattr(2)"},
    "rootfs": {
        ENOENT: "root.path was there a moment ago: leave it in its place while the container is made",
        ENOTDIR: "root.path must be a directory",
        0: "root.path must be a directory that the caller can search",
    },
    "mount": {0: "mount(8)"},
    "readonly": {0: "mount_setattr(2)"},
    "pivot_root": {
        EINVAL: "pivot_root(2) does not work on a ramfs (initramfs): --no-pivot",
        EBUSY: "root.path must not be the root of the host",
        0: "--no-pivot does without pivot_root(2)",
    },
    "chroot": {0: "chroot(2)"},
    "readonlyPaths": {0: "leave the path out of linux.readonlyPaths"},
    "maskedPaths": {0: "leave the path out of linux.maskedPaths"},
    "user namespace": {0: "uidMappings and gidMappings must map containerID 0"},
    "mappings": {0: "user_namespaces(7) has the rules for uid_map and gid_map"},
    "time namespace": {ENOSYS: "time namespaces need Linux 5.6, with CONFIG_TIME_NS", 0: "time_namespaces(7)"},
    "cgroup namespace": {0: "cgroup_namespaces(7)"},
    "loopback": {ENODEV: "the network namespace has no lo", 0: "it takes CAP_NET_ADMIN in the network namespace"},
    "netDevices": {0: "`ip link` on the host shows the device and its state"},
    "keyring": {0: "--no-new-keyring does without one"},
    "oom_score_adj": {0: "lowering it needs CAP_SYS_RESOURCE"},
    "rlimits": {0: "raising a hard limit needs CAP_SYS_RESOURCE"},
    "hostname": {EPERM: 'add {"type": "uts"} to linux.namespaces', 0: "sethostname(2)"},
    "sysctl": {0: "sysctls are written to a procfs: /proc of the host must not be covered in part"},
    "LSM label": {0: "labels are written to a procfs: /proc of the host must not be covered in part"},
    "procfs": {0: "/proc of the host must be a procfs"},
    "no_new_privs": {0: "prctl(2), PR_SET_NO_NEW_PRIVS"},
    "cwd": {0: "process.cwd must be a directory of the rootfs"},
    "process": {0: "--debug shows the last step"},
    "seccomp": {0: "the state root must be writable for the filter cache; apt install python3-seccomp"},
    "streams": {0: "standard input, output and error of the caller must be open"},
    "tuning": {0: "sched(7), ioprio_set(2), personality(2), set_mempolicy(2)"},
    "memory policy": {0: "/sys/devices/system/node/possible has the memory nodes that there are"},
    "meet": {0: "--debug shows the last step"},
    "systemd": {0: "`systemctl status` on the host; without --systemd-cgroup it goes without systemd"},
}


def remedy(step: str | None, number: int | None) -> dict[int, str]:
    """By errno. step: the name of the step that failed, None when none did."""
    return {**ANY, **STEPS.get(step or "", {})} if number else STEPS.get(step or "", {})
