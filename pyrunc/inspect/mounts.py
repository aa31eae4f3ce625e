"""The container's mounts: those of config.json and of `mounts add`, its root, masked and read-only paths."""

import errno
import os
from typing import Any

from pyrunc import _linux
from pyrunc.inspect.proc import Process
from pyrunc.inspect.report import Report, Row
from pyrunc.linux import paths
from pyrunc.linux.mountinfo import Entry
from pyrunc.state.container import Container
from pyrunc.steps.rootfs import mount_options, mount_record

# What proc_pid_mountinfo(5) calls the attributes of a mount.
_WORDS = {
    "ro": _linux.MOUNT_ATTR_RDONLY,
    "nosuid": _linux.MOUNT_ATTR_NOSUID,
    "nodev": _linux.MOUNT_ATTR_NODEV,
    "noexec": _linux.MOUNT_ATTR_NOEXEC,
    "nosymfollow": _linux.MOUNT_ATTR_NOSYMFOLLOW,
}
_ALL = sum(_WORDS.values())
# Parameters whose values the kernel shows as they were given, but for how a number is written.
_SIZES = ("size", "nr_inodes", "nr_blocks")
_MODES = ("mode", "ptmxmode")
_UNITS = "kmgtp"
# File systems that tell of other devices for their files than mountinfo does.
_MANY_DEVICES = ("btrfs", "overlay")
_READ_ONLY = 1  # ST_RDONLY (linux/statfs.h)


def _device(line: Entry) -> int:
    """Of its file system."""
    major, minor = line.device.split(":")
    return os.makedev(int(major), int(minor))


def _words(line: Entry) -> str:
    text = f"{line.fstype} {','.join(line.options)}"
    return text + (f" ({','.join(line.super_options)})" if line.super_options else "")


class Mounts:
    """Compares what a container was given with what is there. linux, config: of the container."""

    def __init__(self, report: Report, config: dict[str, Any], container: Container, process: Process | None) -> None:
        self.report = report
        self.config: Any = config
        self.linux: Any = config.get("linux", {})
        self.container = container
        self.process = process
        lines = process.text("mountinfo").splitlines() if process else []
        self.at: dict[str, list[Entry]] = {}
        for line in map(Entry, lines):
            self.at.setdefault(line.point, []).append(line)
        #: Our own mounts that were found so far, by place: their rows, and their lines that there are.
        self.used: dict[str, list[tuple[Row, Entry | None]]] = {}
        kinds = {entry["type"] for entry in self.linux.get("namespaces", [])}
        #: Whether attributes may stay that nobody asked for: a user namespace may not clear them.
        self.locked = "user" in kinds or bool(container.fields.get("rootless"))

    def compare(self) -> None:
        self._root()
        self._configured()
        self._paths("maskedPaths", _masked)
        self._paths("readonlyPaths", _read_only)

    def _root(self) -> None:
        lines = self.at.get("/")
        line = lines[-1] if lines else None
        asked = bool(self.config.get("root", {}).get("readonly"))
        effective = None if line is None else "ro" in line.options
        row = self.report.add("mounts", "/", asked, effective, "/root/readonly")
        row.requested = "read-only" if asked else "writable"
        row.effective = _words(line) if line else None
        word = self.linux.get("rootfsPropagation") or None
        if line is None or not word:
            return
        found = " ".join(line.peers) or "private"
        kind = word.removeprefix("r")
        differs = kind in ("shared", "unbindable") and not found.startswith(kind)
        self.report.add("mounts", "propagation of /", word, found, "/linux/rootfsPropagation", differs=differs)

    def _configured(self) -> None:
        records = list(self.container.fields.get("mounts") or ())
        is_recorded = "mounts" in self.container.fields
        entries = self.config.get("mounts", [])
        remounted = {self._destination(entry) for entry in entries if "remount" in (entry.get("options", []))}
        for index, entry in enumerate(entries):
            pointer = f"/mounts/{index}"
            options = mount_options.parse(entry.get("options", []), pointer)
            if options.remount:
                continue
            destination = self._destination(entry)
            record = next((one for one in records if one["destination"] == destination), None)
            row = self.report.add("mounts", destination, _request(entry, options), None, pointer)
            if record is not None:
                records.remove(record)
                self._judge(row, record, entry, options, exact=destination not in remounted)
            elif options.copy_symlink:
                row.note = "a symbolic link"
            elif is_recorded:
                row.note = "taken away by `mounts remove`"
            else:
                # An older state, or one of a restore: by its path alone.
                self._judge(row, {"path": destination}, entry, options, exact=False)
        for record in records:
            row = self.report.add("mounts", record["destination"], "by `mounts add`", None, "")
            self._judge(row, record, {}, mount_options.MountOptions(), exact=False)
        if is_recorded:
            self._covered()

    def _destination(self, entry: Any) -> str:
        destination: str = entry["destination"]
        rootfs = self.container.fields["rootfs"]
        if (destination + "/").startswith(rootfs + "/"):
            destination = destination[len(rootfs) :]
        return mount_record.plain(destination)

    def _judge(self, row: Row, record: Any, entry: Any, options: mount_options.MountOptions, *, exact: bool) -> None:
        """Compare one mount with its line of mountinfo. record: what state.json has of it, at least its path."""
        if self.process is None or not self.at:
            return
        line = self._line_of(record)
        self.used.setdefault(record["path"], []).append((row, line))
        if line is None:
            row.differs = True
            row.note = "nothing is mounted there"
            return
        row.effective = _words(line)
        problems = _attributes(line, options, exact=exact and not self.locked) + _parameters(line, options)
        fstype = entry.get("type") or ""
        if fstype and not options.bind and not _is_type(line.fstype, fstype):
            problems.insert(0, "it is of type " + line.fstype)
        row.differs = bool(problems)
        row.note = "; ".join(problems)

    def _line_of(self, record: dict[str, Any]) -> Entry | None:
        """The first line at its place that no earlier mount of ours has, and that may be it.

        A recursive bind brings mounts of the host along, on which ours may stand.
        """
        place, device = record["path"], record.get("device")
        taken = [line for _, line in self.used.get(place, [])]
        for line in self.at.get(place, []):
            if line not in taken and (device in (None, _device(line)) or line.fstype in _MANY_DEVICES):
                return line
        return None

    def _covered(self) -> None:
        """Mounts on top of ours that are none of ours."""
        others = [*(self.linux.get("maskedPaths", [])), *(self.linux.get("readonlyPaths", []))]
        expected = [mount_record.plain(path) for path in others]
        for place, found in self.used.items():
            row, line = found[-1]
            lines = self.at.get(place, [])
            if line is None:
                continue
            more = lines[lines.index(line) + 1 + expected.count(place) :]
            if more:
                # What anybody in the container sees there is the other one.
                row.effective, row.differs = _words(more[-1]), True
                row.note = "another mount is on top of it"

    def _paths(self, name: str, judge: Any) -> None:
        """linux.maskedPaths or readonlyPaths: what a look at each says."""
        wanted = self.linux.get(name) or ()
        root = -1
        if self.process and wanted:
            try:
                flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
                root = os.open("root", flags, dir_fd=self.process.fd)
            except OSError:
                pass  # it has ended, or is not for the caller
        try:
            for index, path in enumerate(wanted):
                effective, differs = judge(root, path) if root >= 0 else (None, False)
                row = self.report.add(name, path, judge.__doc__, effective, f"/linux/{name}/{index}")
                row.differs = differs
        finally:
            if root >= 0:
                os.close(root)


def _request(entry: Any, options: mount_options.MountOptions) -> str:
    kind = ("bind of " + str(entry.get("source"))) if options.bind else str(entry.get("type") or "none")
    return " ".join([kind, ",".join(entry.get("options", []))]).strip()


def _is_type(found: str, asked: str) -> bool:
    cgroups = ("cgroup", "cgroup2")
    return found == asked or (asked in cgroups and found in (*cgroups, "tmpfs"))


def _attributes(line: Entry, options: mount_options.MountOptions, *, exact: bool) -> list[str]:
    """What the mount's own attributes lack or have too much. exact: it has none but those that are asked for."""
    set_, clear = options.attr_set, options.attr_clr
    if options.bind:
        set_, clear = options.bind_attributes(None)
    elif exact:
        clear = _ALL
    set_ = (set_ & ~options.rec_clr) | options.rec_set
    clear = (clear | options.rec_clr) & ~set_
    found = [f"{word} is missing" for word, flag in _WORDS.items() if set_ & flag and word not in line.options]
    if exact:
        found += [f"{word} is not asked for" for word, flag in _WORDS.items() if clear & flag and word in line.options]
        if options.atime in ("noatime", "relatime") and options.atime not in line.options:
            found.append(options.atime + " is missing")
    return found


def _parameters(line: Entry, options: mount_options.MountOptions) -> list[str]:
    shown = dict(word.partition("=")[::2] for word in line.super_options)
    found = []
    for key, value in options.parameters:
        if value is None or key not in shown:
            continue
        if (key in _SIZES and _size(value) not in (None, _size(shown[key]))) or (
            key in _MODES and value.lstrip("0") != shown[key].lstrip("0")
        ):
            found.append(f"{key} is {shown[key]}")
    return found


def _size(text: str) -> int | None:
    """Bytes of "65536k"; None for what depends on the machine, such as "50%"."""
    digits, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "")
    if not digits.isdigit() or (unit and unit not in _UNITS):
        return None
    page = os.sysconf("SC_PAGE_SIZE")
    value: int = int(digits) * 1024 ** (_UNITS.index(unit) + 1 if unit else 0)
    # A tmpfs counts whole pages.
    return -(-value // page) * page if value > page else value


def _masked(root: int, path: str) -> tuple[str, bool]:
    """masked"""
    try:
        fd = paths.open_in_root(root, path)
    except OSError as error:
        return _not_there(error)
    try:
        if not paths.is_directory(fd):
            is_null = os.fstat(fd).st_rdev == os.makedev(1, 3)
            return ("the null device", False) if is_null else ("a file that can be read", True)
        magic, flags = _linux.fstatfs(fd)
        is_mask = magic == _linux.TMPFS_MAGIC and flags & _READ_ONLY
        return ("an empty read-only tmpfs", False) if is_mask else ("a directory that can be read", True)
    finally:
        os.close(fd)


def _read_only(root: int, path: str) -> tuple[str, bool]:
    """read-only"""
    try:
        fd = paths.open_in_root(root, path)
    except OSError as error:
        return _not_there(error)
    try:
        read_only = bool(_linux.fstatfs(fd)[1] & _READ_ONLY)
        return ("read-only" if read_only else "writable"), not read_only
    finally:
        os.close(fd)


def _not_there(error: OSError) -> tuple[str, bool]:
    """What is missing needs no mask."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "not there", False
    return "cannot be looked at: " + (error.strerror or ""), True
