"""What an image holds and what it does not: rules about our modules, and tools/image.py."""

from __future__ import annotations

import ast
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support import TOP
from tools import arrange, freeze, image, warm

#: Who asks for what is not in the image, and why nothing was done before: each is asked for while a command is parsed,
#: or read and compiled; or in Step.foresee().
ASKED_FOR = {
    ("pyrunc/cgroups/v1/manager.py", "pyrunc.cgroups.v1.stats"): "asked by events, which is not in the image either",
    ("pyrunc/cgroups/v2/manager.py", "pyrunc.cgroups.v2.stats"): "as v1's",
    ("pyrunc/cli/delete.py", "pyrunc.cli.regex"): "before the first container is looked up",
    ("pyrunc/cli/kill.py", "pyrunc.cli.regex"): "before the first container is looked up",
    ("pyrunc/cli/main.py", "pyrunc.cli.help"): "instead of a command",
    ("pyrunc/cli/parse.py", "pyrunc.cli.duration"): "parsing",
    ("pyrunc/config/load.py", "pyrunc.linux.patient"): "before a pipe is opened, which can be read but once",
    ("pyrunc/config/schema.py", "pyrunc.config.explain"): "a config that is refused",
    ("pyrunc/plan/create_parts.py", "pyrunc.steps.network_devices"): "compiling the plan",
    ("pyrunc/steps/seccomp/libseccomp.py", "pyrunc.steps.seccomp.extension"): "foreseen",
    ("pyrunc/steps/seccomp/step.py", "pyrunc.steps.seccomp.extension"): "foresee()",
}


def imports(path: Path) -> set[str]:
    """All that a module imports anywhere, but for mypy's sake."""
    found: set[str] = set()

    class Imports(ast.NodeVisitor):
        def visit_If(self, node: ast.If) -> None:
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                self.generic_visit(node)

        def visit_Import(self, node: ast.Import) -> None:
            found.update([alias.name for alias in node.names])

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            module = str(node.module)
            found.add(module)
            found.update([f"{module}.{alias.name}" for alias in node.names if is_module(f"{module}.{alias.name}")])

    Imports().visit(ast.parse(path.read_text()))
    return found


def is_module(name: str) -> bool:
    return (TOP / (name.replace(".", "/") + ".py")).exists()


def test_what_is_asked_for_that_is_not_there() -> None:
    """All places are known, so that none asks for another program when something was done already."""
    frozen = freeze.files((TOP / "native/frozen.txt").read_text(), TOP)
    asked = set()
    for name, path in frozen.items():
        if name.startswith("pyrunc"):
            asked |= {
                (str(path.relative_to(TOP)), module)
                for module in imports(path)
                if module.startswith("pyrunc.") and module not in frozen and is_module(module)
            }
    assert asked == set(ASKED_FOR)


STATE = f"""
import sys
sys.path.insert(0, {str(TOP)!r})
from tools import freeze
import pathlib, types
top = pathlib.Path({str(TOP)!r})
names = [n for n in freeze.files((top / "native/frozen.txt").read_text(), top) if n.startswith("pyrunc")]
for name in names:
    __import__(name)

def seen(value, depth=0):
    if isinstance(value, (types.ModuleType, types.FunctionType, types.BuiltinFunctionType)) or depth > 6:
        return type(value).__name__
    if isinstance(value, type):
        return sorted((n, seen(v, depth + 1)) for n, v in vars(value).items() if not n.startswith("__"))
    if isinstance(value, dict):
        return [(seen(k, depth + 1), seen(v, depth + 1)) for k, v in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [seen(v, depth + 1) for v in value]
    return repr(value)

def all_globals():
    return {{
        name + "." + key: seen(value)
        for name in names
        for key, value in vars(sys.modules[name]).items()
        if not key.startswith("__") and name != "pyrunc.log"
    }}

from pyrunc.cli.main import main
before = all_globals()
for words in CALLS:
    main(["pyrunc", "--root", ROOT, *words])
after = all_globals()
changed = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
assert not changed, changed
"""


def test_no_module_keeps_anything_of_a_call(tmp_path: Path) -> None:
    """What a module found out once would be baked into an image: of another host, another call, another time.

    log.py alone has state, and of a process: where its words go, which setup() decides anew in each.
    """
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_bytes((TOP / "bench/engine-config.json").read_bytes())
    calls = [
        ["list"],
        ["state", "none"],
        ["start", "none"],
        ["kill", "none"],
        ["delete", "none"],
        ["exec", "none", "true"],
        ["update", "--memory", "5m", "none"],
        ["create", "--bundle", str(tmp_path), "--preserve-fds", "500", "none"],
        ["run", "--bundle", str(tmp_path), "--console-socket", "/nowhere", "none"],
    ]
    code = f"ROOT, CALLS = {str(tmp_path / 'state')!r}, {calls!r}\n" + STATE
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_maker_that_fails_leaves_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    goal = tmp_path / "image"
    goal.write_bytes(b"an older one")
    assert image.main(["/bin/false", str(goal), "/bin/true"]) == 0
    assert "no image" in capsys.readouterr().out and list(tmp_path.iterdir()) == []


def test_an_image_that_proves_nothing_is_taken_away(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The maker wrote something, but the launcher does not start from it."""
    maker = tmp_path / "maker"
    maker.write_text('#!/bin/sh\n/bin/echo nothing > "$1"\n')
    maker.chmod(0o755)
    goal = tmp_path / "folder/image"
    goal.parent.mkdir()
    assert image.main([str(maker), str(goal), "/bin/true"]) == 0
    said = capfd.readouterr().out
    assert not goal.exists()
    assert "no image" in said and said.count("\n") == 1


def test_without_room_for_the_first_image_there_is_a_second(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It takes ten times as much; without it blocks lie as they came."""
    maker = tmp_path / "maker"
    maker.write_text(
        '#!/bin/sh\n[ $# = 2 ] || { echo no room >&2; exit 1; }\n/bin/echo "$@" > ' + f"{tmp_path}/called\n"
    )
    maker.chmod(0o755)
    goal = tmp_path / "folder/image"
    goal.parent.mkdir()
    assert image.main([str(maker), str(goal), "/bin/true"]) == 0
    assert "no image" in capfd.readouterr().out
    assert (tmp_path / "called").read_text().startswith(f"{goal}.new ") and list(goal.parent.iterdir()) == []


def test_two_makers_take_turns(tmp_path: Path) -> None:
    """They would write to one file."""
    maker = tmp_path / "maker"
    maker.write_text('#!/bin/sh\n[ -e "$1" ] && exit 9\n/bin/echo nothing > "$1"\n/bin/sleep 1\n')
    maker.chmod(0o755)
    (tmp_path / "folder").mkdir()
    argv = ["/usr/bin/python3", str(TOP / "tools/image.py"), str(maker), str(tmp_path / "folder/image"), "/bin/true"]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        said = process.communicate(timeout=60)[0]
        assert said.count("no image") == 1 and "failed: 9" not in said
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="no root: nobody else's image can be made")
def test_an_ordinary_users_image_proves_itself_too(public_tree: Path) -> None:
    """It is used where that user is root, in a user namespace; so it is proven there, or it is not made."""
    with tempfile.TemporaryDirectory(prefix="pyrunc-test-") as place:
        maker = Path(place, "maker")
        maker.write_text('#!/bin/sh\n/bin/echo nothing > "$1"\n')
        maker.chmod(0o755)
        goal = Path(place, "folder/image")
        goal.parent.mkdir()
        for path in (place, goal.parent):
            os.chown(path, 65534, 65534)
        argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3"]
        done = subprocess.run(
            [*argv, public_tree / "tools/image.py", maker, goal, "/bin/true"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.count("no image") == 1
        assert list(goal.parent.iterdir()) == []


def test_the_order_of_blocks(tmp_path: Path) -> None:
    """Each block that is written has its kind, the first that holds; what is no block of the first maker's has none."""
    heap = bytearray(8 * warm.PAGE)
    for page, of_class, number in ((2, 5, 40), (3, 68, 7), (4, 6, 300), (5, 64, 2)):
        struct.pack_into("<2I", heap, page * warm.PAGE + 8, of_class, number)
    first = 0x40000
    segment = warm._SEGMENT.pack(1, 6, 0, first * warm.PAGE, 0, len(heap), 2 * len(heap), 4096)
    record = bytes(warm._HEAD.size) + segment + bytes(warm.RECORD - warm._HEAD.size - len(segment))
    goal = tmp_path / "image"
    goal.write_bytes(heap + record)
    seen = warm.Seen([{first, first + 2}], [{first + 2, first + 3, first + 12}], [{first + 4}, {first + 3}])
    order = arrange.order(goal, (first + 2) * warm.PAGE, seen)
    assert struct.unpack_from("<3Q", order) == (80, 2048, 96)
    assert {number: kind for number, kind in enumerate(order[24:]) if kind} == {40: 1, 7: 2, 300: 3}
    assert len(order) == 24 + 301


def test_runs_of_pages() -> None:
    assert warm.runs({7, 3, 4, 5, 9}) == [(3, 3), (7, 1), (9, 1)]
    assert warm.runs(set()) == []
    many = warm.runs(set(range(0, 1000, 2)) | {501, 503})
    assert len(many) == warm.RUNS and (500, 5) in many and many == sorted(many)


def test_pages_of_nearly_all_commands() -> None:
    """One command of a busy machine that was seen too early, or never, changes nothing."""
    assert warm.nearly_all([{1, 2}, {1, 2, 3}, {1}, {1, 2}]) == {1, 2}
    assert warm.nearly_all([{1}, {1}, {1}, set()]) == {1}
    assert warm.nearly_all([{1}, {1}, {2}, {2}]) == warm.nearly_all([]) == set()


def test_doctor_knows_the_record() -> None:
    """It looks at the same places of an image's end as stage one."""
    from pyrunc.doctor import programs

    text = re.sub(r"/\*.*?\*/", "", (TOP / "native/image.h").read_text(), flags=re.DOTALL)
    magic = text.partition("#define IMAGE_MAGIC ")[2].partition("UL")[0]
    assert int(magic, 16).to_bytes(8, "little") == programs._MAGIC
    members = text.partition("struct record {")[2].partition("Elf64_Phdr")[0]
    words = members[: members.index("struct file_facts")].count(",") + members.count("unsigned long")
    names = members.partition("struct file_facts ")[2].partition(";")[0].split(", ")
    places = {name: 8 * (words + 3 * index) for index, name in enumerate(names)}
    assert places == {name.replace("stage two", "stage2"): place for name, place in programs._FACTS.items()}
