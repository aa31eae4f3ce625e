"""Where a cgroupsPath of systemd's three parts puts a container."""

import pytest

from pyrunc.cgroups.systemd.scope_name import ScopeName
from pyrunc.errors import ConfigError


def test_places() -> None:
    place = ScopeName("a-b.slice:pre:name", "id", user=False)
    assert (place.unit, place.below()) == ("pre-name.scope", "/a.slice/a-b.slice/pre-name.scope")
    assert ScopeName(None, "id", user=False).below() == "/system.slice/pyrunc-id.scope"
    assert ScopeName(None, "id", user=True).below() == "/user.slice/pyrunc-id.scope"
    assert ScopeName("-.slice::x", "id", user=False).below() == "/x.scope"


@pytest.mark.parametrize(
    "path", ["/a", "a:b", "a:b:c", "a.slice:b:../c", "a/b.slice:c:d", "a--b.slice:c:d", ".slice:b:c"]
)
def test_bad_places(path: str) -> None:
    with pytest.raises(ConfigError):
        ScopeName(path, "id", user=False)
