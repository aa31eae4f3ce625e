"""Makes the Debian package of what `make install PREFIX=/usr` would install: `make deb`.

usage: deb.py STAGED OUTPUT_FOLDER

STAGED is the DESTDIR of that installation. Needs dpkg-dev. The package is for the Python that it was built with: the
launcher needs that one's libpython. Its maintainer is who makes it: DEBFULLNAME and DEBEMAIL in the environment, as for
Debian's own tools.
"""

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from email.utils import formatdate
from pathlib import Path

TOP = Path(__file__).parent.parent
sys.path.insert(0, str(TOP))

from pyrunc.cli.version import VERSION  # noqa: E402
from tools import documents  # noqa: E402

#: Of a package that nobody put a name to. No mail goes there: the top-level domain is reserved for that (RFC 2606).
NOBODY = ("The pyrunc maintainers", "pyrunc@packages.invalid")
DOC = "usr/share/doc/pyrunc"
LIBEXEC = "usr/libexec/pyrunc"
STAGE2 = f"{LIBEXEC}/stage2"
SCRIPTS = TOP / "tools/debian"

CONTROL = """\
Package: pyrunc
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {size}
Depends: {depends}
Recommends: python3-jsonschema, python3-pyroute2
Suggests: criu, uidmap
Built-Using: {built_using}
Section: admin
Priority: optional
Description: OCI container runtime in Python
 pyrunc makes containers of OCI bundles, as the runtime-spec says. It takes
 runc's command line and is what podman, containerd, docker, buildah and CRI-O
 start as their runtime.
 .
 It prints every step that a bundle would cause without doing any, and is a
 Python library too.
"""

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: pyrunc

Files: *
Copyright: 2026 the pyrunc authors
License: Apache-2.0
 On Debian systems the text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
"""

#: lintian's names of what is meant to be so, and why.
OVERRIDES = """\
# The first stage runs before any library is loaded: it decides what the second one gets to see (native/launch.c).
pyrunc: statically-linked-binary [usr/bin/pyrunc]
"""
#: Where there is an image.
OVERRIDES_OF_MAKER = """\
# It writes itself, with the interpreter started, as the image that commands start from (native/image.c), when it is
# installed: static, for the image is mapped where it was; with its symbols, for gdb.
pyrunc: statically-linked-binary [usr/libexec/pyrunc/maker]
pyrunc: unstripped-binary-or-object [usr/libexec/pyrunc/maker]
"""


def main(arguments: list[str]) -> int:
    staged, output = map(Path, arguments)
    root = output / "root"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(staged, root, symlinks=True)
    (root / LIBEXEC / "installed").unlink()  # of make uninstall; here dpkg knows
    for cache in list(root.rglob("__pycache__")):
        shutil.rmtree(cache)  # compiled where it is installed, by that Python
    if (root / LIBEXEC / "maker").exists():
        (root / LIBEXEC / "tools").mkdir()
        for name in ("__init__.py", "arrange.py", "image.py", "training.py", "warm.py"):  # for the postinst
            shutil.copyfile(TOP / "tools" / name, root / LIBEXEC / "tools" / name)
    for extension in root.rglob("*.so"):
        subprocess.run(["strip", "--strip-unneeded", extension], check=True)
    write_documents(root)
    write_control(root)
    normalize(root)
    architecture = printed("dpkg", "--print-architecture")
    package = output / f"pyrunc_{VERSION}_{architecture}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, package], check=True, stdout=subprocess.DEVNULL
    )
    shutil.rmtree(root)
    print(package)
    return 0


def maintainer() -> str:
    """Name and address, as debchange(1) finds them."""
    return "{} <{}>".format(os.environ.get("DEBFULLNAME") or NOBODY[0], os.environ.get("DEBEMAIL") or NOBODY[1])


def printed(*argv: str | Path, cwd: Path | None = None) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, cwd=cwd).stdout.strip()


def write_documents(root: Path) -> None:
    """Documents, copyright, changelog, lintian's overrides. The rest came with the installation."""
    for page in ("README.md", "SECURITY.md", *sorted(f"docs/{path.name}" for path in (TOP / "docs").glob("*.md"))):
        goal = root / DOC / page
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(TOP / page, goal)
    (root / DOC / "copyright").write_text(COPYRIGHT)
    (root / DOC / "changelog.gz").write_bytes(gzip.compress(changelog().encode(), 9, mtime=0))
    overrides = root / "usr/share/lintian/overrides/pyrunc"
    overrides.parent.mkdir(parents=True)
    overrides.write_text(OVERRIDES + (OVERRIDES_OF_MAKER if (root / LIBEXEC / "maker").exists() else ""))


def changelog() -> str:
    """CHANGELOG.md as Debian writes it: an entry a version, newest first."""
    date = formatdate(documents.source_date(), localtime=False)
    entries = []
    for part in (TOP / "CHANGELOG.md").read_text().split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        points = [textwrap.fill(" ".join(text.split()), 76) for text in ("\n" + body.strip()).split("\n- ")[1:]]
        lines = "\n".join("  * " + text.replace("\n", "\n    ") for text in points)
        version = heading.split(",")[0]
        entries.append(f"pyrunc ({version}) unstable; urgency=medium\n\n{lines}\n\n -- {maintainer()}  {date}\n")
    return "\n".join(entries)


def write_control(root: Path) -> None:
    folder = root / "DEBIAN"
    folder.mkdir()
    architecture = printed("dpkg", "--print-architecture")
    minor = sys.version_info.minor
    python = f"python3 (>= 3.{minor}), python3 (<< 3.{minor + 1})"
    facts = {
        "version": VERSION,
        "architecture": architecture,
        "maintainer": maintainer(),
        "size": str(sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 1024 + 1),
        "depends": f"{shared_libraries(root)}, {python}, python3-seccomp, procps",
        "built_using": ", ".join(built_using(root)),
    }
    (folder / "control").write_text(CONTROL.format(**facts))
    # The launcher holds the interpreter: whatever it leaves of what is made here is made anew when libpython changes.
    library = re.search(r"libpython\S+", printed("objdump", "-p", root / STAGE2))
    assert library
    (folder / "triggers").write_text(f"interest-noawait /usr/lib/{triplet(architecture)}/{library[0]}\n")
    for name in ("postinst", "prerm", "postrm"):
        shutil.copyfile(SCRIPTS / name, folder / name)
        (folder / name).chmod(0o755)
    sums = [f"{printed('md5sum', path).split()[0]}  {path.relative_to(root)}\n" for path in installed_files(root)]
    (folder / "md5sums").write_text("".join(sums))


def built_using(root: Path) -> list[str]:
    """The sources of what is linked statically: libc, and for the image libpython."""
    packages = ["libc6-dev"]
    if (root / LIBEXEC / "maker").exists():
        packages.append(f"libpython3.{sys.version_info.minor}-dev")
    form = "${source:Package} (= ${source:Version})"
    return [printed("dpkg-query", "-W", "-f", form, package) for package in packages]


def installed_files(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.is_file() and path.relative_to(root).parts[0] != "DEBIAN"]


def triplet(architecture: str) -> str:
    return printed("dpkg-architecture", "-a", architecture, "-q", "DEB_HOST_MULTIARCH")


def shared_libraries(root: Path) -> str:
    """What dpkg-shlibdeps says of the programs and extensions: it wants to be called beside a debian/control."""
    programs = [root / STAGE2, *root.rglob("*.so")]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "debian").mkdir()
        Path(folder, "debian/control").write_text("Source: pyrunc\n\nPackage: pyrunc\nArchitecture: any\n")
        said = printed("dpkg-shlibdeps", "-O", *(f"-e{program.absolute()}" for program in programs), cwd=Path(folder))
    return said.partition("shlibs:Depends=")[2].strip()


def normalize(root: Path) -> None:
    """Modes as the policy has them, whatever the umask; and no time later than the source's."""
    for path in sorted(root.rglob("*")):
        if path.is_dir() or os.access(path, os.X_OK):
            path.chmod(0o755)
        else:
            path.chmod(0o644)
    for path in root.rglob("*"):
        os.utime(path, (documents.source_date(), documents.source_date()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
