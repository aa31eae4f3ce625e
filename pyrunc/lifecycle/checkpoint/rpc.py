"""CRIU's messages (its images/rpc.proto), as far as they are used. For type checkers alone: never imported.

The module itself is CRIU's pycriu.rpc_pb2, which has no types.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Request(Protocol):
    def SerializeToString(self) -> bytes: ...


class Strings(Protocol):
    def extend(self, values: Iterable[str]) -> None: ...


class InheritedFds(Protocol):
    def add(self, *, key: str, fd: int) -> object: ...


class JoinedNamespaces(Protocol):
    def add(self, *, ns: str, ns_file: str) -> object: ...


class CgroupRoots(Protocol):
    def add(self, *, ctrl: str, path: str) -> object: ...


class PageServer(Protocol):
    address: str
    port: int


class Opts(Protocol):
    """criu_opts."""

    pid: int
    root: str
    leave_running: bool
    tcp_skip_in_flight: bool
    link_remap: bool
    parent_img: str
    track_mem: bool
    freeze_cgroup: str
    rst_sibling: bool
    evasive_devices: bool
    shell_job: bool
    lsm_profile: str
    lsm_mount_context: str
    work_dir_fd: int
    config_file: str

    @property
    def external(self) -> Strings: ...
    @property
    def ps(self) -> PageServer: ...
    @property
    def inherit_fd(self) -> InheritedFds: ...
    @property
    def join_ns(self) -> JoinedNamespaces: ...
    @property
    def cg_root(self) -> CgroupRoots: ...


class Features(Protocol):
    """criu_features."""

    mem_track: bool
    lazy_pages: bool


class Notification(Protocol):
    script: str
    pid: int


class Version(Protocol):
    major_number: int
    minor_number: int


class Answer(Protocol):
    """criu_resp."""

    type: int
    success: bool
    cr_errno: int
    cr_errmsg: str

    def ParseFromString(self, data: bytes) -> int: ...
    @property
    def notify(self) -> Notification: ...
    @property
    def version(self) -> Version: ...
    @property
    def features(self) -> Features: ...


class CgroupModes(Protocol):
    def Value(self, name: str) -> int: ...


class RequestTypes(Protocol):
    def Name(self, number: int) -> str: ...


class Rpc(Protocol):
    """The module."""

    NOTIFY: int
    VERSION: int
    FEATURE_CHECK: int
    DUMP: int
    SINGLE_PRE_DUMP: int
    RESTORE: int

    @property
    def criu_cg_mode(self) -> CgroupModes: ...
    @property
    def criu_req_type(self) -> RequestTypes: ...
    def criu_req(
        self,
        *,
        type: int,
        opts: Opts = ...,
        features: Features = ...,
        keep_open: bool = ...,
        notify_success: bool = ...,
    ) -> Request: ...
    def criu_resp(self) -> Answer: ...
    def criu_features(self, *, mem_track: bool, lazy_pages: bool) -> Features: ...
    def criu_opts(self, **options: bool | int | str) -> Opts: ...
