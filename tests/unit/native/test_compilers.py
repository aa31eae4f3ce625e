"""The C: no compiler has a warning, and it asks nothing of libc's or the kernel's headers that another host's lack."""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support import TOP

SOURCES = sorted((TOP / "native").glob("*.c"))
#: What Linux 5.12's headers have not, of what is used.
NEWER = (
    *(
        "MADV_POPULATE_READ",
        "MADV_POPULATE_WRITE",
        "MOUNT_ATTR_NOSYMFOLLOW",
        "MOVE_MOUNT_SET_GROUP",
        "FUSE_SUPER_MAGIC",
    ),
    *("MPOL_PREFERRED_MANY", "MPOL_F_NUMA_BALANCING", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
)
#: Interpreters of other releases than the distribution's, as pyenv leaves them, with a shared libpython; else that one.
OTHERS = [
    path
    for path in sorted(Path.home().glob(".pyenv/versions/3.1[1-9].*/bin/python3"))
    if not path.parts[-3].startswith(f"3.{sys.version_info.minor}.")
    and [*path.parents[1].glob("lib/libpython3.*.so.1.0")]
] or [Path("/usr/bin/python3")]


def build(folder: Path, *words: str) -> None:
    """All programs, in a folder of their own; a warning is an error."""
    argv = ["make", "-C", str(TOP / "native"), f"BUILD={folder}", f"MODULES={folder}", "CI=true", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_compiler_warns(compiler: str, tmp_path: Path) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    build(tmp_path, f"CC={compiler}")
    said = subprocess.run([tmp_path / "pyrunc", "--version"], capture_output=True, text=True, check=True)
    assert "pyrunc version" in said.stdout
    # Stage one runs before libc: the compiler, whichever, must have put in no call of memset and the like.
    early = [
        tmp_path / "pyrunc-ordinary.o",
        *tmp_path.glob("native/image/*-one-*.o"),
        *tmp_path.glob("native/image/*-free-*.o"),
    ]
    for path in early:
        names = subprocess.run(["nm", "-u", path], capture_output=True, text=True, check=True).stdout
        ours = {"_start", "_GLOBAL_OFFSET_TABLE_", "launch", "after_environment", "try_image", "seal"}
        assert set(names.replace("U ", "").split()) <= ours | {"read_record", "map_image", "enter_image", "memory_file"}


@pytest.mark.parametrize("python", OTHERS, ids=[path.parent.parent.name for path in OTHERS])
def test_other_interpreters(python: Path, tmp_path: Path) -> None:
    """Each with its own headers and library; the launcher says which one it has in it.

    Text that cannot be decoded is an error before all of the interpreter has started, too.
    """
    build(tmp_path, f"PYTHON={python}")
    for text in (b'{"ociVersion": "\xff"}', b'{"ociVersion": "\\ud800"}', b'{"\xed\xa0\x80": 1}'):
        (tmp_path / "config.json").write_bytes(text)
        argv = [f"{tmp_path}/pyrunc-ordinary", f"--root={tmp_path}/state", "create", f"--bundle={tmp_path}", "c0"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "config.json" in done.stderr, done
    said = subprocess.run([tmp_path / "pyrunc", "--version"], capture_output=True, text=True, check=True)
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    assert f"python: {version}" in said.stdout


def test_headers_of_an_older_kernel_and_another_libc(tmp_path: Path) -> None:
    """musl's headers, and the kernel's without what came after 5.12."""
    musl = next(iter(Path("/usr/include").glob("*-linux-musl")), None)
    if musl is None:
        pytest.skip("musl's headers are not installed")
    shutil.copytree("/usr/include/linux", tmp_path / "linux")
    (tmp_path / "linux/ioprio.h").unlink()
    for path in tmp_path.rglob("*.h"):
        text = path.read_text()
        if any(name in text for name in NEWER):
            lines = [line for line in text.splitlines() if not any(name in line for name in NEWER)]
            path.write_text("\n".join(lines) + "\n")
    build(tmp_path / "build", *(f"{tmp_path}/build/native/{name}" for name in ("constants.inc", "messages.h")))
    places = [
        f'-D{name}=""'
        for name in (
            "STAGE2",
            "LIBPYTHON",
            "LIBC",
            "PYTHON",
            "STDLIB",
            "DYNLOAD",
            "SITE",
            "PACKAGE",
            "IMAGE_PATH",
            "SEALED",
        )
    ]
    triplet = sysconfig.get_config_var("MULTIARCH")
    folders = [f"-I{tmp_path}/build/native", f"-I{sysconfig.get_path('include')}", "-isystem", str(tmp_path)]
    libc = ["-nostdinc", "-isystem", str(musl), "-isystem", compiler_headers(), "-idirafter", f"/usr/include/{triplet}"]
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Werror"]
    argv = [
        "gcc",
        "-fsyntax-only",
        *flags,
        "-DDEBUG=0",
        "-DIMAGE=1",
        "-DLIBPYTHON_FACTS=0",
        "-DLIBC_FACTS=0",
        *places,
        *folders,
        *libc,
        "-idirafter",
        "/usr/include",
    ]
    done = subprocess.run([*argv, *map(str, SOURCES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]


def compiler_headers() -> str:
    argv = ["gcc", "-print-file-name=include"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def test_private_calls_of_python_are_guarded() -> None:
    """What is not public goes from one release to the next: it stands between #ifdef and #endif."""
    for path in SOURCES:
        bare = re.sub(
            r"^#ifdef (TWO_STEPS|LINKED_MODULES)\n.*?^#endif\n", "", path.read_text(), flags=re.DOTALL | re.MULTILINE
        )
        assert not re.search(r"\b_Py\w+|config\._\w+", bare), path
