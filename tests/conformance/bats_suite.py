"""runc's own suite, tests/integration of its module: built, run file by file in namespaces of its own, its TAP read.

It calls the runtime that RUNC names by the name runc, as root or as an ordinary user. As the latter it has three sets
of features: none; idmap, with further ids by newuidmap; and idmap+cgroup, with a cgroup that was given to the user.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import TOP

from . import bats_images
from .suite import CACHE, _go
from .tap import Results, read

MODULE = "github.com/opencontainers/runc"
VERSION = "v1.5.2"
#: Programs of the suite beside its scripts.
HELPERS = ("recvtty", "sd-helper", "seccompagent", "fs-idmap", "pidfd-kill", "remap-rootfs", "key_label")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

#: As root, and an ordinary user's sets of features in the suite's words.
SETS = ("root", "none", "idmap", "idmap+cgroup")
#: Seconds that one file may take.
PATIENCE = 900.0


def build() -> Path:
    """The folder with the suite: tests/ of the module, its helpers and images. Raises subprocess.CalledProcessError."""
    folder = CACHE / f"runc-suite-{VERSION}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "runc-suite.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _build(folder)
            (folder / "complete").touch()
    return folder


def _build(folder: Path) -> None:
    go = _go()
    env = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    said = subprocess.run(
        [go, "mod", "download", "-json", f"{MODULE}@{VERSION}"], env=env, check=True, capture_output=True
    )
    module = Path(json.loads(said.stdout)["Dir"])
    shutil.copytree(module / "tests", folder / "tests", copy_function=shutil.copy)
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    shutil.copy(module / "go.mod", folder)
    for script in (folder / "tests").rglob("*.sh"):
        script.chmod(0o755)  # a module keeps no such bit
    for name in HELPERS:
        target = folder / "tests/cmd/_bin" / name
        command = [go, "build", "-tags", "seccomp", "-o", target, f"./tests/cmd/{name}"]
        subprocess.run([str(word) for word in command], cwd=module, env=env, check=True)
    bats_images.make(folder / "tests/integration/testdata", ARCHITECTURES[os.uname().machine])


@contextmanager
def work(runtime: Path) -> Iterator[Path]:
    """A folder that an ordinary user reaches, with the suite and, in bin/runc, the runtime."""
    suite = build()
    with tempfile.TemporaryDirectory(prefix="pyrunc-bats-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(suite / "tests", folder / "tests")
        shutil.copy(suite / "go.mod", folder)
        for made, mode in (("bin", 0o755), ("home", 0o777), ("tmp", 0o1777)):
            (folder / made).mkdir()
            (folder / made).chmod(mode)
        # pyrunc knows where its second stage lies; of runc a copy is all it takes, and ~/go is not for everybody.
        if TOP in runtime.parents:
            (folder / "bin/runc").symlink_to(runtime)
        else:
            shutil.copyfile(runtime, folder / "bin/runc")
            (folder / "bin/runc").chmod(0o755)
        go = folder / "bin/go"  # asked for the architecture's name only
        go.write_text(f"#!/bin/sh\necho {ARCHITECTURES[os.uname().machine]}\n")
        go.chmod(0o755)
        yield folder


def files() -> list[str]:
    """Names of the suite's files."""
    return sorted(path.name for path in (build() / "tests/integration").glob("*.bats"))


def run(file: str, features: str, folder: Path, log: Path) -> Results:
    """Run one file in a work folder; its output goes to log. features: one of SETS. Gives results by "FILE: TEST"."""
    job: dict[str, object] = {
        "folder": str(folder),
        "program": str(folder / "bin/runc"),
        "file": file,
        "set": features,
        "reach": str(TOP),
        "name": f"pyrunc-conformance-{os.getpid()}",
        "mounts": os.readlink("/proc/self/ns/mnt"),
    }
    argv = [
        "unshare",
        "--mount",
        "--pid",
        "--net",
        "--ipc",
        "--uts",
        "--fork",
        "--kill-child",
        "--propagation",
        "private",
    ]
    argv += [sys.executable, str(Path(__file__).with_name("bats_inside.py"))]
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as out, tempfile.TemporaryFile("w+") as said:
        job["log"] = out.fileno()
        child = subprocess.Popen(
            [*argv, json.dumps(job)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=(out.fileno(),),
        )
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        said.seek(0)
        complaint = said.read().strip()[-500:]
    found = read(log.read_text(errors="replace"))
    if not found:
        raise RuntimeError(f"{file} ({features}): no result: {complaint}")
    return {f"{file}: {name}": result for name, result in found.items()}
