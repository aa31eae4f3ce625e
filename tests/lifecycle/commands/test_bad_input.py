"""Wrong input: exit 1 (exec: 255) and one line that names the thing and the place in the config; nothing is left."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.namespaces import set_namespaces
from tests.support.workplace import Bundle, MakeBundle, Workplace, one_line

#: What a person or an engine may do with a bundle.
COMMANDS = (("create",), ("run",), ("run", "--detach"))


def refused(box: Bundle, *words: str) -> None:
    """Every command that makes a container of the bundle refuses it. config.json is as it stands there."""
    for command, *flags in COMMANDS:
        one_line(box.call(command, "--bundle", box.path, *flags, box.id), 1, f"{command} failed", *words)
        assert not (box.place.root / box.id).exists()


# ---- bundle, config.json ----


def test_a_missing_bundle(bundle: MakeBundle, workplace: Workplace) -> None:
    box = bundle()
    for path in (workplace.path / "nowhere", box.path / "config.json", workplace.path / ("x" * 300)):
        box.path = path
        refused(box, str(path))


def test_a_missing_config(bundle: MakeBundle) -> None:
    box = bundle()
    (box.path / "config.json").unlink()
    # runc's words.
    refused(box, "JSON specification file", "config.json", "not found")
    one_line(box.call("create", "--bundle", box.path, "--config", "/nowhere/config", box.id), 1, "/nowhere/config")
    # Without --bundle it is the current directory.
    one_line(box.call("create", box.id, cwd=box.path), 1, "config.json", "not found")


BROKEN = [
    (b"", "config.json"),
    (b"{", "config.json"),
    (b'{"ociVersion": "1.0.0"} {}', "config.json"),
    (b"[]", "object"),
    (b"null", "object"),
    (b'{"ociVersion": "1.0.0", "ociVersion": "1.0.0"}', "ociVersion"),
    (b'{"ociVersion": "1.0.0", "x": 1e999}', "config.json"),
    (b'{"ociVersion": "1.0.0", "x": NaN}', "config.json"),
    (b'{"ociVersion": "1.0.0", "x": "\\ud800"}', "config.json"),
    (b'{"ociVersion": "1.0.0", "x": "\xff"}', "UTF-8"),
    (b'\xef\xbb\xbf{"ociVersion": "1.0.0"}', "config.json"),
    (b'{"ociVersion": "1.0.0", "x": ' + b"[" * 200 + b"]" * 200 + b"}", "deep"),
    (b'{"ociVersion": "1.0.0", "x": "' + b"x" * (5 << 20) + b'"}', "larger"),
    (b'{"x": ' + b"9" * 10_000 + b"}", "config.json"),
]


def test_a_broken_config(bundle: MakeBundle) -> None:
    box = bundle()
    for text, words in BROKEN:
        (box.path / "config.json").write_bytes(text)
        refused(box, words)


def test_a_config_that_is_no_file(bundle: MakeBundle) -> None:
    box = bundle()
    (box.path / "config.json").unlink()
    (box.path / "config.json").mkdir()
    refused(box, "config.json")
    (box.path / "config.json").rmdir()
    os.mkfifo(box.path / "config.json")
    refused(box, "config.json")


def set_(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one value in a config; DELETE takes it away."""

    def change(config: dict[str, Any]) -> None:
        *above, last = path
        place: Any = config
        for name in above:
            place = place[int(name) if isinstance(place, list) else name]
        if value is DELETE:
            del place[last]
        else:
            place[last] = value

    return change


DELETE = object()

WRONG: list[tuple[tuple[str, ...], Any, str]] = [
    (("ociVersion",), DELETE, "ociVersion"),
    (("ociVersion",), 1, "/ociVersion"),
    (("ociVersion",), "not a version", "/ociVersion"),
    (("root",), DELETE, "root"),
    (("root", "path"), "", "/root/path"),
    (("root", "path"), "nowhere", "/root/path"),
    (("root", "path"), "config.json", "/root/path"),
    (("root", "path"), 3, "/root/path"),
    (("root", "readonly"), "yes", "/root/readonly"),
    (("process", "args"), [], "/process/args"),
    (("process", "args"), "true", "/process/args"),
    (("process", "args"), [1], "/process/args/0"),
    (("process", "cwd"), DELETE, "/process"),
    (("process", "cwd"), "relative", "/process/cwd"),
    (("process", "terminal"), 1, "/process/terminal"),
    (("process", "user"), "root", "/process/user"),
    (("process", "user", "uid"), -1, "/process/user/uid"),
    (("process", "user", "uid"), 1.0, "/process/user/uid"),
    (("process", "user", "umask"), -1, "/process/user/umask"),
    (("process", "env"), {"A": "1"}, "/process/env"),
    (("process", "env"), ["NO_EQUALS_SIGN"], "/process/env/0"),
    (("process", "capabilities", "bounding"), "CAP_KILL", "/process/capabilities/bounding"),
    (("hostname",), 3, "/hostname"),
    (("hostname",), "x" * 65, "hostname"),
    (("mounts",), {}, "/mounts"),
    (("annotations",), {"": "x"}, "/annotations"),
    (("annotations",), {"a": 1}, "/annotations/a"),
    (("hooks",), {"prestart": {}}, "/hooks/prestart"),
    (("hooks",), {"prestart": [{}]}, "/hooks/prestart/0"),
    (("linux", "namespaces"), "pid", "/linux/namespaces"),
    (("linux", "cgroupsPath"), 3, "/linux/cgroupsPath"),
    (("linux", "cgroupsPath"), "/../outside", "/linux/cgroupsPath"),
    (("linux", "rootfsPropagation"), "sideways", "/linux/rootfsPropagation"),
    (("linux", "maskedPaths"), [1], "/linux/maskedPaths/0"),
    (("linux", "resources"), {"memory": {"limit": "1m"}}, "/linux/resources/memory/limit"),
    (("linux", "resources"), {"memory": {"limit": 2**70}}, "beyond 64 bits"),
    (("linux", "resources"), {"cpu": {"cpus": "nonsense"}}, "/linux/resources/cpu/cpus"),
    (("linux", "resources"), {"devices": [{"allow": "yes", "access": "rwm"}]}, "/linux/resources/devices/0/allow"),
    (("linux", "resources"), {"devices": [{"allow": True, "access": "xyz"}]}, "/linux/resources/devices/0/access"),
    (("linux", "resources"), {"unified": {"memory.max": "1"}}, "/linux/resources/unified"),
    (("linux", "seccomp"), {"defaultAction": "SCMP_ACT_NONSENSE"}, "/linux/seccomp/defaultAction"),
    (("linux", "sysctl"), {"kernel.shmmax": 1}, "/linux/sysctl/kernel.shmmax"),
    (("linux", "netDevices"), {"no-such-device": {}}, "/linux/netDevices/no-such-device"),
]


def test_a_wrong_value(bundle: MakeBundle) -> None:
    box = bundle()
    right = copy.deepcopy(box.config)
    for path, value, words in WRONG:
        box.config = copy.deepcopy(right)
        set_(*path, value=value)(box.config)
        one_line(box.create(), 1, "create failed", words)
        assert not (box.place.root / box.id).exists()
    box.config = right
    box.run().ok()


def test_what_is_unknown_is_ignored(bundle: MakeBundle) -> None:
    """spec.md: unknown properties must be no error."""
    box = bundle()
    box.config["newInVersion7"] = {"x": [1]}
    box.config["process"]["newInVersion7"] = True
    box.config["linux"]["resources"]["newInVersion7"] = {}
    box.run().ok()


def test_a_rootfs_behind_a_link(bundle: MakeBundle) -> None:
    box = bundle()
    (box.path / "link").symlink_to("rootfs")
    box.config["root"]["path"] = "link"
    one_line(box.create(), 1, "rootfs", "/root/path")


# ---- names ----


def test_a_name_that_is_none(bundle: MakeBundle) -> None:
    box = bundle()
    for name in ("", ".", "..", "a/b", "a b", "ä", "@x", "x" * 256, "a\nb"):
        for command, *flags in COMMANDS:
            one_line(box.call(command, "--bundle", box.path, *flags, "--", name), 1, "invalid container ID format")
    assert not box.place.root.exists() or {path.name for path in box.place.root.iterdir()} <= {"@why"}


def test_names_that_are_some(bundle: MakeBundle) -> None:
    box = bundle()
    for name in ("a", "-", "A.b-c_d+e", "1", "..a", "x" * 255):
        box.place.call("run", "--bundle", box.path, "--", name).ok()


# ---- commands, flags ----


COMMAND_LINES: list[tuple[tuple[str, ...], str]] = [
    (("nonsense",), "nonsense"),
    (("create", "--nonsense", "x"), "nonsense"),
    (("create", "--preserve-fds", "x", "x"), "preserve-fds"),
    (("create", "--preserve-fds", "-1", "x"), "preserve-fds"),
    (("create",), "requires"),
    (("create", "x", "y"), "requires"),
    (("create", "--bundle"), "bundle"),
    (("start",), "requires"),
    (("state", "x", "y"), "requires"),
    (("kill",), "requires"),
    (("update", "x", "--memory", "nonsense"), "nonsense"),
]


def test_a_wrong_command_line(workplace: Workplace) -> None:
    for argv, words in COMMAND_LINES:
        got = workplace.call(*argv)
        assert got.returncode == 1
        assert got.stderr.count("\n") == 1 and words in got.stderr
    assert not workplace.root.exists() or {path.name for path in workplace.root.iterdir()} <= {"@why"}


def test_exec_s_command_line(workplace: Workplace) -> None:
    """A wrong command line of exec is 1 or 255 as in runc, and never a process's status."""
    for argv in (
        ("exec", "x"),
        ("exec",),
        ("exec", "--nonsense", "x", "true"),
        ("exec", "--env", "nonsense", "x", "true"),
    ):
        got = workplace.call(*argv)
        assert got.returncode in (1, 255) and got.stderr.count("\n") == 1


# ---- the log ----


def test_json_log_of_an_error(bundle: MakeBundle) -> None:
    """As engines read it: one object, that says which step failed, and where in the config it stands."""
    box = bundle()
    box.config["mounts"].append({"destination": "/mnt", "source": "/no/such/source", "options": ["bind"]})
    log = box.path / "log.json"
    got = box.create(flags=("--log", log, "--log-format", "json"))
    assert got.returncode == 1
    assert "mount source /no/such/source does not exist" in box.errors()
    record = json.loads(log.read_text())
    assert record["level"] == "error"
    assert "mount source /no/such/source does not exist" in record["msg"]
    assert (record["step"], record["pointer"], record["errno"]) == ("mount", "/mounts/7/source", 2)
    assert record["time"].endswith("Z")


def test_a_log_that_cannot_be_written(bundle: MakeBundle) -> None:
    box = bundle()
    got = box.create(flags=("--log", "/nowhere/log"))
    assert got.returncode == 1 and "/nowhere/log" in box.errors()


def test_a_state_root_that_cannot_be(bundle: MakeBundle) -> None:
    box = bundle()
    box.save()
    for root in ("/dev/null/x", str(box.path / "config.json")):
        got = box.place.call("create", "--bundle", box.path, box.id, flags=("--root", root))
        assert got.returncode == 1 and root in got.stderr and got.stderr.count("\n") == 1
    assert Path("/dev/null").is_char_device()
    got = box.place.call("create", "--bundle", box.path, box.id, flags=("--root", "/"))
    assert got.returncode == 1


def test_a_hostname_without_its_namespace(bundle: MakeBundle) -> None:
    box = bundle()
    set_namespaces(box, "mount")
    box.config["hostname"] = "x"
    # runc's words.
    one_line(box.create(), 1, "unable to set hostname without a private UTS namespace", "/hostname")
