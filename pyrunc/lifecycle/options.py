"""What the caller of create, run and exec asks for, apart from the bundle's config.

Hot: slotted classes with defaults, nothing imported. The command line fills them; a library user may too.
Every path is absolute, or relative to the bundle for create and run, which work with the bundle as current directory.
"""


class CreateOptions:
    """Options of create and run (runc's flags of the same names).

    bundle: the bundle's directory. config: file to read in place of <bundle>/config.json, or None.
    console_socket, pidfd_socket: paths of AF_UNIX stream sockets, or None. pid_file: path, or None.
    preserve_fds: number of descriptors from 3 + LISTEN_FDS upwards that the container keeps, at least 0.
    rootless: True or False as the caller says, None to find out. trust_annotations: heed crun's annotations, which are
    as powerful as hooks. The rest are switches.
    """

    __slots__ = (
        "bundle",
        "config",
        "console_socket",
        "detach",
        "keep",
        "no_cgroup",
        "no_new_keyring",
        "no_pivot",
        "no_subreaper",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "rootless",
        "systemd_cgroup",
        "trust_annotations",
    )

    def __init__(self, bundle: str) -> None:
        self.bundle = bundle
        self.config: str | None = None
        self.console_socket: str | None = None
        self.pidfd_socket: str | None = None
        self.pid_file: str | None = None
        self.no_pivot = False
        self.no_new_keyring = False
        self.preserve_fds = 0
        self.detach = False
        self.keep = False
        self.no_subreaper = False
        self.systemd_cgroup = False
        self.trust_annotations = False
        self.no_cgroup = False
        self.rootless: bool | None = None


class ExecOptions:
    """Options of exec (runc's flags of the same names).

    process_file: path of a process.json that describes the process whole, or None.
    args: the command, empty when process_file is given. cwd, process_label, apparmor: None when not given.
    env: "NAME=value" strings added to the container's environment. user: (uid, gid), gid None when not given; or None.
    additional_gids: numbers added to the config's. caps: names of capabilities to add.
    no_new_privs: None when not given, so that the config decides.
    cgroup: controller to path below the container's own cgroup; the key "" stands for all of them.
    preserve_fds, console_socket, pidfd_socket, pid_file: as in CreateOptions. The rest are switches.
    """

    __slots__ = (
        "additional_gids",
        "apparmor",
        "args",
        "caps",
        "cgroup",
        "console_socket",
        "cwd",
        "detach",
        "env",
        "ignore_paused",
        "no_new_privs",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "process_file",
        "process_label",
        "tty",
        "user",
    )

    def __init__(self) -> None:
        self.process_file: str | None = None
        self.args: list[str] = []
        self.cwd: str | None = None
        self.env: list[str] = []
        self.tty = False
        self.user: tuple[int, int | None] | None = None
        self.additional_gids: list[int] = []
        self.detach = False
        self.pid_file: str | None = None
        self.console_socket: str | None = None
        self.pidfd_socket: str | None = None
        self.process_label: str | None = None
        self.apparmor: str | None = None
        self.no_new_privs: bool | None = None
        self.caps: list[str] = []
        self.preserve_fds = 0
        self.cgroup: dict[str, str] = {}
        self.ignore_paused = False
