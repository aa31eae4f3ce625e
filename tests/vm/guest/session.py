"""An ordinary user's session on the machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support.rootfs import make_rootfs
from tests.vm.guest.support import USER, as_user

HOME = Path("/home/user")


class Session:
    """The user's bundle, and a shell in which $B is its folder."""

    def __init__(self) -> None:
        self.path = HOME / "bundle"
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir()
        make_rootfs(self.path / "rootfs")
        subprocess.run(["chown", "-R", f"{USER}:{USER}", self.path], check=True)
        self.shell("cd $B && pyrunc spec --rootless")
        self.config: Any = json.loads((self.path / "config.json").read_text())
        self.config["process"]["terminal"] = False

    def program(self, *args: str) -> None:
        self.config["process"]["args"] = list(args)

    def save(self) -> None:
        (self.path / "config.json").write_text(json.dumps(self.config))

    def shell(self, script: str, status: int = 0) -> str:
        """Run it as the user; what it wrote."""
        if hasattr(self, "config"):
            self.save()
        done = as_user(f"B={self.path}; cd $B; {script}")
        assert done.returncode == status, f"{script}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def map_range(self) -> None:
        """Root is the user; the rest is from /etc/subuid and /etc/subgid."""
        for kind in ("uidMappings", "gidMappings"):
            self.config["linux"][kind] = [
                {"containerID": 0, "hostID": USER, "size": 1},
                {"containerID": 1, "hostID": 100000, "size": 65536},
            ]
