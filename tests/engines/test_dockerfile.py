"""Dockerfile.test: an image of the project itself, built and run by pyrunc."""

import subprocess

import pytest

from tests.support import TOP

from . import debian_base, engines

BASE = "localhost/pyrunc-test-base"
IMAGE = "localhost/pyrunc-test"
#: Seconds: a base of 500 MB is unpacked, the project compiled, and a thousand tests run.
PATIENCE = 900.0


@pytest.fixture(scope="module")
def base(podman: engines.Podman) -> str:
    """The name of the image to build on."""
    if engines.missing("debootstrap"):
        pytest.skip("not installed: debootstrap")
    try:
        archive = debian_base.make()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"debootstrap cannot make a Debian here: {error.stderr.strip().splitlines()[-1:]}")
    podman("import", archive, BASE, check=True, patience=PATIENCE)
    return BASE


def test_the_unit_tests_pass_in_an_image_of_their_own(podman: engines.Podman, base: str) -> None:
    parent = ["--cgroup-parent", f"{podman.sandbox.cgroup}/build"]
    options = [
        "--runtime",
        str(podman.runtime),
        "--network",
        "none",
        "--isolation",
        "oci",
        "--build-arg",
        f"BASE={base}",
    ]
    built = podman("build", *parent, *options, "-f", TOP / "Dockerfile.test", "-t", IMAGE, TOP, patience=PATIENCE)
    assert built.returncode == 0, built.stdout[-4000:] + built.stderr[-4000:]
    done = podman("run", "--rm", "--network", "none", IMAGE, patience=PATIENCE)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout.splitlines()[-1]
