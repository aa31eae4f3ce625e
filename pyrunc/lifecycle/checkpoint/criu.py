"""CRIU by its RPC (criu's rpc.proto): one `criu swrk` a request, which speaks over a socket pair.

Every message is one packet. Between request and answer CRIU sends notifications, each of which waits for a reply.
Loaded for checkpoint and restore alone: Python's protobuf and CRIU's own messages (pycriu) come with Debian's criu.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, UsageError, reason
from pyrunc.linux import files
from pyrunc.steps import clone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyrunc.lifecycle.checkpoint.rpc import Answer, Opts, Request, Rpc

    # Its name, the process it is about, and a descriptor that came with it or -1.
    Notify = Callable[[str, int, int], None]

#: What the engines ask for without a word: no network devices or addresses are restored, whoever made them does that.
EMPTY_NAMESPACES: Final = _linux.CLONE_NEWNET
_CGROUP_MODES: Final = {"": "DEFAULT", "soft": "SOFT", "full": "FULL", "strict": "STRICT", "ignore": "IGNORE"}
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PACKET: Final = 1 << 18
_LOG_LEVEL: Final = 4
# The first with external pid namespaces, LSM profiles to choose, and requests for one pre-dump.
_OLDEST: Final = (3, 16)
_LOG_LIMIT: Final = 64 << 20
_NO_SERVER: Final = "Can't connect to server "


class CriuOptions:
    """Flags of checkpoint and restore, and what they have in common.

    image_path: directory of the images, absolute. work_path: of logs, None for the images' own. parent_path: of an
    earlier pre-dump, relative to image_path, None for none. status_fd: -1 for none. page_server: (address, port).
    cgroups_mode: "", soft, full, strict or ignore. The others are switches or strings as CRIU takes them.
    """

    __slots__ = (
        "auto_dedup",
        "cgroups_mode",
        "ext_unix_sk",
        "file_locks",
        "image_path",
        "lazy_pages",
        "leave_running",
        "link_remap",
        "lsm_mount_context",
        "lsm_profile",
        "page_server",
        "parent_path",
        "pre_dump",
        "shell_job",
        "status_fd",
        "tcp_established",
        "tcp_skip_in_flight",
        "work_path",
    )

    def __init__(self, image_path: str) -> None:
        self.image_path = image_path
        self.work_path: str | None = None
        self.parent_path: str | None = None
        self.status_fd = -1
        self.page_server: tuple[str, int] | None = None
        self.cgroups_mode = ""
        self.lsm_profile = ""
        self.lsm_mount_context = ""
        self.auto_dedup = False
        self.ext_unix_sk = False
        self.file_locks = False
        self.lazy_pages = False
        self.leave_running = False
        self.link_remap = False
        self.pre_dump = False
        self.shell_job = False
        self.tcp_established = False
        self.tcp_skip_in_flight = False


def check_mode(mode: str) -> None:
    """Raises UsageError for what is no mode of --manage-cgroups-mode."""
    if mode not in _CGROUP_MODES:
        raise UsageError("invalid manage-cgroups-mode value", hint="soft, full, strict or ignore")


def messages() -> Rpc:
    """CRIU's messages: module pycriu.rpc_pb2. Raises PyruncError."""
    try:
        import pycriu.rpc_pb2  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise PyruncError(
            "CRIU's Python module cannot be loaded: " + str(error),
            hint="install criu and python3-protobuf (python3-pycriu where criu comes without it)",
        ) from None
    rpc: Rpc = pycriu.rpc_pb2
    return rpc


def find() -> str:
    """The path of the program. Raises PyruncError."""
    path = posix.environ.get(b"PATH", b"").decode("utf-8", "surrogateescape")
    for directory in (f"{path}:{_PATH}").split(":"):
        if directory.startswith("/") and posix.access(directory + "/criu", posix.X_OK):
            return directory + "/criu"
    raise PyruncError("checkpoint and restore need CRIU, and there is no program criu", hint="install the package criu")


class Service:
    """One `criu swrk` process.

    sock: our end of the socket pair. The process is started by start() or start_as(), and ended by finish().
    """

    __slots__ = ("errors", "pid", "pidfd", "program", "rpc", "sock")

    def __init__(self) -> None:
        """Raises PyruncError when CRIU or its messages are not installed."""
        self.rpc = messages()
        self.program = find()
        self.sock: _socket.socket | None = None
        self.pid = 0
        self.pidfd = -1
        # What it writes to its standard error before it has its log.
        self.errors = -1

    def start(self) -> None:
        """Start it, with /dev/null for standard input and output. Raises OSError."""
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        self.errors = posix.memfd_create("criu-errors", posix.MFD_CLOEXEC)
        null = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
        self.start_as(lambda: (null, null, self.errors, theirs.fileno()))
        posix.close(null)
        theirs.close()
        self.sock = ours

    def start_as(self, prepare: Callable[[], tuple[int, ...]]) -> None:
        """Start it after some work in the new process. Raises OSError.

        prepare: called there; may only raise what it has told somebody itself. Returns the descriptors that the program
        gets from 0 on; 3 is the end of the socket pair, and the caller sees to it that `sock` becomes the other.
        """
        self.pid, self.pidfd = _linux.clone(0)
        if self.pid == 0:
            try:
                self._become(prepare())
            except BaseException:
                posix._exit(127)

    def _become(self, wanted: tuple[int, ...]) -> None:
        # Out of the way first: any of them may have a number that another one is to get.
        copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in wanted]
        for number, fd in enumerate(copies):
            posix.dup2(fd, number, inheritable=True)
        _linux.close_range(len(wanted), 0xFFFFFFFF, 0)
        _linux.reset_signals()
        posix.execve(self.program, ["criu", "swrk", "3"], posix.environ)

    def ask(self, request: Request, notify: Notify | None = None) -> Answer:
        """Send a request, attend to notifications, and return the answer (criu_resp), good or bad.

        Raises what notify raises, after CRIU was told of the failure and has given up; PyruncError when it has ended.
        """
        rpc = self.rpc
        problem: BaseException | None = None
        self._send(request)
        while True:
            answer, fd = self._receive(problem)
            try:
                if answer.type != rpc.NOTIFY:
                    break
                if notify is not None and problem is None:
                    try:
                        notify(answer.notify.script, answer.notify.pid, fd)
                    except (OSError, PyruncError) as error:
                        problem = error
            finally:
                if fd >= 0:
                    posix.close(fd)
            self._send(rpc.criu_req(type=rpc.NOTIFY, notify_success=problem is None))
        if problem is not None:
            raise problem
        return answer

    def _connected(self) -> _socket.socket:
        assert self.sock is not None
        return self.sock

    def _send(self, request: Request) -> None:
        try:
            self._connected().send(request.SerializeToString())
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise PyruncError("speak with criu: " + reason(error), errno=error.errno) from None

    def _receive(self, problem: BaseException | None) -> tuple[Answer, int]:
        try:
            data, ancillary, _, _ = self._connected().recvmsg(_PACKET, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        except OSError:
            data, ancillary = b"", []
        if not data:
            raise problem or PyruncError("criu ended unexpectedly" + self.said())
        fd = int.from_bytes(ancillary[0][2][:4], "little") if ancillary else -1
        answer = self.rpc.criu_resp()
        answer.ParseFromString(data)
        return answer, fd

    def said(self) -> str:
        """A colon and the first error on its standard error, "" when there is none."""
        if self.errors < 0:
            return ""
        posix.lseek(self.errors, 0, 0)
        return _with_colon(first_error(files.read_fd(self.errors, 65536)))

    def finish(self, kill: bool = False) -> int:
        """Let it end, or end it; its wait status."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None
        status = 0
        if self.pidfd >= 0:
            if kill:
                clone.end(self.pidfd)
            posix.close(self.pidfd)
            self.pidfd = -1
            status = posix.waitpid(self.pid, 0)[1]
        if self.errors >= 0:
            posix.close(self.errors)
            self.errors = -1
        return status


def first_error(log: bytes) -> str:
    """What the first error in a log of CRIU's says, without time and place in its source."""
    for line in log.decode("utf-8", "replace").split("\n"):
        _, found, rest = line.partition("Error (")
        if found:
            return rest.partition("): ")[2].strip() or rest.strip()
        if _NO_SERVER in line:
            # Not an error to CRIU 3, which gives up all the same and complains of something else.
            return line[line.index(_NO_SERVER) :].strip()
    return ""


def _with_colon(text: str) -> str:
    return ": " + text if text else ""


def check(*, images: str = "", memory_tracking: bool = False, lazy_pages: bool = False) -> None:
    """See that CRIU is there and works on this kernel, and has what is asked for. Raises PyruncError.

    images: the directory to restore from, if any.
    """
    if posix.geteuid() != 0:
        raise PyruncError("checkpoint and restore need root: CRIU cannot do them for an ordinary user")
    if images:  # before CRIU is asked, which looks at much of the kernel and may take its time
        posix.close(open_directory(images, "checkpoint directory"))
    service = Service()
    rpc = service.rpc
    try:
        service.start()
        request = rpc.criu_req(type=rpc.VERSION, keep_open=True)
        version = service.ask(request).version
        number = f"{version.major_number}.{version.minor_number}"
        if (version.major_number, version.minor_number) < _OLDEST:
            raise PyruncError(f"criu {number} is too old", hint="checkpoint and restore need CRIU 3.16")
        features = rpc.criu_features(mem_track=True, lazy_pages=True)
        answer = service.ask(rpc.criu_req(type=rpc.FEATURE_CHECK, features=features))
        if not answer.success:
            release = posix.uname().release
            raise PyruncError(
                f"criu {number} does not work on Linux {release}{service.said()}",
                hint="`criu check` says what is missing; a newer CRIU may know this kernel",
            )
        if memory_tracking and not answer.features.mem_track:
            raise PyruncError("criu is missing features: this kernel cannot track changed memory (MemTrack)")
        if lazy_pages and not answer.features.lazy_pages:
            raise PyruncError("criu is missing features: this kernel cannot restore memory later (LazyPages)")
    finally:
        service.finish(kill=True)


def common_options(
    rpc: Rpc, options: CriuOptions, images: int, work: int, log: str, annotations: Mapping[str, str]
) -> Opts:
    """The criu_opts that checkpoint and restore share. images, work: descriptors of directories, work -1 for none."""
    wanted = rpc.criu_opts(
        images_dir_fd=images,
        log_level=_LOG_LEVEL,
        log_file=log,
        notify_scripts=True,
        manage_cgroups=True,
        manage_cgroups_mode=rpc.criu_cg_mode.Value(_CGROUP_MODES[options.cgroups_mode]),
        shell_job=options.shell_job,
        ext_unix_sk=options.ext_unix_sk,
        tcp_established=options.tcp_established,
        file_locks=options.file_locks,
        empty_ns=EMPTY_NAMESPACES,
        orphan_pts_master=True,
        auto_dedup=options.auto_dedup,
        lazy_pages=options.lazy_pages,
    )
    if work >= 0:
        wanted.work_dir_fd = work
    config = _config_file(annotations)
    if config:
        wanted.config_file = config
    return wanted


def _config_file(annotations: Mapping[str, str]) -> str:
    """CRIU's file of settings, which overrule ours: as runc, an annotation, or the file that runc's users have."""
    if "org.criu.config" in annotations:
        return annotations["org.criu.config"]
    own = "/etc/criu/pyrunc.conf"
    return own if files.exists(own) else "/etc/criu/runc.conf"


def failure(service: Service, options: CriuOptions, log: str, answer: Answer) -> PyruncError:
    """The error of a bad answer: what CRIU's log says first."""
    path = (options.work_path or options.image_path) + "/" + log
    try:
        text = first_error(files.read(path, limit=_LOG_LIMIT))
    except OSError:
        text = ""
    kind = service.rpc.criu_req_type.Name(answer.type)
    number = posix.strerror(answer.cr_errno).lower() if answer.cr_errno else ""
    why = _with_colon(text or answer.cr_errmsg or number) or service.said()
    return PyruncError(f"criu failed: type {kind}{why}", hint="its log is " + path)


def open_directory(path: str, what: str) -> int:
    """Raises PyruncError."""
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as error:
        raise PyruncError(f"{what} {path}: {reason(error)}", errno=error.errno) from None
