"""Descriptors, the working directory, keys, groups, signals: what comes from the runtime's caller and stays there."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containers import running, script
from tests.support.mounts import bind
from tests.support.processes import stranger
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, Workplace, one_line

#: Numbers that a descriptor of the runtime's could have while it changes to the working directory.
NUMBERS = range(3, 24)


@pytest.fixture
def leaked(workplace: Workplace) -> Iterator[tuple[int, ...]]:
    """Directories of the host that a careless caller has left open, also one below the rootfs."""
    marker = workplace.path / "host-only"
    marker.mkdir()
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in ("/", marker, workplace.path)]
    yield tuple(fds)
    for fd in fds:
        os.close(fd)


def listed(text: str) -> set[str]:
    return {word for word in text.split() if word.isdecimal()}


def test_what_the_caller_has_left_open(container: MakeBundle, leaked: tuple[int, ...]) -> None:
    """CVE-2024-21626. The fourth is that of `ls` itself."""
    box = container("sh", "-c", "ls /proc/self/fd; exec sleep 1000")
    running(box)
    wait_until(lambda: len(listed(box.output())) > 3, "the program has told")
    assert listed(box.output()) <= {"0", "1", "2", "3"}
    box.kill().ok()
    box.wait_for("stopped")
    box.delete().ok()
    box.run("--detach", pass_fds=leaked).ok()
    wait_until(lambda: len(listed(box.output())) > 3, "the program has told")
    assert listed(box.output()) <= {"0", "1", "2", "3"}
    assert listed(box.exec("ls", "/proc/self/fd", pass_fds=leaked).ok().stdout) <= {"0", "1", "2", "3"}
    assert set(os.listdir(f"/proc/{box.pid()}/fd")) == {"0", "1", "2"}


def test_what_hooks_inherit(bundle: MakeBundle, leaked: tuple[int, ...]) -> None:
    box = bundle("true")
    look = f"ls /proc/self/fd >> {box.path}/seen"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", look]}
    box.config["hooks"] = {
        kind: [hook] for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    }
    box.config["hooks"]["startContainer"] = [{"path": script(box, "ls /proc/self/fd >&2; exit 3"), "args": ["look"]}]
    done = box.run(pass_fds=leaked)
    assert done.returncode == 1 and listed(done.stderr.partition("output: ")[2]) <= {"0", "1", "2", "3"}, done.stderr
    assert listed((box.path / "seen").read_text()) <= {"0", "1", "2", "3"}


def test_a_working_directory_through_a_descriptor(container: MakeBundle, leaked: tuple[int, ...]) -> None:
    """CVE-2024-21626: the program would start in a directory of the host's, and exec in one of its making.

    A directory below the rootfs counts too: from there the way up leads past the container's root.
    """
    box = container("ls", "..")
    within = os.open(box.rootfs / "etc", os.O_RDONLY | os.O_DIRECTORY)
    for number in NUMBERS:
        box.config["process"]["cwd"] = f"/proc/self/fd/{number}"
        done = box.run(pass_fds=(*leaked, within))
        assert done.returncode == 1 and "host-only" not in done.stdout and "rootfs" not in done.stdout, done
    box.config["process"] = {**box.config["process"], "cwd": "/", "args": ["sleep", "1000"]}
    running(box)
    for number in NUMBERS:
        where = f"/proc/self/fd/{number}"
        done = box.exec("--cwd", where, "ls", "..", pass_fds=(*leaked, within))
        assert done.returncode == 255 and not done.stdout, done
    # A link to it, which the image can have anywhere.
    (box.rootfs / "way").symlink_to("/proc/self/fd/6")
    assert box.exec("--cwd", "/way", "ls", "..", pass_fds=(*leaked, within)).returncode == 255
    os.close(within)


def test_a_working_directory_that_the_root_cannot_be_left_from(bundle: MakeBundle) -> None:
    """A bind of the host's own root: `..` ends at the container's."""
    box = bundle("sh", "-c", "cd ..; cd ..; cd ..; ls")
    bind(box, box.path, "/bundle", "rbind", "ro")
    box.config["process"]["cwd"] = "/bundle/rootfs/etc"
    assert set(box.run().ok().stdout.split()) >= {"bundle", "bin", "proc"}


@pytest.mark.parametrize("flag", ["--preserve-fds", "LISTEN_FDS"])
def test_more_is_asked_for_than_the_caller_has(flag: str, bundle: MakeBundle, workplace: Workplace) -> None:
    """The next descriptor is the runtime's own: its log, a file of the host's."""
    box = bundle("ls", "-l", "/proc/self/fd")
    log = workplace.path / "log"
    argv = ["--log", str(log), "run", "--bundle", str(box.save()), box.id]
    if flag == "--preserve-fds":
        argv[3:3] = [flag, "1"]
        call = workplace.spawn(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    else:
        # The variables name the process that they are meant for.
        line = 'LISTEN_FDS=1 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID; exec "$0" "$@"'
        argv = ["/bin/sh", "-c", line, str(workplace.runtime), "--root", str(workplace.root), *argv]
        call = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = call.communicate()
    assert call.returncode == 1 and b"file descriptor 3 does not exist" in errors and b"log" not in output, errors


def test_keys(container: MakeBundle) -> None:
    """The session keyring of the caller holds what it logs in with: neither the program nor exec's finds it."""
    libc = ctypes.CDLL(None, use_errno=True)
    add_key, keyctl, session, join, set_permission = 248, 250, -3, 1, 5
    if os.uname().machine == "aarch64":
        add_key, keyctl = 217, 219
    if libc.syscall(keyctl, join, None) < 0:
        pytest.skip("no keyrings")
    key = libc.syscall(add_key, b"user", b"secret-of-the-caller", b"x", 1, session)
    assert key > 0
    # For its possessor alone: it is only listed to a process that could use it.
    libc.syscall(keyctl, set_permission, key, 0x3F000000)
    assert "secret-of-the-caller" in Path("/proc/keys").read_text()
    box = container("sh", "-c", "cat /proc/keys; exec sleep 1000")
    box.config["linux"]["maskedPaths"] = []
    running(box)
    wait_until(lambda: "_ses." in box.output(), "the program has told")
    assert "secret-of-the-caller" not in box.output() and "_ses." in box.output()
    shown = box.exec("cat", "/proc/keys").ok().stdout
    assert "secret-of-the-caller" not in shown and f"_ses.{box.id}" in shown
    box.delete("--force").ok()
    # And with the flag it is the caller's wish, for exec too.
    box.run("--detach", "--no-new-keyring").ok()
    wait_until(lambda: "secret-of-the-caller" in box.output(), "the program has told")
    assert "secret-of-the-caller" in box.exec("cat", "/proc/keys").ok().stdout


@pytest.mark.parametrize("uid", [0, 1000])
def test_groups(uid: int, container: MakeBundle) -> None:
    """Groups of the caller give rights to its files."""
    box = container("sleep", "1000")
    box.config["process"]["user"] = {"uid": uid, "gid": uid}
    call = box.place.spawn("run", "--detach", "--bundle", box.save(), box.id, extra_groups=[4242, 27])
    assert call.wait() == 0
    assert Path(f"/proc/{box.pid()}/status").read_text().partition("Groups:")[2].partition("\n")[0].strip() == ""
    call = box.place.spawn(
        "exec", box.id, "grep", "Groups", "/proc/self/status", extra_groups=[4242, 27], stdout=subprocess.PIPE
    )
    assert call.communicate()[0].partition(b":")[2].strip() == b""


def test_umask(container: MakeBundle) -> None:
    """The runtime sets up with none, which neither the program nor a hook may have."""
    box = container("sh", "-c", "umask; exec sleep 1000")
    box.config["root"]["readonly"] = False
    box.config["hooks"] = {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo > made-by-a-hook"]}]}
    old = os.umask(0)
    try:
        running(box)
        assert box.exec("sh", "-c", "umask").ok().stdout == "0022\n"
    finally:
        os.umask(old)
    wait_until(lambda: box.output() == "0022\n", "the program has told")
    assert os.stat(box.rootfs / "made-by-a-hook").st_mode & 0o777 == 0o644
    for path in (box.place.root / box.id).iterdir():
        assert not path.stat().st_mode & 0o077, path


def test_a_hook_that_does_not_read(bundle: MakeBundle) -> None:
    """The state is larger than a pipe; SIGPIPE would end the runtime with the container half made."""
    box = bundle("true")
    box.config["annotations"] = {f"name{number}": "x" * 1000 for number in range(100)}
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "exec 0<&-; sleep 0.1"]}
    box.config["hooks"] = {kind: [hook] for kind in ("createRuntime", "createContainer", "poststop")}

    def ordinary() -> None:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    call = box.place.spawn("run", "--bundle", box.save(), box.id, preexec_fn=ordinary)
    assert call.wait() == 0


def test_a_user_that_is_no_number(container: MakeBundle) -> None:
    """CVE-2026-30892: text after the number made it another user's, root's for one."""
    box = container("sleep", "1000")
    running(box)
    wrong = ["1000abc", "1000:", "1000:10x", ":10", " 1000", "1000 ", "-1", "+1", "0x3e8", "1e3", "1_000", "١٠٠٠"]
    wrong += ["4294967295", "4294967296", "18446744073709551616", "1000:4294967295", "1000:1:1", "root", "1000\n"]
    for user in wrong:
        done = box.exec("--user", user, "id", "-u")
        assert done.returncode == 255 or done.returncode == 1, user
        assert not done.stdout.strip().isdecimal() and "bad" in done.stderr + done.stdout, (user, done)
    assert box.exec("--user", "1000:1001", "id").ok().stdout.startswith("uid=1000")


def test_another_process_of_the_recorded_number(bundle: MakeBundle) -> None:
    """Numbers are used again: without the start time a signal would end, and exec enter, a process of the host's."""
    box = bundle("sleep", "1000")
    running(box)
    state = box.place.root / box.id / "state.json"
    text = state.read_text()
    pid = box.pid()
    assert f'"pid":{pid},' in text
    with stranger() as other:
        state.write_text(text.replace(f'"pid":{pid},', f'"pid":{other.pid},'))
        assert box.status() == "stopped"
        one_line(box.kill(), 1, "container not running")
        one_line(box.exec("true"), 255, "cannot exec in a stopped container")
        assert other.poll() is None
        one_line(box.delete("--force"), 1, "Device or resource busy")
        assert other.poll() is None
        state.write_text(text)
        box.delete("--force").ok()


def test_no_mount_namespace(container: MakeBundle) -> None:
    """The container is in its root all the same, and so is a process that joins it."""
    box = without_mount_namespace(container)
    running(box)
    assert "decoy-of-the-host" not in box.exec("ls", "/", f"{box.place.path}").stdout
    assert box.exec("sh", "-c", "cd ../../..; ls").ok().stdout.split() == sorted(os.listdir(box.rootfs))
    assert os.stat(f"/proc/{box.pid()}/root/").st_ino == os.stat(box.rootfs).st_ino


def test_delete_and_mounts_of_the_host(bundle: MakeBundle) -> None:
    """Without a mount namespace delete unmounts on the host: the container's mounts, wherever a link leads."""
    box = without_mount_namespace(bundle, "with a space")
    box.config["mounts"] = [{"destination": "/a/b", "type": "tmpfs", "source": "of-the-container"}]
    decoy = box.place.path / "decoy-of-the-host"
    (decoy / "b").mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "of-the-host", decoy / "b"], check=True)
    try:
        running(box)
        (box.rootfs / "a").rename(box.rootfs / "elsewhere")
        (box.rootfs / "a").symlink_to(decoy)
        box.delete("--force").ok()
        mounts = Path("/proc/self/mountinfo").read_text()
        assert "of-the-host" in mounts and "of-the-container" not in mounts
    finally:
        subprocess.run(["umount", decoy / "b"], check=True)


def without_mount_namespace(bundle: MakeBundle, folder: str = "rootfs") -> Bundle:
    box = bundle("sleep", "1000")
    (box.place.path / "decoy-of-the-host").mkdir(exist_ok=True)
    if folder != "rootfs":
        box.rootfs = box.rootfs.rename(box.path / folder)
        box.config["root"]["path"] = folder
    linux = box.config["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "mount"]
    linux.pop("maskedPaths", None)
    linux.pop("readonlyPaths", None)
    box.config["mounts"] = []
    box.config["root"]["readonly"] = False
    return box
