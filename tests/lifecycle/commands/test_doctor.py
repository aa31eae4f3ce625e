"""`doctor`: each condition is made true in namespaces of the test's own, and found from outside."""

import gzip
import json
import os
import pty
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.doctors import USER, Doctor, as_user, problems, the
from tests.support.terminals import read_all
from tests.support.workplace import Workplace, one_line

# ---- what it says and how ----


def test_a_host_that_is_as_it_should_be(doctor: Doctor) -> None:
    """No problem where the other tests make containers; and nothing is made by looking."""
    found = doctor.findings()
    assert problems(found) == set()
    assert {one["level"] for one in found} <= {"ok", "note"}
    for subject in ("kernel", "cgroups", "seccomp", "libseccomp", "namespaces", "caller", "state root", "pyrunc"):
        assert the(found, subject)["level"] == "ok"
    assert os.uname().release in the(found, "kernel")["found"]
    assert not doctor.place.root.exists()


def test_the_table(doctor: Doctor) -> None:
    good = doctor()
    assert (
        good.returncode == 0 and "\x1b" not in good.stdout and good.stdout.splitlines()[-1].startswith("0 problems, ")
    )
    bad = doctor("mount -t tmpfs none /sys/fs/cgroup")
    assert bad.returncode == 1
    lines = bad.stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if line.split()[:2] == ["problem", "cgroups"])
    assert lines[at + 1].strip() == "-> mount -t cgroup2 none /sys/fs/cgroup"
    assert lines[-1].startswith("1 problem, ")


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)], ids=str
)
def test_colours(environment: dict[str, str], coloured: bool, workplace: Workplace) -> None:
    """On a terminal alone, and not against the user's word."""
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "xterm", **environment}
    env.pop("NO_COLOR", None) if "NO_COLOR" not in environment else None
    with workplace.spawn("doctor", stdout=slave, env=env) as call:
        os.close(slave)
        data = read_all(master)
        assert call.wait() == 0
    os.close(master)
    assert (b"\x1b[32mok" in data) == coloured and (b"\x1b" in data) == coloured


def test_words_that_are_wrong(workplace: Workplace) -> None:
    one_line(workplace.call("doctor", "/no/such/bundle"), 1, "bundle /no/such/bundle: no such file or directory")
    one_line(workplace.call("doctor", "--bundle", "a", "b"), 1, "two bundles")


# ---- the host ----


def test_no_cgroups(doctor: Doctor) -> None:
    one = the(doctor.findings("mount -t tmpfs none /sys/fs/cgroup"), "cgroups")
    assert (one["level"], one["found"]) == ("problem", "no hierarchy is mounted")


@pytest.mark.usefixtures("public_place")
def test_a_cgroup_that_cannot_be_written_to(doctor: Doctor) -> None:
    """As an ordinary user: without limits there are containers all the same."""
    one = the(doctor.findings(wrap=as_user()), "delegation")
    assert one["level"] == "note" and "no cgroup can be made in" in one["found"] and one["remedy"]


def test_programs_in_memory(doctor: Doctor) -> None:
    """vm.memfd_noexec belongs to a pid namespace, so ours stays as it is."""
    if not Path("/proc/sys/vm/memfd_noexec").exists():
        pytest.skip("no sysctl vm.memfd_noexec in this kernel")
    found = doctor.findings("echo 2 > /proc/sys/vm/memfd_noexec", unshare=["--pid", "--fork", "--mount-proc"])
    one = the(found, "vm.memfd_noexec")
    assert (one["level"], one["remedy"]) == ("problem", "sysctl vm.memfd_noexec=1")


@pytest.mark.parametrize(("kind", "level"), [("net", "problem"), ("time", "note"), ("user", "note")])
def test_a_sysctl_that_forbids_namespaces(kind: str, level: str, doctor: Doctor) -> None:
    """user.max_*_namespaces belongs to a user namespace."""
    line = f"echo 0 > /proc/sys/user/max_{kind}_namespaces"
    found = doctor.findings(line, unshare=["--user", "--map-root-user"])
    subject = {"net": "network"}.get(kind, kind) + " namespaces"
    one = the(found, subject)
    assert (one["level"], one["found"]) == (level, f"user.max_{kind}_namespaces is 0")
    assert one["remedy"] == f"sysctl user.max_{kind}_namespaces=10000"


@pytest.mark.usefixtures("public_place")
def test_no_user_namespaces_for_an_ordinary_user(doctor: Doctor) -> None:
    """Without them there is none for such a user."""
    file = doctor.place.path / "max"
    file.write_text("0\n")
    line = f"mount --bind {file} /proc/sys/user/max_user_namespaces"
    one = the(doctor.findings(line, wrap=as_user()), "user namespaces")
    assert one["level"] == "problem" and "max_user_namespaces is 0" in one["found"]


def test_a_capability_that_is_not_there(doctor: Doctor) -> None:
    wrap = "setpriv --bounding-set=-sys_admin,-syslog --inh-caps=-sys_admin,-syslog"
    found = doctor.findings(wrap=wrap)
    assert the(found, "capabilities", "CAP_SYS_ADMIN")["level"] == "problem"
    assert the(found, "capabilities", "CAP_SYSLOG")["level"] == "note"
    # And so nothing can be made.
    assert the(found, "mount namespaces")["level"] == "problem"
    assert "not tried" in the(found, "id-mapped mounts")["found"]


def test_a_limit_that_is_too_low(doctor: Doctor) -> None:
    one = the(doctor.findings("ulimit -n 100"), "rlimits")
    assert one["level"] == "problem" and "RLIMIT_NOFILE is 100" in one["found"]


@pytest.mark.parametrize(
    ("options", "level", "words"),
    [
        ("noexec", "ok", "noexec, which does no harm"),
        ("size=64k", "problem", "is full: "),
        ("nr_inodes=4", "problem", "files are left"),
        ("ro", "problem", "is mounted read-only"),
        ("uid=1234", "problem", "belongs to user 1234"),
        ("mode=777", "note", "can be written to by others"),
    ],
)
def test_the_state_root(options: str, level: str, words: str, doctor: Doctor) -> None:
    doctor.place.root.mkdir(mode=0o700)
    options = options if "mode" in options else options + ",mode=700"
    one = the(doctor.findings(f"mount -t tmpfs -o {options} none {doctor.place.root}"), "state root", words)
    assert one["level"] == level


def test_a_state_root_that_is_a_file(doctor: Doctor) -> None:
    file = doctor.place.path / "file"
    file.write_text("")
    assert the(doctor.findings(root=file), "state root")["level"] == "problem"
    assert the(doctor.findings(root=file / "below"), "state root")["level"] == "problem"


def test_id_mapped_mounts_of_a_file_system(doctor: Doctor) -> None:
    """Of the bundle's, tried: procfs has none, a tmpfs has them since Linux 6.3."""
    (doctor.place.path / "fs").mkdir()
    folder = doctor.place.path / "fs"
    for kind in ("proc", "tmpfs"):
        done = doctor(f"mount -t {kind} none {folder}", "--json", folder)
        found = json.loads(done.stdout)["findings"]
        one = the(found, "id-mapped mounts")
        assert one["level"] == ("note" if kind == "proc" else "ok" if kernel() >= (6, 3) else "note")
        assert str(folder) in one["found"]
    assert not (folder / "self").exists()


def kernel() -> tuple[int, ...]:
    return tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])


@pytest.mark.parametrize(
    ("config", "level", "words"),
    [
        ("CONFIG_NAMESPACES=y\n# CONFIG_PID_NS is not set\n", "problem", "CONFIG_PID_NS"),
        ("ALL", "note", "CONFIG_TIME_NS is not set: no time namespaces"),
        ("", "note", "can be read"),
    ],
    ids=["needed", "wanted", "none"],
)
def test_the_kernel_s_configuration(config: str, level: str, words: str, doctor: Doctor) -> None:
    if not Path("/proc/config.gz").exists():
        pytest.skip("no /proc/config.gz to put another over")
    if config == "ALL":
        from pyrunc.doctor import kernel as checks

        names = [*checks._NEEDED, *checks._WANTED]
        config = "".join([f"CONFIG_{name}=y\n" for name in names if name != "TIME_NS"])
    file = doctor.place.path / "config.gz"
    file.write_bytes(gzip.compress(config.encode()))
    line = f"mount --bind {file} /proc/config.gz; test ! -d /boot || mount -t tmpfs none /boot"
    assert the(doctor.findings(line), "kernel config", words)["level"] == level


def test_systemd_and_its_bus(doctor: Doctor) -> None:
    """A host where it runs, by the folder that sd_booted(3) looks at; and nobody at the bus."""
    found = doctor.findings("mount -t tmpfs none /run; mkdir -p /run/systemd/system")
    assert the(found, "systemd")["level"] == "ok"
    one = the(found, "D-Bus")
    assert one["level"] == "note" and "/run/dbus/system_bus_socket: no such file or directory" in one["found"]
    assert the(doctor.findings("mount -t tmpfs none /run"), "systemd")["level"] == "note"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{ head -c -8 IMAGE > COPY; }", "it is not whole"),
        ("{ cp IMAGE COPY; chmod 666 COPY; }", "nobody else can write"),
        (":", "another stage two"),
    ],
    ids=["cut", "writable", "stage two"],
)
def test_the_image(line: str, words: str, doctor: Doctor, tmp_path: Path) -> None:
    image = doctor.place.runtime.with_name("image")
    if not image.exists():
        pytest.skip("no image: no static libpython here")
    assert the(doctor.findings(), "image")["level"] == "ok"
    copy = tmp_path / "copy"
    if "stage two" in words:
        shutil.copyfile(image.with_name("stage2"), copy)
        copy.chmod(0o755)
        image = image.with_name("stage2")
    line = line.replace("IMAGE", str(image)).replace("COPY", str(copy))
    one = the(doctor.findings(f"{line}; mount --bind {copy} {image}"), "image")
    assert one["level"] == "note" and words in one["found"] and one["remedy"]


# ---- an ordinary user ----


@pytest.mark.usefixtures("public_place")
@pytest.mark.parametrize(
    ("subuid", "level", "words"),
    [
        (f"{USER}:100000:65536", "ok", "/etc/subuid: 65536 from 100000"),
        (f"{USER}:100000:10", "note", "engines map 65536"),
        ("other:100000:65536", "note", f"grants nothing to {USER}"),
    ],
    ids=["granted", "few", "none"],
)
def test_ranges_of_ids(subuid: str, level: str, words: str, doctor: Doctor, tmp_path: Path) -> None:
    if not shutil.which("newuidmap"):
        pytest.skip("no uidmap")
    file = tmp_path / "subuid"
    file.write_text(subuid + "\n")
    line = f"mount --bind {file} /etc/subuid; mount --bind {file} /etc/subgid"
    found = [one for one in doctor.findings(line, wrap=as_user()) if one["subject"] == "id maps"]
    one = next(one for one in found if "/etc/subuid" in one["found"])
    assert one["level"] == level and words in one["found"]
    if level == "note":
        assert one["remedy"] == f"usermod --add-subuids 100000-165535 {USER}"


@pytest.mark.usefixtures("public_place")
def test_no_helpers_for_ids(doctor: Doctor) -> None:
    if not shutil.which("newuidmap"):
        pytest.skip("no uidmap")
    path = Path(shutil.which("newuidmap") or "").resolve()
    one = the(doctor.findings(f"mount --bind /dev/null {path}", wrap=as_user()), "id maps")
    assert one["level"] == "note" and one["found"].startswith("newuidmap: not installed")
    assert one["remedy"] == "apt-get install uidmap"


# ---- engines ----

#: A host with all engines, none of them real, and an /etc of the test's own.
ENGINES = """mount -t tmpfs none /usr/local/sbin
for name in dockerd podman buildah containerd crio; do printf '#!/bin/sh\\n' > /usr/local/sbin/$name; done
chmod 755 /usr/local/sbin/*; mkdir PLACE/up PLACE/work
mount -t tmpfs none PLACE/up; mkdir PLACE/up/upper PLACE/up/work
mount -t overlay -o lowerdir=/etc,upperdir=PLACE/up/upper,workdir=PLACE/up/work none /etc
rm -rf /etc/docker /etc/containers /etc/containerd /etc/crio
mkdir -p /etc/docker /etc/containers/containers.conf.d /etc/containerd /etc/crio/crio.conf.d
"""

FILES = {
    "docker": ("/etc/docker/daemon.json", '{"runtimes": {"mine": {"path": "PROGRAM"}}}'),
    "podman": ("/etc/containers/containers.conf", '[engine.runtimes]\npyrunc = ["/no/pyrunc", "PROGRAM"]'),
    "buildah": ("/etc/containers/containers.conf.d/x.conf", '[engine.runtimes]\npyrunc = ["PROGRAM"]'),
    "containerd": (
        "/etc/containerd/config.toml",
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.pyrunc.options]\n"
        "BinaryName = 'PROGRAM'",
    ),
    "CRI-O": ("/etc/crio/crio.conf.d/x.conf", "[crio.runtime.runtimes.x]\nruntime_path = 'PROGRAM'"),
}


def with_engines(doctor: Doctor, content: dict[str, str]) -> list[dict[str, Any]]:
    line = ENGINES.replace("PLACE", str(doctor.place.path))
    for path, text in content.items():
        source = doctor.place.path / path.replace("/", "-")
        source.write_text(text)
        line += f"cp {source} {path}\n"
    return doctor.findings(line.strip())


def test_engines_that_do_not_know_it(doctor: Doctor) -> None:
    found = with_engines(doctor, {})
    for engine, (file, _) in FILES.items():
        one = the(found, engine)
        assert (one["level"], one["found"]) == ("note", "does not know pyrunc")
        assert file.split("/")[2] in one["remedy"] and "pyrunc" in one["remedy"]


@pytest.mark.parametrize("engine", FILES)
def test_an_engine_that_knows_it(engine: str, doctor: Doctor) -> None:
    file, text = FILES[engine]
    program = str(doctor.place.runtime)
    one = the(with_engines(doctor, {file: text.replace("PROGRAM", program)}), engine)
    assert one["level"] == "ok" and file in one["found"] and program in one["found"]


def test_an_engine_that_knows_one_that_is_not_there(doctor: Doctor) -> None:
    file, text = FILES["docker"]
    one = the(with_engines(doctor, {file: text.replace("PROGRAM", "/no/such/pyrunc")}), "docker")
    assert one["level"] == "problem" and "/no/such/pyrunc" in one["found"]


def test_the_remedies_are_what_engines_read(doctor: Doctor) -> None:
    """The lines that are told, put into the file, are found there."""
    remedy = the(with_engines(doctor, {}), "docker")["remedy"]
    text = remedy[remedy.index("{") : remedy.rindex("}") + 1]
    path = json.loads(text)["runtimes"]["pyrunc"]["path"]
    assert path.endswith("/pyrunc")


def test_configurations_that_cannot_be_read(doctor: Doctor) -> None:
    found = with_engines(doctor, {file: "{ no" for file, _ in FILES.values()})
    for engine in FILES:
        one = the(found, engine)
        assert one["level"] == "note" and "cannot be read" in one["found"]


@pytest.mark.usefixtures("public_place")
@pytest.mark.parametrize(
    ("sysctl", "value", "words", "remedy"),
    [
        ("unprivileged_userns_clone", 0, "kernel.unprivileged_userns_clone is 0", "sysctl kernel.unprivileged_userns"),
        ("apparmor_restrict_unprivileged_userns", 1, "(kernel.apparmor_restrict", "an AppArmor profile for pyrunc"),
    ],
)
def test_sysctls_of_distributions(sysctl: str, value: int, words: str, remedy: str, doctor: Doctor) -> None:
    """Debian's and Ubuntu's, on a kernel that has none of them: where no user namespace can be made, they say why."""
    file = doctor.place.path / "max"
    file.write_text("0\n")
    line = f"mount --bind {file} /proc/sys/user/max_user_namespaces; mount -t tmpfs none /proc/sys/kernel"
    one = the(doctor.findings(f"{line}; echo {value} > /proc/sys/kernel/{sysctl}", wrap=as_user()), "user namespaces")
    assert one["level"] == "problem" and words in one["found"] and one["remedy"].startswith(remedy)


def test_no_criu(doctor: Doctor) -> None:
    path = shutil.which("criu", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if path is not None:
        assert path in the(doctor.findings(), "CRIU")["found"]
    one = the(doctor.findings(f"mount --bind /dev/null {path}" if path else ":"), "CRIU")
    assert one["level"] == "note" and one["remedy"] == "apt-get install criu"


def test_a_library_that_is_missing(doctor: Doctor) -> None:
    folder = Path("/usr/lib/python3/dist-packages/pyroute2")
    if not folder.exists():
        pytest.skip("pyroute2 lies elsewhere")
    one = the(
        doctor.findings(f"mount -t tmpfs none {folder}; mount -t tmpfs none {folder.parent}"), "libraries", "pyroute2"
    )
    assert one["level"] == "note" and one["remedy"] == "apt-get install python3-pyroute2"
