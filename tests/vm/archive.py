"""Debian's archive, of any release and architecture, by an apt that knows nothing of this machine's."""

import os
import subprocess
from pathlib import Path

MIRROR = os.environ.get("PYRUNC_MIRROR", "http://deb.debian.org/debian")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

_SETTINGS = """\
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc "{folder}/etc";
APT::Architecture "{architecture}";
APT::Architectures "{architecture}";
APT::Sandbox::User "root";
Acquire::Check-Valid-Until "false";
"""


def command(*argv: str, cwd: Path | None = None, **environment: str) -> str:
    """Run a program that must succeed; its output. Raises CalledProcessError with all that it said."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C", "PATH": path, **environment},
        check=False,
    )
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
    return done.stdout


class Archive:
    """The packages of a release for an architecture, with the security updates. folder: where apt keeps its lists."""

    def __init__(self, suite: str, architecture: str, folder: Path) -> None:
        for name in ("state/lists/partial", "cache/archives/partial", "etc"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        (folder / "settings").write_text(_SETTINGS.format(folder=folder, architecture=architecture))
        security = MIRROR.removesuffix("/debian") + "/debian-security"
        (folder / "etc/sources.list").write_text(
            f"deb [signed-by={_KEYRING}] {MIRROR} {suite} main\n"
            f"deb [signed-by={_KEYRING}] {security} {suite}-security main\n"
        )
        self._settings = str(folder / "settings")
        self._apt("apt-get", "update")

    def _apt(self, *argv: str, cwd: Path | None = None) -> str:
        return command(*argv, cwd=cwd, APT_CONFIG=self._settings)

    def kernel(self, name: str, packages: Path) -> tuple[str, Path]:
        """The newest kernel, which the package `name` depends on: its release, and its package in `packages`."""
        depends = self._apt("apt-cache", "depends", name)
        newest = next(word for word in depends.split() if word.startswith("linux-image-") and word != name)
        if not list(packages.glob(newest + "_*.deb")):
            self._apt("apt-get", "download", newest, cwd=packages)
        (package,) = packages.glob(newest + "_*.deb")
        return newest.removeprefix("linux-image-"), package
