"""The systemd driver's pure parts: names, properties, and values of annotations. The rest is tests/vm/."""

import pytest

from pyrunc.cgroups import gvariant, systemd
from pyrunc.errors import ConfigError


def test_places() -> None:
    place = systemd.Place("a-b.slice:pre:name", "id", user=False)
    assert (place.unit, place.below()) == ("pre-name.scope", "/a.slice/a-b.slice/pre-name.scope")
    assert systemd.Place(None, "id", user=False).below() == "/system.slice/pyrunc-id.scope"
    assert systemd.Place(None, "id", user=True).below() == "/user.slice/pyrunc-id.scope"
    assert systemd.Place("-.slice::x", "id", user=False).below() == "/x.scope"


@pytest.mark.parametrize(
    "path", ["/a", "a:b", "a:b:c", "a.slice:b:../c", "a/b.slice:c:d", "a--b.slice:c:d", ".slice:b:c"]
)
def test_bad_places(path: str) -> None:
    with pytest.raises(ConfigError):
        systemd.Place(path, "id", user=False)


def test_properties() -> None:
    resources = {
        "memory": {"limit": 100, "swap": 150, "reservation": -1},
        "cpu": {"shares": 1024, "quota": 33333, "period": 100000, "cpus": "0-2,9"},
        "pids": {"limit": 0},
    }
    assert dict(systemd.properties(resources, unified=True)) == {
        "MemoryMax": ("t", 100),
        "MemorySwapMax": ("t", 50),
        "MemoryLow": ("t", 2**64 - 1),
        "CPUWeight": ("t", 100),
        "CPUQuotaPeriodUSec": ("t", 100000),
        # In hundredths of a processor, rounded up.
        "CPUQuotaPerSecUSec": ("t", 340000),
        "AllowedCPUs": ("ay", b"\x07\x02"),
        "TasksMax": ("t", 1),
    }


def test_device_rules_as_properties() -> None:
    """Of cgroup v1, where systemd would allow all at a daemon-reload."""
    rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "b", "major": 259, "minor": 4, "access": "r"}]
    found = dict(systemd.device_properties({"devices": rules}))
    assert found["DevicePolicy"] == ("s", "strict")
    allowed = found["DeviceAllow"][1]
    for entry in (("char-*", "m"), ("block-*", "m"), ("/dev/char/1:3", "rwm"), ("char-136", "rwm")):
        assert entry in allowed
    assert next(letters for name, letters in allowed if name == "/dev/block/259:4").startswith("r")
    assert systemd.device_properties({"devices": [{"allow": True, "access": "rwm"}]}) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", ("b", True)),
        ("5", ("i", 5)),
        ("uint64 0x10", ("t", 16)),
        ("'it\\'s'", ("s", "it's")),
        ("['a', \"b\"]", ("as", ["a", "b"])),
        ("[uint32 1, uint32 2]", ("au", [1, 2])),
    ],
)
def test_values(text: str, value: object) -> None:
    assert gvariant.parse(text, "") == value


@pytest.mark.parametrize(
    "text", ["", "'a", "[1, 'a']", "uint64 -1", "byte 256", "1 2", "none", "[[[[[[1]]]]]]", "os.system()"]
)
def test_bad_values(text: str) -> None:
    with pytest.raises(ConfigError):
        gvariant.parse(text, "/annotations/x")


def test_seconds() -> None:
    assert systemd.annotated({"org.systemd.property.TimeoutStopSec": "7", "other": "x"}) == [
        ("TimeoutStopUSec", ("t", 7_000_000))
    ]
