"""One host a release, for all tests of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cgroups import remove_cgroups

from . import host as hosts
from .host import CGROUP, Host


@pytest.fixture(scope="module", params=hosts.SUITES)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with the source tree in /root/pyrunc and nothing built."""
    why = hosts.impossible()
    if why:
        pytest.skip(why)
    place: Path = tmp_path_factory.mktemp("hosts")
    one = Host(request.param, place)
    try:
        one.put_sources("/root/pyrunc")
        yield one
    finally:
        one.close()
        remove_cgroups(CGROUP)
