"""The cache of compiled filters: what is taken from it, what is made anew, and who may not touch it."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.steps.seccomp import cache as seccomp_cache
from pyrunc.steps.seccomp import digest, store
from pyrunc.steps.seccomp.step import compile_filter
from tests.support import TOP
from tests.support.profiles import ALLOW, ERRNO, NOTIFY, Judge, profile, rule

# The cache

COMMON = profile(rule("getpid", "read"))


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "@seccomp"
    yield where
    left = [name for name in os.listdir(where) if name.startswith(".")] if where.is_dir() else []
    assert not left


def compile_in(cache: Path, config: Any = COMMON) -> seccomp_cache.Filter:
    return compile_filter(config, str(cache))


def only_entry(cache: Path) -> Path:
    (found,) = cache.iterdir()
    return found


def test_the_second_time_it_is_there(cache: Path) -> None:
    first = compile_in(cache)
    assert not first.cached
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(only_entry(cache).stat().st_mode) == 0o600
    second = compile_in(cache)
    assert second.cached
    assert (second.program, second.flags) == (first.program, first.flags)
    assert first.program == compile_filter(COMMON).program


def test_a_hit_loads_nothing(cache: Path) -> None:
    compile_in(cache)
    script = f"""
import sys
from pyrunc.steps.seccomp.step import _by_stage_two, compile_filter
before = set(sys.modules)
assert compile_filter({COMMON!r}, {str(cache)!r}).cached
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-S", "-c", script], cwd=TOP, capture_output=True, text=True, check=True)
    # The launcher's build has written its digest down; a Python program asks the files.
    assert done.stdout.split() == ["pyrunc.steps.seccomp.digest"]


def test_the_key_is_what_the_program_depends_on(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notify = profile(rule("mkdir", action=NOTIFY), default=ALLOW, listenerPath="/run/a", listenerMetadata="1")
    compile_in(cache, notify)
    found = compile_in(cache, notify | {"listenerPath": "/run/b", "listenerMetadata": "2", "comment": "x"})
    assert found.cached
    assert (found.listener_path, found.metadata) == ("/run/b", "2")
    changes: list[dict[str, Any]] = [{name: []} for name in ("flags", "architectures", "syscalls")]
    changes.append({"defaultAction": "SCMP_ACT_LOG"})
    for change in changes:
        assert not compile_in(cache, notify | change).cached
    assert not compile_in(cache, notify | {"defaultAction": ERRNO, "defaultErrnoRet": 2}).cached
    monkeypatch.setattr(seccomp_cache, "_compiler", lambda: "another")
    assert not compile_in(cache, notify).cached


def test_the_key_holds_the_compiler_s_code(tmp_path: Path) -> None:
    """What changes the compiler changes the name of its entries: nobody has to raise a number."""
    tree = TOP / "pyrunc/steps/seccomp"
    before = digest.of(str(tree))
    assert seccomp_cache._compiler() == before
    for name in digest.FILES:
        for file in digest.FILES:
            shutil.copy(tree / file, tmp_path)
        assert digest.of(str(tmp_path)) == before
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace("0", "1", 1))
        assert digest.of(str(tmp_path)) != before


def test_entries_that_are_not_whole_are_made_anew(cache: Path) -> None:
    program = compile_in(cache).program
    entry = only_entry(cache)
    good = entry.read_bytes()
    damaged = [b"", good[:-1], good + b"\0", good[:30], b"x" * len(good), good[8:], bytes(40000)]
    damaged += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(0, len(good), 7)]
    for data in damaged:
        entry.write_bytes(data)
        found = compile_in(cache)
        assert not found.cached
        assert found.program == program
        assert entry.read_bytes() == good


def test_an_entry_under_another_name_does_not_count(cache: Path) -> None:
    lax = profile(default=ALLOW)
    compile_in(cache, lax)
    loose = only_entry(cache)
    name = seccomp_cache.key(COMMON)
    assert name is not None
    loose.rename(cache / name)
    assert not compile_in(cache).cached
    assert Judge(COMMON)("mount") == "errno 38"


@pytest.mark.parametrize("mode", [0o604, 0o660, 0o622])
def test_entries_that_others_can_touch_are_made_anew(cache: Path, mode: int) -> None:
    compile_in(cache)
    only_entry(cache).chmod(mode)
    assert not compile_in(cache).cached
    assert stat.S_IMODE(only_entry(cache).stat().st_mode) == 0o600
    assert compile_in(cache).cached


def test_other_peoples_entries_are_made_anew(cache: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("no root: files of others are made by root here")
    compile_in(cache)
    os.chown(only_entry(cache), 65534, 65534)
    assert not compile_in(cache).cached
    assert only_entry(cache).stat().st_uid == 0
    assert compile_in(cache).cached


def test_what_is_no_file_is_not_opened_through(cache: Path, tmp_path: Path) -> None:
    compile_in(cache)
    entry = only_entry(cache)
    elsewhere = tmp_path / "elsewhere"
    entry.rename(elsewhere)
    entry.symlink_to(elsewhere)
    kept = elsewhere.read_bytes()
    assert not compile_in(cache).cached
    assert not entry.is_symlink()
    assert elsewhere.read_bytes() == kept
    entry.unlink()
    os.mkfifo(entry, 0o600)
    assert not compile_in(cache).cached  # and does not wait for a writer
    assert entry.is_file()
    entry.unlink()
    entry.mkdir(0o700)
    for _ in range(2):
        assert not compile_in(cache).cached
    entry.rmdir()


def test_a_folder_that_is_not_ours_alone_is_not_used(cache: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(0o700)
    cache.symlink_to(real)
    assert not compile_in(cache).cached
    assert not compile_in(cache).cached
    assert list(real.iterdir()) == []
    cache.unlink()
    for mode in (0o755, 0o777, 0o770):
        cache.mkdir()
        cache.chmod(mode)
        assert not compile_in(cache).cached
        assert list(cache.iterdir()) == []
        cache.rmdir()
    cache.write_text("a file")
    assert not compile_in(cache).cached
    assert cache.read_text() == "a file"
    cache.unlink()
    if os.geteuid() == 0:
        cache.mkdir(0o700)
        os.chown(cache, 65534, 65534)
        assert not compile_in(cache).cached
        assert list(cache.iterdir()) == []


def test_no_cache_where_there_is_no_root(tmp_path: Path) -> None:
    assert not compile_in(tmp_path / "missing/@seccomp").cached
    assert list(tmp_path.iterdir()) == []


def test_as_an_ordinary_user(tmp_path: Path, public_tree: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("no root: every other test of the cache is this one")
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent != Path("/tmp") and parent.is_relative_to("/tmp"):
            parent.chmod(0o755)
    root = tmp_path / "root"
    root.mkdir()
    os.chown(root, 65534, 65534)
    script = f"""
from pyrunc.steps.seccomp.step import _by_stage_two, compile_filter
print([compile_filter({COMMON!r}, {str(root / "@seccomp")!r}).cached for _ in range(2)])
"""
    argv = ["/usr/bin/python3", "-B", "-c", script]
    done = subprocess.run(argv, cwd=public_tree, capture_output=True, text=True, user=65534, group=65534)
    assert done.stdout.strip() == "[False, True]", done.stderr
    # root does not take a filter from a user's folder
    assert not compile_in(root / "@seccomp").cached


def test_at_most_64_entries_and_the_unused_go_first(cache: Path) -> None:
    configs = [profile(rule("getpid"), defaultErrnoRet=errno) for errno in range(70)]
    long_ago = 1_000_000_000
    first = seccomp_cache.key(configs[0])
    for at, config in enumerate(configs):
        assert not compile_in(cache, config).cached
        assert compile_in(cache, configs[0]).cached
        name = seccomp_cache.key(config)
        assert name is not None and first is not None
        os.utime(cache / name, (long_ago + at, long_ago + at))
    assert len(list(cache.iterdir())) == 64 == store.MAX_ENTRIES
    there = {entry.name for entry in cache.iterdir()}
    assert first in there
    assert {seccomp_cache.key(config) for config in configs[-60:]} <= there


def test_leftovers_of_the_dead_go(cache: Path) -> None:
    compile_in(cache)
    old, new = cache / ".dead", cache / ".busy"
    for file in (old, new):
        file.write_text("")
    os.utime(old, (1, 1))
    compile_in(cache, profile(default=ALLOW))
    assert not old.exists()
    assert new.exists()
    new.unlink()


def test_many_at_once(cache: Path) -> None:
    script = f"""
from pyrunc.steps.seccomp.step import _by_stage_two, compile_filter
for errno in range(40):
    compile_filter({{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno}}, {str(cache)!r})
"""
    running = [subprocess.Popen([sys.executable, "-c", script], cwd=TOP) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    for errno in range(40):
        config: Any = {"defaultAction": ERRNO, "defaultErrnoRet": errno}
        found = compile_in(cache, config)
        assert found.cached
        assert found.program == compile_filter(config).program
