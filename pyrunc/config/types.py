"""The types of config.json: runtime-spec 1.3.0, config.md and config-linux.md. For type checkers alone: never imported.

Names are the specification's objects. A property is Required where its object is invalid without it.
"""

from __future__ import annotations

from typing import Literal, Required, TypedDict


class Root(TypedDict, total=False):
    path: Required[str]
    readonly: bool


class IDMapping(TypedDict):
    containerID: int
    hostID: int
    size: int


class Mount(TypedDict, total=False):
    destination: Required[str]
    type: str
    source: str
    options: list[str]
    uidMappings: list[IDMapping]
    gidMappings: list[IDMapping]


class Hook(TypedDict, total=False):
    path: Required[str]
    args: list[str]
    env: list[str]
    timeout: int
    """Seconds, more than 0."""


class Hooks(TypedDict, total=False):
    prestart: list[Hook]
    createRuntime: list[Hook]
    createContainer: list[Hook]
    startContainer: list[Hook]
    poststart: list[Hook]
    poststop: list[Hook]


class Box(TypedDict):
    height: int
    width: int


class User(TypedDict, total=False):
    uid: Required[int]
    gid: Required[int]
    umask: int
    additionalGids: list[int]


class Capabilities(TypedDict, total=False):
    bounding: list[str]
    effective: list[str]
    inheritable: list[str]
    permitted: list[str]
    ambient: list[str]


class Rlimit(TypedDict):
    type: str
    hard: int
    soft: int


class Scheduler(TypedDict, total=False):
    policy: Required[str]
    nice: int
    priority: int
    flags: list[str]
    runtime: int
    """Nanoseconds, as deadline and period."""
    deadline: int
    period: int


IOPriority = TypedDict("IOPriority", {"class": str, "priority": int})


class CPUAffinity(TypedDict, total=False):
    initial: str
    final: str


class Process(TypedDict, total=False):
    terminal: bool
    consoleSize: Box
    user: Required[User]
    args: list[str]
    env: list[str]
    cwd: Required[str]
    capabilities: Capabilities
    rlimits: list[Rlimit]
    noNewPrivileges: bool
    apparmorProfile: str
    oomScoreAdj: int
    scheduler: Scheduler
    selinuxLabel: str
    ioPriority: IOPriority
    execCPUAffinity: CPUAffinity


class Namespace(TypedDict, total=False):
    type: Required[Literal["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]]
    path: str


class TimeOffset(TypedDict, total=False):
    secs: int
    nanosecs: int


class Device(TypedDict, total=False):
    path: Required[str]
    type: Required[Literal["c", "b", "u", "p"]]
    major: int
    minor: int
    fileMode: int
    uid: int
    gid: int


class NetDevice(TypedDict, total=False):
    name: str


class DeviceRule(TypedDict, total=False):
    allow: Required[bool]
    type: Literal["a", "c", "b"]
    major: int
    minor: int
    access: str


class Memory(TypedDict, total=False):
    limit: int
    """Bytes, -1 for none; as reservation, swap (memory and swap together), kernel and kernelTCP."""
    reservation: int
    swap: int
    kernel: int
    kernelTCP: int
    swappiness: int
    disableOOMKiller: bool
    useHierarchy: bool
    checkBeforeUpdate: bool


class CPU(TypedDict, total=False):
    shares: int
    quota: int
    """Microseconds, as burst, period, realtimeRuntime and realtimePeriod."""
    burst: int
    period: int
    realtimeRuntime: int
    realtimePeriod: int
    cpus: str
    mems: str
    idle: int


class Pids(TypedDict, total=False):
    limit: int


class WeightDevice(TypedDict, total=False):
    major: Required[int]
    minor: Required[int]
    weight: int
    leafWeight: int


class ThrottleDevice(TypedDict):
    major: int
    minor: int
    rate: int


Throttle = Literal[
    "throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"
]


class BlockIO(TypedDict, total=False):
    weight: int
    leafWeight: int
    weightDevice: list[WeightDevice]
    throttleReadBpsDevice: list[ThrottleDevice]
    throttleWriteBpsDevice: list[ThrottleDevice]
    throttleReadIOPSDevice: list[ThrottleDevice]
    throttleWriteIOPSDevice: list[ThrottleDevice]


class HugepageLimit(TypedDict):
    pageSize: str
    limit: int


class InterfacePriority(TypedDict):
    name: str
    priority: int


class Network(TypedDict, total=False):
    classID: int
    priorities: list[InterfacePriority]


class Rdma(TypedDict, total=False):
    hcaHandles: int
    hcaObjects: int


class Resources(TypedDict, total=False):
    devices: list[DeviceRule]
    memory: Memory
    cpu: CPU
    pids: Pids
    blockIO: BlockIO
    hugepageLimits: list[HugepageLimit]
    network: Network
    rdma: dict[str, Rdma]
    unified: dict[str, str]


class SyscallArg(TypedDict, total=False):
    index: Required[int]
    value: Required[int]
    valueTwo: int
    op: Required[str]


class Syscall(TypedDict, total=False):
    names: Required[list[str]]
    action: Required[str]
    errnoRet: int
    args: list[SyscallArg]


class Seccomp(TypedDict, total=False):
    defaultAction: Required[str]
    defaultErrnoRet: int
    architectures: list[str]
    flags: list[str]
    listenerPath: str
    listenerMetadata: str
    syscalls: list[Syscall]


class IntelRdt(TypedDict, total=False):
    closID: str
    schemata: list[str]
    l3CacheSchema: str
    memBwSchema: str
    enableMonitoring: bool


class MemoryPolicy(TypedDict, total=False):
    mode: Required[str]
    nodes: str
    flags: list[str]


class Personality(TypedDict, total=False):
    domain: Required[Literal["LINUX", "LINUX32"]]
    flags: list[str]


class Linux(TypedDict, total=False):
    uidMappings: list[IDMapping]
    gidMappings: list[IDMapping]
    sysctl: dict[str, str]
    resources: Resources
    cgroupsPath: str
    namespaces: list[Namespace]
    devices: list[Device]
    netDevices: dict[str, NetDevice]
    seccomp: Seccomp
    rootfsPropagation: str
    maskedPaths: list[str]
    readonlyPaths: list[str]
    mountLabel: str
    intelRdt: IntelRdt
    memoryPolicy: MemoryPolicy
    personality: Personality
    timeOffsets: dict[str, TimeOffset]


class Config(TypedDict, total=False):
    ociVersion: Required[str]
    process: Process
    root: Root
    hostname: str
    domainname: str
    mounts: list[Mount]
    hooks: Hooks
    annotations: dict[str, str]
    linux: Linux


class State(TypedDict, total=False):
    """runtime.md, "State": what `state` prints and hooks read."""

    ociVersion: Required[str]
    id: Required[str]
    status: Required[str]
    pid: int
    bundle: Required[str]
    annotations: dict[str, str]
    rootfs: str
    """As created and owner runc's. The owner is "", and hooks are not told of it."""
    created: str
    owner: str


class Unit(TypedDict, total=False):
    """The scope of a container, for the systemd that made it."""

    unit: Required[str]
    slice: Required[str]
    user: Required[bool]
    invocation: str | None
    """Its InvocationID: another one is another unit of that name."""


class IntelRdtRecord(TypedDict):
    clos: str
    monitoring: str
    remove: bool


class MountRecord(TypedDict):
    """A mount that was made by `create` or `mounts add`, known by the kernel's number of it."""

    destination: str
    path: str
    id: int
    unique: bool
    device: int
    inode: int


class StateFile(TypedDict, total=False):
    """state.json of the state root: see state/state_file.py, which holds what is read against the same."""

    #: Of this file.
    format: Required[int]
    ociVersion: Required[str]
    id: Required[str]
    phase: Required[Literal["creating", "created"]]
    #: 0 before the clone.
    pid: Required[int]
    #: In clock ticks since boot: tells the process from a later one of the same number.
    start: Required[int]
    bundle: Required[str]
    rootfs: Required[str]
    created: Required[str]
    annotations: Required[dict[str, str]]
    #: Controller to directory; "" is version 2's.
    cgroup: Required[dict[str, str]]
    #: The scope, with --systemd-cgroup.
    systemd: Unit | None
    #: poststart and poststop.
    hooks: Required[Hooks]
    #: False when the mounts are in the runtime's own mount namespace.
    ownMounts: bool
    #: privatePids by the name that older versions read.
    ownPids: bool
    #: A new pid namespace ends with the init process: nobody of it can be left then. Older states lack it.
    privatePids: bool
    #: False with --no-new-keyring.
    ownKeyring: bool
    #: Cgroups may be out of the runtime's reach, which is then forgiven (steps/host.py).
    rootless: bool
    #: False for a config without `process`: such a container cannot be started.
    hasProcess: bool
    #: There, and True, with that flag.
    trustAnnotations: bool
    #: The groups of resctrl that it is in.
    intelRdt: IntelRdtRecord
    #: Those that are ours to take away (steps/rootfs/mount_record.py). Older states lack it.
    mounts: list[MountRecord]
    #: What `update` has asked for, as JSON text; missing before the first.
    updated: str
