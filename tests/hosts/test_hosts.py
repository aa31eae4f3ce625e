"""On a new Debian, whichever: the README's commands, the unit tests, containers, and the package's whole life.

The tests of a host build on each other, as a user's steps do; they run in this order.
"""

import json
import os

import pytest

from tests.support import TOP

from .host import CGROUP, FULL, PATIENCE, Host

TREE = "/root/pyrunc"
#: Releases whose Python can be made an image of.
IMAGES = ("bookworm", "trixie")
#: What `make test` wrote there.
RESULTS = TOP / "build/hosts"
#: The short form of tests/lifecycle: each command once or twice, mounts, namespaces and the process.
SHORT = "commands/test_create_start.py commands/test_run.py commands/test_kill_delete.py properties/test_bad_configs.py"
LONG = f"{SHORT} commands/test_exec.py properties/test_mounts.py properties/test_process.py"
#: Where nothing of a package may be left.
PLACES = "/usr /etc /var/lib/dpkg/info /var/lib/pyrunc /run/pyrunc /opt"


def test_make_demo(host: Host) -> None:
    """The first of the README's two commands: nothing but packages comes outside the folder."""
    said = host.ok("make demo", folder=TREE)
    assert "installing by apt: " in said
    assert said.splitlines()[-2].split() == ["PID", "USER", "COMMAND"]
    assert said.splitlines()[-1].split() == ["1", "0", "ps"]
    assert "warning" not in said
    places = "/usr/local /root /run /etc /opt /srv -name '*pyrunc*' -not -path '/root/pyrunc*'"
    # Caches are kept from run to run, with what other tests have built.
    assert host.ok(f"find {places} -not -path '/root/.cache/*' -not -path '/root/go/*'") == ""
    assert "python: " in host.ok("build/pyrunc --version", folder=TREE)


def test_it_starts_from_an_image(host: Host) -> None:
    """Short commands and those that enter a container; where there is none for that Python, nothing is left of one."""
    code = 'from pathlib import Path; from tools import image; program = Path("build/pyrunc").resolve(); '
    code += 'print(image.is_mapped(program.with_name("image"), program, Path("/tmp")))'
    if host.suite in IMAGES:
        assert host.ok(f"python3 -c '{code}'", folder=TREE) == "True\n"
    else:
        assert host.ok("ls build | grep -e image -e maker || true", folder=TREE) == ""


def test_nothing_is_left_to_do(host: Host) -> None:
    assert host.ok("make", folder=TREE) == ""


def test_make_check(host: Host) -> None:
    """Linters, types and unit tests by that Python; in short those of the C and of what the interpreter reads."""
    host.ok("tools/packages.sh tools", folder=TREE)
    few = "make unit PYTEST_ARGS='-k \"test_linux or test_finish or test_json or test_freeze or test_library\"'"
    said = host.ok("make check" if host.suite in FULL else few, folder=TREE)
    assert " passed" in said and " failed" not in said


def test_containers(host: Host) -> None:
    wanted = " ".join(f"tests/lifecycle/{name}" for name in (LONG if host.suite in FULL else SHORT).split())
    said = host.ok(f".venv/bin/python -m pytest -q {wanted}", folder=TREE)
    assert " passed" in said and " failed" not in said


def start_box(host: Host, name: str = "box") -> None:
    """A container of that name, in the background, by the pyrunc that is installed."""
    # Another container may be running the program that is there: it keeps its own.
    host.ok("mkdir -p /root/box/rootfs/bin && cp --remove-destination /bin/busybox /root/box/rootfs/bin/")
    config = json.loads(host.ok("cd /root/box && rm -f config.json && pyrunc spec && cat config.json"))
    config["process"] |= {"terminal": False, "args": ["/bin/busybox", "sleep", "1000"]}
    config["linux"]["cgroupsPath"] = f"{CGROUP}/{name}"
    host.ok(f"cat >/root/box/config.json <<'END'\n{json.dumps(config)}\nEND\n")
    host.ok(f"cd /root/box && pyrunc run -d {name} </dev/null >/dev/null 2>&1")
    assert json.loads(host.ok(f"pyrunc state {name}"))["status"] == "running"


def made(host: Host, version: str) -> str:
    """make deb, of that version, by somebody who has a name; the package's file."""
    host.ok(f"sed -i 's/^VERSION = .*/VERSION = \"{version}\"/' pyrunc/cli/version.py", folder=TREE)
    host.ok(f"sed -i 's/^## 0[^,]*/## {version}/' CHANGELOG.md", folder=TREE)
    said = host.ok("DEBFULLNAME='A Builder' DEBEMAIL=builder@example.org make deb", folder=TREE)
    return f"{TREE}/{said.splitlines()[-1]}"


def test_the_life_of_the_package(host: Host) -> None:
    """Built, installed, upgraded over a container that runs, removed, purged; each time what should be there is."""
    first = made(host, "0.0.1")
    if host.suite in FULL:
        host.ok("apt-get -qq install -y --no-install-recommends lintian zsh fish >/dev/null")
        assert "E: " not in host.ok(f"lintian --fail-on error,warning {first}")
    assert host.ok(f"dpkg-deb -f {first} Maintainer") == "A Builder <builder@example.org>\n"
    assert "no control component 'conffiles'" in host.ok(f"dpkg-deb --info {first} conffiles || true")
    before = host.ok(f"find {PLACES} -xdev -path '*pyrunc*' 2>/dev/null || true")
    host.ok(f"apt-get -qq install -y --no-install-recommends {first}")
    assert "pyrunc version 0.0.1" in host.ok("pyrunc --version")
    for name in ("man1/pyrunc.1.gz", "man1/pyrunc-run.1.gz"):
        host.ok(f"test -f /usr/share/man/{name} || grep -q path-exclude=/usr/share/man /etc/dpkg/dpkg.cfg.d/*")
    host.ok("bash -n /usr/share/bash-completion/completions/pyrunc")
    if host.suite in FULL:
        host.ok("zsh -n /usr/share/zsh/vendor-completions/_pyrunc")
        host.ok("fish -n /usr/share/fish/vendor_completions.d/pyrunc.fish")
    assert host.ok("cd / && python3 -c 'import pyrunc; print(pyrunc.Runtime().program)'") == "/usr/bin/pyrunc\n"
    image = "cd /usr/libexec/pyrunc && if [ -e maker ]; then ls image; else echo image; fi"
    assert host.ok(image) == "image\n"
    start_box(host)
    start_box(host, "other")

    second = made(host, "0.0.2")
    host.ok(f"apt-get -qq install -y --no-install-recommends {second}")
    assert "pyrunc version 0.0.2" in host.ok("pyrunc --version")
    assert host.ok("pyrunc exec box /bin/busybox echo entered") == "entered\n"
    host.ok("pyrunc kill other KILL; sleep 1; pyrunc delete other")
    assert host.ok(image) == "image\n"
    triggered(host)
    assert host.ok(image) == "image\n"
    host.ok("apt-get -qq remove -y pyrunc")
    assert host.run("pyrunc --version").returncode == 127
    assert "box" in host.ok("ls /run/pyrunc")  # its state is not the package's

    host.ok(f"apt-get -qq install -y --no-install-recommends {second}")
    host.ok("pyrunc kill box KILL; sleep 1; pyrunc delete box")
    host.ok("apt-get -qq purge -y pyrunc")
    assert host.ok(f"find {PLACES} -xdev -path '*pyrunc*' 2>/dev/null || true") == before
    assert host.ok("dpkg -l pyrunc 2>/dev/null | grep -c ^.i || true") == "0\n"


def triggered(host: Host) -> None:
    """Another libpython, as dpkg sees it: the same one again."""
    package = host.ok("dpkg-query -W -f '${Depends}' pyrunc | grep -o 'libpython3[.0-9a-z]*' | head -1").strip()
    host.ok("rm -rf /usr/lib/python3/dist-packages/pyrunc/__pycache__")
    said = host.ok(f"apt-get install -y --no-install-recommends --reinstall {package}")
    assert "Processing triggers for pyrunc" in said
    assert "__init__" in host.ok("ls /usr/lib/python3/dist-packages/pyrunc/__pycache__")


def test_without_its_libpython(host: Host) -> None:
    """Upgraded away under an installed launcher: one line, what to do, and what runs can be deleted after that."""
    host.ok("make install", folder=TREE)
    start_box(host)
    library = host.ok("ldd /usr/local/libexec/pyrunc/stage2 | sed -n 's/.*=> \\(.*libpython[^ ]*\\).*/\\1/p'").strip()
    host.ok(f"mv {library} {library}.away")
    done = host.run("pyrunc state box")
    host.ok(f"mv {library}.away {library}")
    assert done.returncode == 1
    assert done.stdout.count("\n") == 1
    assert library in done.stdout and "install pyrunc again" in done.stdout
    host.ok("pyrunc delete --force box")
    host.ok("make uninstall", folder=TREE)
    assert host.ok("find /usr/local /run -name '*pyrunc*'") == ""


@pytest.mark.parametrize(
    ("away", "line"),
    [
        ("/usr/include/python3.*/Python.h", "no headers of Python 3."),
        ("/usr/bin/cc", "no C compiler, cc: apt-get install gcc"),
        ("/usr/include/stdio.h", "no headers of the C library: apt-get install libc6-dev"),
        ("/usr/include/linux/openat2.h", "apt-get install linux-libc-dev"),
        ("/usr/lib/*/libpython3.*.so.1.0", "no shared library of Python 3."),
    ],
)
def test_what_is_missing_is_one_line(host: Host, away: str, line: str) -> None:
    back = "status=$?; mv $file.away $file; exit $status"
    done = host.run(f"file=$(ls {away}) && mv $file $file.away && rm -f build/host; make; {back}", folder=TREE)
    assert done.returncode == 2
    lines = [text for text in done.stdout.splitlines() if not text.startswith("make")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("pyrunc cannot be built: ") and line in lines[0]


LIBRARY = """
import pyrunc
assert pyrunc.validate_bundle("/root/box").valid
assert len(pyrunc.plan_bundle("/root/box").steps) > 20
try:
    print(pyrunc.Runtime().program)
except pyrunc.PyruncError as error:
    print(error.line())
"""


def test_pip_install(host: Host) -> None:
    """The library alone, into a virtual environment; and from the sdist by way of a wheel."""
    pip = "/root/library/bin/pip"
    host.ok("apt-get -qq install -y --no-install-recommends python3-venv >/dev/null")
    host.ok(f"python3 -m venv /root/library && {pip} install -q .", folder=TREE)
    host.ok(f"cat >/root/library.py <<'END'\n{LIBRARY}END\n")
    said = host.ok("/root/library/bin/python /root/library.py")
    assert said.count("\n") == 1 and "no launcher is installed" in said and "make install" in said
    assert host.ok("git status --porcelain 2>/dev/null || true", folder=TREE).count("\n") <= 2
    if host.suite in FULL:
        sdist = "import setuptools.build_meta as backend; backend.build_sdist('/root/dist')"
        host.ok(f"{pip} uninstall -q -y pyrunc && {pip} install -q setuptools && mkdir /root/dist")
        host.ok(f'/root/library/bin/python -c "{sdist}"', folder=TREE)
        host.ok(
            f"{pip} wheel -q --no-deps -w /root/dist /root/dist/pyrunc-*.tar.gz && {pip} install -q /root/dist/*.whl"
        )
        assert "no launcher is installed" in host.ok("/root/library/bin/python /root/library.py")


if os.environ.get("PYRUNC_HOSTS") == "all":

    def test_make_test(host: Host) -> None:
        """The second of the README's commands, on Debian 13. A tree has no engines, machines and other trees."""
        if host.suite == "trixie":
            done = host.run("make test WITHOUT='engines hosts vm'", folder=TREE, patience=2 * PATIENCE)
            RESULTS.mkdir(parents=True, exist_ok=True)
            (RESULTS / f"{host.suite}.txt").write_text(done.stdout)
            assert done.returncode == 0, done.stdout[-6000:]
