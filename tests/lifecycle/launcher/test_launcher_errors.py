"""What fails before Python runs: each row of native/failures.h is caused, and told as any error is.

In a mount namespace of the test's own, with a copy of the launcher: what it has built in is hidden or replaced there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.support.launcher_failures import CAUSES, Cause

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="no root: namespaces with mounts are made")

LIBPYTHON = Path(str(sysconfig.get_config_var("LIBDIR")), str(sysconfig.get_config_var("INSTSONAME")))
STDLIB = sysconfig.get_path("stdlib")


def caused(cause: Cause, runtime: Path, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    build = runtime.parent
    shutil.copy(runtime, folder / "pyrunc")
    folder.chmod(0o755)
    prepare = cause.prepare
    places = {"BUILD": build, "FOLDER": folder, "LIBRARY": LIBPYTHON.parent.resolve(), "STDLIB": STDLIB}
    for name, place in places.items():
        prepare = prepare.replace(name, str(place))
    user = ["setpriv", "--reuid", "1000", "--clear-groups"] if cause.program == "setpriv" else []
    # What is to run after a library is hidden: only what is static, and the shell that is there already.
    argv = ["unshare", "--mount", "--pid", "--fork", "--", "sh", "-c", prepare + ' && exec "$@"', "sh"]
    call = [*user, str(folder / "pyrunc"), *flags, "--root", str(folder / "state"), *cause.words]
    return subprocess.run([*argv, *call], capture_output=True, text=True, check=False, timeout=60, cwd="/")


@pytest.mark.parametrize("cause", CAUSES, ids=[f"{' '.join(one.row)} {one.words[0]}" for one in CAUSES])
def test_the_line(cause: Cause, runtime: Path, tmp_path: Path) -> None:
    """One line, in the log with its parts apart; without a log in logrus's format."""
    if cause.row[0] == "COPY_MADE" and not Path("/proc/sys/vm/memfd_noexec").exists():
        pytest.skip("no sysctl vm.memfd_noexec in this kernel")
    log = tmp_path / "log"
    status = 255 if cause.words[0] == "exec" else 1
    plain = caused(cause, runtime, tmp_path)
    assert plain.returncode == status and plain.stderr.count("\n") == 1, plain
    found = re.fullmatch(r'time="20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ" level=error msg="(.*)"\n', plain.stderr)
    assert found and cause.hint in found[1].partition(": hint: ")[2], plain.stderr
    assert found[1].startswith("exec failed: ") == (status == 255)
    assert not (tmp_path / "state").exists()
    if not cause.log:
        return
    done = caused(cause, runtime, tmp_path, "--log", str(log), "--log-format", "json")
    record = json.loads(log.read_text())
    assert done.returncode == status and done.stderr == record["msg"] + "\n"
    assert record["level"] == "error" and record["msg"] == found[1]
    assert record["errno"] > 0 and record["msg"].endswith(f": hint: {record['hint']}")


def test_no_standard_library(runtime: Path, tmp_path: Path) -> None:
    """What Python does not find is told as the installation's fault, whatever of it is frozen."""
    cause = Cause(("PYTHON_START", ""), "mount -t tmpfs none STDLIB", "install", ("doctor",))
    done = caused(cause, runtime, tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    assert "hint: " in done.stderr and "install Python's standard library" in done.stderr
    assert "internal error" not in done.stderr


@pytest.mark.parametrize("limit", ["-v 30000", "-d 4500", "-n 5"])
def test_limits_that_python_meets(limit: str, runtime: Path, tmp_path: Path) -> None:
    """A caller's limit is not a defect of pyrunc."""
    done = caused(Cause(("", ""), f"ulimit {limit}", "", ("doctor",)), runtime, tmp_path)
    if done.returncode == 1 and not done.stdout:
        assert done.stderr.count("\n") == 1 and "hint: " in done.stderr
        assert "this is a defect of pyrunc" not in done.stderr
