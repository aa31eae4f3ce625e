"""Installs what `make build` built, and takes away exactly that: `make install`, `make uninstall`.

What is installed, and which folders were made for it, stands in one list beside the launcher's second stage.
"""

import argparse
import compileall
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

TOP = Path(__file__).parent.parent
sys.path.insert(0, str(TOP))

from tools import image  # noqa: E402
from tools.documents import documents  # noqa: E402

#: The launcher with the places of an installation built in.
BUILD = TOP / "build/installed"

#: What of the package's folder is installed.
_SUFFIXES = {".py", ".pyi", ".json", ".typed"}


class Places:
    """Where things are in the end. What is written goes to staged() of it, below destdir."""

    def __init__(self, prefix: str, destdir: str) -> None:
        self._destdir = destdir
        self.prefix = prefix
        self.launcher = Path(prefix, "bin/pyrunc")
        self.libexec = Path(prefix, "libexec/pyrunc")
        self.package = package_dir(prefix)

    @property
    def list(self) -> Path:
        return self.staged(self.libexec / "installed")

    def staged(self, path: Path | str) -> Path:
        return Path(f"{self._destdir}/{str(path).lstrip('/')}")


def package_dir(prefix: str) -> Path:
    """Where Debian's interpreter looks for packages installed with that prefix."""
    if Path(prefix) == Path("/usr"):
        return Path("/usr/lib/python3/dist-packages/pyrunc")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Path(prefix, "lib", f"python{version}", "dist-packages", "pyrunc")


def install(places: Places) -> None:
    """Every file is renamed into place: a pyrunc that runs, or is started meanwhile, finds an old or a new one."""
    os.umask(0o022)  # root's may be 077, but ordinary users load the modules and stage two as well
    package, libexec = places.staged(places.package), places.staged(places.libexec)
    made = [path for kind, path in _read(places) if kind == "folder"]
    for folder in (places.launcher.parent, places.libexec.parent, places.package.parent):
        made += _make(places, folder)
    libexec.mkdir(exist_ok=True)
    sources = [path for path in sorted((TOP / "pyrunc").rglob("*")) if _is_installed(path)]
    goals = {package / path.relative_to(TOP / "pyrunc"): path for path in sources}
    for goal, source in goals.items():
        goal.parent.mkdir(parents=True, exist_ok=True)
        _copy(source, goal, 0o644)
    (package / "_commit.py").write_text(f'COMMIT = "{_commit()}"\n')
    _remove_stale(package, {*goals, package / "_commit.py"})
    # Else whoever imports it first as root writes them.
    compileall.compile_dir(str(package), ddir=str(places.package), quiet=1)
    _copy(BUILD / "stage2", libexec / "stage2", 0o755)
    _copy(BUILD / "pyrunc", places.staged(places.launcher), 0o755)
    files = [places.launcher]
    for name, content in documents().items():
        files.append(Path(places.prefix, name))
        made += _make(places, files[-1].parent)
        _write(content, places.staged(files[-1]))
    lines = [*(f"file {file}" for file in files), f"tree {places.package}", f"tree {places.libexec}"]
    lines += [f"folder {folder}" for folder in dict.fromkeys(made)]
    places.list.write_text("".join(f"{line}\n" for line in lines))
    _install_image(places)  # which takes a while: what is there can be uninstalled by now


def _install_image(places: Places) -> None:
    """The image is made where it is used, for its hashes' secret is the host's own (image.py).

    With a destdir only its maker is installed: a package's postinst calls that with the image's path.
    """
    libexec = places.staged(places.libexec)
    if not (BUILD / "maker").exists():
        for name in ("maker", "image"):
            (libexec / name).unlink(missing_ok=True)
        return
    _copy(BUILD / "maker", libexec / "maker", 0o755)
    if places.staged(places.libexec) == places.libexec:
        image.main([str(libexec / "maker"), str(libexec / "image"), str(places.launcher)])


def uninstall(places: Places) -> None:
    """Leave no file, and no folder that is there because of us."""
    entries = _read(places)
    if not entries:
        print(f"nothing to uninstall: no {places.list}")
        return
    for kind, path in entries:
        if kind == "file":
            places.staged(path).unlink(missing_ok=True)
        elif kind == "tree":
            shutil.rmtree(places.staged(path), ignore_errors=True)
    for kind, path in reversed(entries):
        if kind == "folder":
            try:
                places.staged(path).rmdir()
            except OSError:
                # Somebody else's file is in it by now.
                pass


def remove_state(root: Path) -> None:
    """The state root with its caches, unless a container is in it. A container's name does not begin with @."""
    try:
        containers = [entry.name for entry in sorted(root.iterdir()) if not entry.name.startswith("@")]
    except OSError:
        return
    if containers:
        print(f"{root} stays: there are containers in it: {', '.join(containers)}")
    else:
        shutil.rmtree(root)


def _is_installed(path: Path) -> bool:
    """Extensions only of this interpreter: others may have been built here too."""
    if path.suffix == ".so":
        return path.name.endswith(sysconfig.get_config_var("EXT_SUFFIX"))
    return path.suffix in _SUFFIXES and path.is_file()


def _read(places: Places) -> list[tuple[str, str]]:
    """The list: (file, tree or folder; path). Outer folders come before inner ones."""
    if not places.list.exists():
        return []
    lines = places.list.read_text().splitlines()
    return [(kind, path) for kind, path in (line.split(" ", 1) for line in lines)]


def _make(places: Places, folder: Path) -> list[str]:
    """Make the folder; those that were missing, outermost first."""
    missing = []
    above = folder
    while not places.staged(above).exists() and above != above.parent:
        missing.append(str(above))
        above = above.parent
    places.staged(folder).mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _commit() -> str:
    """The commit that is installed, with -dirty where the work tree differs from it; "unknown" without git."""
    try:
        argv = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(argv, cwd=TOP, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _copy(source: Path, goal: Path, mode: int) -> None:
    fresh = goal.with_name(goal.name + ".new")
    shutil.copyfile(source, fresh)
    fresh.chmod(mode)
    os.replace(fresh, goal)


def _write(content: bytes, goal: Path) -> None:
    fresh = goal.with_name(goal.name + ".new")
    fresh.write_bytes(content)
    fresh.chmod(0o644)
    os.replace(fresh, goal)


def _remove_stale(package: Path, goals: set[Path]) -> None:
    """What an older version had and this one has not, and all compiled files."""
    for path in sorted(package.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in goals:
            path.unlink()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["install", "uninstall", "package-dir"])
    parser.add_argument("--prefix", default="/usr/local")
    parser.add_argument("--destdir", default="")
    options = parser.parse_args()
    if not options.prefix.startswith("/"):
        parser.error("--prefix must be absolute")
    places = Places(options.prefix, options.destdir.rstrip("/"))
    try:
        if options.action == "package-dir":
            print(package_dir(options.prefix))
        elif options.action == "install":
            install(places)
        else:
            uninstall(places)
            if not options.destdir:
                remove_state(Path("/run/pyrunc"))
    except OSError as error:
        print(f"{options.action}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
