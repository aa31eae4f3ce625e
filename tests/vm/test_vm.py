"""The tests of cgroup v2, systemd and rootless containers, which a virtual machine runs; here one test stands for each.

All that was selected goes to one machine, in one boot; what needs another kernel or other cgroups, SELinux and the
hybrid of cgroup v1 and v2, to another boot each. `make test-vm` runs this file alone.
"""

import ast
import os
import platform
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conformance import records, suite
from tests.hosts.host import Host, impossible
from tests.support import TOP

from . import image, machine

#: Seconds for the whole job; emulated, on a busy machine.
PATIENCE = float(os.environ.get("PYRUNC_VM_PATIENCE", "1800"))

#: Tests of other rooms, which hold on cgroup v2 and in a machine with all capabilities as well.
OTHERS = {
    "lifecycle/properties/test_cgroup_left.py": (
        "test_exec_and_ps_follow_the_process",
        "test_ps_of_a_process_at_the_root_is_an_error",
        "test_without_a_cgroup_and_a_pid_namespace",
    ),
    "lifecycle/commands/test_concurrency.py": (
        "test_two_creates_in_one_cgroup",
        "test_a_cgroup_that_has_gone_to_another_container",
        "test_the_lock_of_a_cgroup_is_let_go",
    ),
    "lifecycle/commands/test_create_start.py": (
        "test_from_create_to_delete",
        "test_start_returns_when_the_program_runs",
    ),
    "lifecycle/commands/test_exec.py": ("test_it_is_in_the_container_s_everything",),
    "lifecycle/commands/test_run.py": ("test_what_it_leaves_running_goes_with_it",),
    "security/test_exec_attack.py": (
        "test_exec",
        "test_exec_has_dropped_its_privileges",
        "test_create_has_dropped_its_privileges",
        "test_the_helper_that_opens_its_procfs",
    ),
    "security/test_mount_flags.py": ("test_sys_stays_read_only",),
    "security/test_privileges.py": ("test_devices_are_refused_unless_allowed",),
}

#: What runs beside the rest, on the machine's second processor: about half of the time that all take.
BESIDE = (
    *("test_checkpoint.py", "test_checkpoint_options.py", "test_engines.py", "test_apparmor.py", "test_beside.py"),
    "test_conformance.py",
)
#: What runs when all others are done.
LAST = ("test_after_all.py",)
PARTS = ("one", "two", "last")


class Boot(NamedTuple):
    """A machine: its disk, more words for the kernel, and the files of guest/ that are for it."""

    disk: image.Image
    words: str
    files: tuple[str, ...]


#: All other files are for "main".
BOOTS = {
    "main": Boot(image.MAIN, machine.UNIFIED, ()),
    "selinux": Boot(image.SELINUX, f"{machine.UNIFIED} security=selinux selinux=1 enforcing=0", ("test_selinux.py",)),
    "hybrid": Boot(image.MAIN, machine.HYBRID, ("test_hybrid.py",)),
}

#: What of this environment the guest's tests see, and what they see else.
WORDS = {"PYRUNC_MANY": "30", "PYRUNC_PEERS": "recorded"}

JOB = """\
cp -a /job/root/. /
cp -a /job/project /project
mkdir -p /results
# Debian 13's is a tmpfs without device nodes.
umount -l /tmp 2>/dev/null
# Nodes that udev would have made for everybody.
chmod 666 /dev/fuse /dev/net/tun 2>/dev/null
systemctl start user@1000.service
systemctl is-system-running --wait >/results/system
cd /project
export PYRUNC=/usr/local/bin/pyrunc PYRUNC_VM=1 PYTHONDONTWRITEBYTECODE=1 PYRUNC_MANY=%s PYRUNC_PEERS=%s
part() {
    [ ! -s "/job/$1" ] || xargs -d '\\n' timeout -s INT -k 20 %d python3 -m pytest -p no:cacheprovider -v --tb=short \\
        --color=no --durations=15 --junitxml="/results/$1.xml" <"/job/$1"
}
part one & part two; wait; part last
tar -C /results -cf - . | dd of=/dev/disk-3 bs=64k conv=fsync status=none
"""


def _functions(file: Path) -> list[str]:
    return [node.name for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]  # fmt: skip


def _file(name: str) -> str:
    return name.rpartition("/")[2].partition("::")[0]


def _part(name: str) -> str:
    return "last" if _file(name) in LAST else "two" if _file(name) in BESIDE else "one"


def _boot(name: str) -> str:
    return next((title for title, boot in BOOTS.items() if _file(name) in boot.files), "main")


def _names() -> list[str]:
    """FILE::FUNCTION below tests/. Those with parameters are one here."""
    here = Path(__file__).parent
    found = [
        f"vm/guest/{file.name}::{name}" for file in sorted(here.glob("guest/test_*.py")) for name in _functions(file)
    ]
    return found + [f"{file}::{name}" for file, names in OTHERS.items() for name in names]


class Results:
    """What the machine's pytest said of each test: outcome and text of every failed or skipped case."""

    def __init__(self, folder: Path) -> None:
        self.cases: dict[str, list[tuple[str, str]]] = {}
        for case in [case for file in folder.glob("*.xml") for case in ElementTree.parse(file).iter("testcase")]:
            module = case.get("classname", "").removeprefix("tests.").replace(".", "/") + ".py"
            name, _, parameters = case.get("name", "").partition("[")
            outcome, text = "passed", ""
            for kind in ("failure", "error", "skipped"):
                for found in case.iter(kind):
                    outcome = "skipped" if kind == "skipped" else "failed"
                    text += f"[{parameters}\n" if parameters else ""
                    text += f"{found.get('message', '')}\n{found.text or ''}"
            self.cases.setdefault(f"{module}::{name}", []).append((outcome, text))


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the machines have in common: pyrunc as `make install` installs it, and the tests."""
    if os.geteuid() != 0:
        pytest.skip("no root: the machine's disk is made by root")
    if why := machine.missing():
        pytest.skip(why + ": no virtual machine")
    folder = tmp_path_factory.mktemp("job")
    _install(folder / "root", tmp_path_factory.mktemp("hosts"))
    for name in ("tests", "bundles"):
        shutil.copytree(TOP / name, folder / "project" / name, ignore=shutil.ignore_patterns("__pycache__", "rootfs"))
    shutil.copy(TOP / "setup.cfg", folder / "project")
    return folder


def _install(goal: Path, place: Path) -> None:
    """What `make install` installs on the machines' release of Debian: built here, or in a tree of that release."""
    if platform.freedesktop_os_release().get("VERSION_CODENAME") == image.RELEASE.suite:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYRUNC"))}
        argv = ["make", "-s", "install", f"DESTDIR={goal}"]
        done = subprocess.run(argv, cwd=TOP, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    if why := impossible():
        pytest.skip(why)
    host = Host(image.RELEASE.suite, place)
    try:
        host.put_sources("/root/pyrunc")
        host.ok("make -s install DESTDIR=/root/installed", folder="/root/pyrunc")
        host.get("/root/installed", goal)
    finally:
        host.close()


class Machines:
    """Boots each machine once, when the first of its tests is asked for, on all of them that were selected."""

    def __init__(self, job: Path, names: list[str], folder: Path) -> None:
        self.job = job
        self.names = names
        self.folder = folder
        #: Results by machine, or why there are none.
        self.found: dict[str, Results | BaseException] = {}

    def results(self, title: str) -> Results:
        """What a machine's tests said. Skips or fails as often as it is asked when the machine cannot be had."""
        if title not in self.found:
            try:
                self.found[title] = self._boot(title)
            except BaseException as error:
                self.found[title] = error
        found = self.found[title]
        if isinstance(found, BaseException):
            raise found
        return found

    def _boot(self, title: str) -> Results:
        wanted = [name for name in self.names if _boot(name) == title]
        for part in PARTS:
            (self.job / part).write_text("".join(f"tests/{name}\n" for name in wanted if _part(name) == part))
        (self.job / "start").write_text(
            JOB % (*(os.environ.get(name, default) for name, default in WORDS.items()), PATIENCE - 120)
        )
        shutil.rmtree(self.job / "suite", ignore_errors=True)
        if any(_file(name) == "test_conformance.py" for name in wanted):
            _suite(self.job / "suite")
        boot = BOOTS[title]
        whose = "vm" if image.RELEASE.suite == "bookworm" else f"vm-{image.RELEASE.suite}"
        keep = TOP / "build" / whose / ("" if title == "main" else title)
        shutil.rmtree(keep, ignore_errors=True)
        disk = _disk(boot.disk)
        for attempt in (1, 2):
            left = self.folder / f"{title}{attempt}"
            left.mkdir()
            try:
                keep.mkdir(parents=True, exist_ok=True)
                console = machine.boot(disk, self.job, left, PATIENCE, boot.words, console=keep / f"console{attempt}")
                if not list(left.glob("*.xml")):
                    raise machine.Failure("no results", console)
                shutil.copytree(left, keep, dirs_exist_ok=True)
                break
            except machine.Failure as failure:
                # Once more when the machine itself fails.
                if attempt == 2:
                    pytest.fail(f"the virtual machine failed twice: {failure}", pytrace=False)
        return Results(left)


@pytest.fixture(scope="session")
def machines(request: pytest.FixtureRequest, job: Path, tmp_path_factory: pytest.TempPathFactory) -> Machines:
    """The machines, for what was selected."""
    names = [str(item.callspec.params["name"]) for item in request.session.items
             if isinstance(item, pytest.Function) and item.path == Path(__file__)]  # fmt: skip
    return Machines(job, names, tmp_path_factory.mktemp("vm"))


def _disk(wanted: image.Image) -> Path:
    try:
        return image.make(wanted)
    except subprocess.CalledProcessError as error:
        if not wanted.selinux:
            raise
        # The policy's packages are the one thing that only this disk needs.
        pytest.skip(f"no disk with SELinux: {error}: {(error.stderr or '').strip()[-300:]}")


def _suite(folder: Path) -> None:
    """What runtime-tools' programs need, without those that are not run on cgroup v2. Nothing if it cannot be had."""
    try:
        built = suite.build()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"runtime-tools' suite: {error}")
        return
    names = records.names_v2(quick=os.environ.get("PYRUNC_PEERS") != "live")
    (folder / "validation").mkdir(parents=True)
    for name in ("runtimetest", "rootfs-amd64.tar.gz", *(f"validation/{name}" for name in names)):
        shutil.copy(built / name, folder / name)


@pytest.mark.parametrize("name", _names())
def test_in_the_machine(name: str, machines: Machines) -> None:
    if _boot(name) == "hybrid" and image.RELEASE.suite != "bookworm":
        pytest.skip("kernels after Debian 12's have no memory and cpuset controllers of cgroup v1")
    results = machines.results(_boot(name))
    cases = results.cases.get(name)
    if not cases:
        pytest.fail("the machine's pytest did not come to it (see build/vm/console1)", pytrace=False)
    failed = [text for outcome, text in cases if outcome == "failed"]
    if failed:
        pytest.fail("\n".join(failed), pytrace=False)
    if all(outcome == "skipped" for outcome, _ in cases):
        pytest.skip("\n".join(text for _, text in cases))
