"""What of linux.resources and annotations systemd is told as a unit's properties. The rest is tests/vm/."""

from typing import Any

import pytest

from pyrunc.cgroups.systemd import properties
from pyrunc.cgroups.v2 import limits
from pyrunc.config.types import DeviceRule
from pyrunc.errors import ConfigError


def found(resources: Any, version: int = 253, *, starting: bool = False) -> dict[str, Any]:
    settings = limits.settings(resources, "/linux/resources", "/no/such/cgroup")
    return dict(properties.properties(settings, "/no/such/cgroup", lambda: version, starting=starting))


def test_properties() -> None:
    resources = {
        "memory": {"limit": 100, "swap": 150, "reservation": -1},
        "cpu": {"shares": 1024, "quota": 33333, "period": 100000, "cpus": "0-2,9"},
        "pids": {"limit": 0},
    }
    assert found(resources) == {
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


def test_properties_of_unified() -> None:
    """Each file that has a property; the last word counts, and what the kernel would refuse has none."""
    files = {
        "memory.min": "1M",
        "memory.low": "2k",
        "memory.high": "max",
        "memory.max": "0",
        "memory.swap.max": "0",
        "memory.zswap.max": "5",
        "memory.oom.group": "1",
        "pids.max": "max",
        "cpu.weight": "42",
        "cpu.max": "10000 50000",
        "cpuset.cpus": "",
        "cpuset.mems": "1",
        "io.weight": "default 500",
        "io.max": "8:0 rbps=1 wiops=max\n8:16 rbps=2\n",
        "io.latency": "8:0 target=75",
        "memory.nothing": "1",
    }
    wanted = {
        "MemoryMin": ("t", 1 << 20),
        "MemoryLow": ("t", 2048),
        "MemoryHigh": ("t", 2**64 - 1),
        # systemd takes no 0; a byte is less than a page, and so as much.
        "MemoryMax": ("t", 1),
        "MemorySwapMax": ("t", 0),
        "MemoryZSwapMax": ("t", 5),
        "TasksMax": ("t", 2**64 - 1),
        "CPUWeight": ("t", 42),
        "CPUQuotaPeriodUSec": ("t", 50000),
        "CPUQuotaPerSecUSec": ("t", 200000),
        "AllowedCPUs": ("ay", b""),
        "AllowedMemoryNodes": ("ay", b"\x02"),
        "IOWeight": ("t", 500),
        "IOReadBandwidthMax": ("a(st)", [(properties.node("8:0"), 1), (properties.node("8:16"), 2)]),
        "IOWriteIOPSMax": ("a(st)", [(properties.node("8:0"), 2**64 - 1)]),
        "IODeviceLatencyTargetUSec": ("a(st)", [(properties.node("8:0"), 75)]),
    }
    resources = {"memory": {"limit": 5}, "unified": files}
    assert found(resources) == wanted
    assert found(resources, starting=True) == {**wanted, "OOMPolicy": ("s", "kill")}
    assert found(resources, 252, starting=True) == {
        name: value for name, value in wanted.items() if name != "MemoryZSwapMax"
    }
    for name in ("memory.max", "pids.max", "cpu.weight", "cpu.max", "io.weight", "io.max", "cpu.idle"):
        for bad in ("much", "-1", "", "\u0661", "1_0", "99999 x", "0x10", "8:0"):
            assert found({"unified": {name: bad}}) == {}, (name, bad)


@pytest.mark.parametrize(
    ("resources", "weight"),
    [
        ({"cpu": {"idle": 1}}, 0),
        ({"cpu": {"idle": 1, "shares": 1024}}, 0),
        ({"unified": {"cpu.idle": "1", "cpu.weight": "8"}}, 0),
        ({"cpu": {"shares": 1024}, "unified": {"cpu.idle": "1\n"}}, 0),
        ({"cpu": {"idle": 1, "shares": 1024}, "unified": {"cpu.idle": "0"}}, 100),
    ],
)
def test_an_idle_cgroup_has_no_weight(resources: Any, weight: int) -> None:
    assert found(resources) == {"CPUWeight": ("t", weight)}
    assert found(resources, 251) == {}
    words = [text for text in limits.warnings(resources) if "unable to apply both" in text]
    assert len(words) == (1 if weight == 0 and resources != {"cpu": {"idle": 1}} else 0)


@pytest.mark.parametrize(
    ("value", "rounded", "per_second"),
    [
        ("25000 50000", "25000 50000", 500000),
        ("12345 100000", "13000 100000", 130000),
        ("max 1000000", "max 1000000", 2**64 - 1),
        ("30000 1000000", "30000 1000000", 30000),
    ],
)
def test_quotas_are_what_systemd_keeps(value: str, rounded: str, per_second: int) -> None:
    assert properties.rounded([("cpu.max", value, "")]) == [("cpu.max", rounded, "")]
    assert found({"unified": {"cpu.max": value}})["CPUQuotaPerSecUSec"] == ("t", per_second)


def test_bfqs_weight() -> None:
    """systemd writes the weights of 1 to 10000 to BFQ's file of 1 to 1000: 100 + (weight - 100) / 11 above 100."""
    for weight in (1, 100, 101, 333, 1000):
        ((name, (_, told)),) = properties.properties([("io.bfq.weight", str(weight), "")], "", lambda: 0)
        assert name == "IOWeight" and (told if told <= 100 else 100 + (told - 100) * 900 // 9900) == weight


@pytest.mark.parametrize("text", ["0-", "-1", "1-0", "a", "1,,2", "\u0661", "1_0", "0-99999999999", "65536"])
def test_what_is_no_list_of_processors(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        found({"cpu": {"cpus": text}})
    assert caught.value.pointer == "/cpu/cpus"


def test_the_longest_list_of_processors() -> None:
    assert found({"cpu": {"cpus": "0-65535"}})["AllowedCPUs"] == ("ay", b"\xff" * 8192)


def test_device_rules_as_properties() -> None:
    """Of cgroup v1, where systemd would allow all at a daemon-reload."""
    rules: list[DeviceRule] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "b", "major": 259, "minor": 4, "access": "r"},
    ]
    found = dict(properties.device_properties({"devices": rules}))
    assert found["DevicePolicy"] == ("s", "strict")
    allowed = found["DeviceAllow"][1]
    for entry in (("char-*", "m"), ("block-*", "m"), ("/dev/char/1:3", "rwm"), ("char-136", "rwm")):
        assert entry in allowed
    assert next(letters for name, letters in allowed if name == "/dev/block/259:4").startswith("r")
    assert properties.device_properties({"devices": [{"allow": True, "access": "rwm"}]}) == []


def test_seconds() -> None:
    assert properties.annotated({"org.systemd.property.TimeoutStopSec": "7", "other": "x"}) == [
        ("TimeoutStopUSec", ("t", 7_000_000))
    ]


@pytest.mark.parametrize(
    "name",
    ("PIDs", "PIDFDs", "Slice", "Delegate", "DelegateControllers", "DeviceAllow", "DevicePolicy", "Description")
    + ("DefaultDependencies",),
)
def test_a_property_that_is_the_runtime_s_own(name: str) -> None:
    """By PIDs an annotation could put any process of the host into the scope, to be killed with it."""
    with pytest.raises(ConfigError) as caught:
        properties.annotated({f"org.systemd.property.{name}": "[uint32 1]"})
    assert f"the property {name} is the runtime's own to set" in str(caught.value)
    assert caught.value.pointer == f"/annotations/org.systemd.property.{name}"
