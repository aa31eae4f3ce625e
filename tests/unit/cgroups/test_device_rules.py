"""Which devices rules allow, and how cgroup v1 is told so."""

import itertools
from typing import Any

import pytest

from pyrunc.cgroups import device_rules
from pyrunc.errors import ConfigError

# --- devices


@pytest.mark.parametrize(
    ("rule", "pointer", "words"),
    [
        ({"allow": True, "type": "u", "access": "r"}, "/0/type", "invalid device type 'u'"),
        ({"allow": True, "access": ""}, "/0/access", "must not be empty"),
        ({"allow": True}, "/0/access", "must not be empty"),
        ({"allow": True, "access": "rx"}, "/0/access", "invalid device access 'rx'"),
        ({"allow": True, "major": -2, "access": "r"}, "/0/major", "invalid device number -2"),
        ({"allow": True, "minor": 2**32, "access": "r"}, "/0/minor", "invalid device number 4294967296"),
    ],
)
def test_bad_device_rules(rule: Any, pointer: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        device_rules.parse([rule])
    assert caught.value.pointer == "/linux/resources/devices" + pointer


def test_an_engines_device_rules() -> None:
    """What podman writes: deny all, and the defaults after it."""
    rules = device_rules.parse([{"allow": False, "access": "rwm"}])
    assert rules == [(False, "a", -1, -1, 7)]
    default, exceptions = device_rules.reduce(rules)
    assert not default
    writes = device_rules.v1_writes(default, exceptions)
    assert writes[0] == ("devices.deny", ["a"])
    assert writes[1][0] == "devices.allow" and len(writes) == 2
    assert writes[1][1][:3] == ["c *:* m", "b *:* m", "c 1:3 rwm"]
    assert device_rules.v1_writes(*device_rules.reduce(device_rules.parse([{"allow": True, "access": "rwm"}]))) == [
        ("devices.allow", ["a"])
    ]


def test_the_last_rule_decides_each_access() -> None:
    rules = device_rules.parse(
        [
            {"allow": True, "type": "c", "major": 7, "access": "rw"},
            {"allow": False, "type": "c", "access": "w"},
            {"allow": True, "type": "c", "major": 7, "minor": 1, "access": "w"},
        ]
    )
    assert device_rules.allowed(rules, "c", 7, 1, 6)
    assert device_rules.allowed(rules, "c", 7, 0, 2)
    assert not device_rules.allowed(rules, "c", 7, 0, 6)
    assert not device_rules.allowed(rules, "b", 7, 1, 2)
    # One exception has to cover both accesses of an open for reading and writing.
    assert device_rules.reduce(rules, ()) == (False, {("c", 7, -1): 2, ("c", 7, 1): 6})


def test_a_default_rule_never_makes_a_config_invalid() -> None:
    """All but majors 10 and 136: tun and pseudo-terminals can't be excepted from that on v1, and stay denied."""
    rules = device_rules.parse(
        [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 10, "access": "rw"}]
    )
    assert device_rules.reduce(rules) == (True, {("c", 10, -1): 6})


def test_reduced_rules_mean_the_same() -> None:
    """Every list of three rules over two devices and wildcards, against the rules taken one after another."""
    patterns = [("c", 1, 1), ("c", 1, -1), ("c", -1, 1), ("c", -1, -1), ("a", -1, -1)]
    every = [(allow, *pattern, access) for allow in (True, False) for pattern in patterns for access in (2, 6)]
    asked = [(major, minor, access) for major in (1, 2) for minor in (1, 2) for access in (2, 4, 6)]
    refused = 0
    for rules in itertools.product(every, repeat=3):
        try:
            default, exceptions = device_rules.reduce(rules, ())
        except ConfigError:
            refused += 1
            continue
        for major, minor, access in asked:
            matching = [
                bits
                for (kind, ex_major, ex_minor), bits in exceptions.items()
                if kind == "c" and ex_major in (-1, major) and ex_minor in (-1, minor)
            ]
            # The kernel: an exception allows what it covers whole, and denies what it touches.
            verdict = (
                not any(bits & access for bits in matching) if default else any(access & ~b == 0 for b in matching)
            )
            assert verdict == device_rules.allowed(rules, "c", major, minor, access), rules
    assert 0 < refused < 20**3 / 2
