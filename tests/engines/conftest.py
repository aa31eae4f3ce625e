"""One sandbox and one instance of each engine for the whole session.

`engine` is podman, then docker: a test that takes it runs under both. PYRUNC in the environment names another runtime
than the one built here, by which the tests themselves are tried against runc.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import engines, images
from .cri import Cri
from .sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox(runtime: Path) -> Iterator[Sandbox]:
    """Where the engines run."""
    if os.geteuid() != 0:
        pytest.skip("no root: engines are run as root here")
    _need("unshare", "nsenter", "ip")
    if not images.BUSYBOX.exists():
        pytest.skip("no busybox-static")
    place = Sandbox()
    yield place
    place.close()


@pytest.fixture(scope="session")
def rootfs() -> bytes:
    """The image's root file system, a tar archive."""
    return images.rootfs_tar()


@pytest.fixture(scope="session")
def podman(sandbox: Sandbox, runtime: Path, rootfs: bytes) -> Iterator[engines.Podman]:
    """podman with private storage."""
    _need(*engines.Podman.needs)
    podman = engines.Podman(sandbox, runtime, rootfs)
    yield podman
    podman.close()


@pytest.fixture(scope="session")
def docker(sandbox: Sandbox, runtime: Path, rootfs: bytes) -> Iterator[engines.Docker]:
    """A private dockerd."""
    _need(*engines.Docker.needs)
    docker = engines.Docker(sandbox, runtime, rootfs)
    yield docker
    docker.close()


@pytest.fixture(scope="session", params=["podman", "docker"])
def engine(request: pytest.FixtureRequest) -> engines.Engine:
    """podman and docker by turns."""
    found: engines.Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def ctr(sandbox: Sandbox, runtime: Path, rootfs: bytes) -> Iterator[engines.Ctr]:
    """A private containerd."""
    _need(*engines.Ctr.needs)
    ctr = engines.Ctr(sandbox, runtime, images.oci_archive(rootfs))
    yield ctr
    ctr.close()


@pytest.fixture(scope="session")
def cri(sandbox: Sandbox, runtime: Path, rootfs: bytes) -> Iterator[Cri]:
    """A private containerd with pods."""
    _need(*Cri.needs)
    crictl = Path(os.environ.get("CRICTL", Path.home() / "go/bin/crictl"))
    if not crictl.exists():
        pytest.skip("not installed: crictl (make peers)")
    if not (Cri.plugins / "bridge").exists():
        pytest.skip("not installed: containernetworking-plugins")
    cri = Cri(sandbox, runtime, crictl, rootfs)
    yield cri
    cri.close()


@pytest.fixture(scope="session")
def buildah(sandbox: Sandbox, runtime: Path, rootfs: bytes) -> engines.Buildah:
    """buildah with private storage."""
    _need(*engines.Buildah.needs)
    return engines.Buildah(sandbox, runtime, rootfs)


def _need(*programs: str) -> None:
    missing = engines.missing(*programs)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
