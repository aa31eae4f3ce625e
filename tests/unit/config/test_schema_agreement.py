"""The generated check and jsonschema give the same verdict on every config: a property test.

Configs are made from the schemas and from one that has every property, then changed in places. 20,000 in CI, 300 else;
PYRUNC_EXAMPLES sets another number. The published schema of the specification judges the same configs: where its
verdict is another, docs/schema-differences.md must say so.
"""

from __future__ import annotations

import copy
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
pytest.importorskip("jsonschema", reason="jsonschema is not installed")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from pyrunc import jsontext  # noqa: E402
from pyrunc.config import explain, rules, schema, validate  # noqa: E402
from pyrunc.errors import ConfigError  # noqa: E402
from tests.support import TOP  # noqa: E402

EVERYTHING: dict[str, Any] = json.loads((TOP / "tests/data/configs/everything.json").read_text())
BUNDLE: Any = explain.schemas()
EXAMPLES = int(os.environ.get("PYRUNC_EXAMPLES", "20000" if os.environ.get("CI") == "true" else "300"))

# Half of the examples for whole configs, a quarter for each part that is read by itself.
PARTS = {"config": EXAMPLES // 2, "process": EXAMPLES // 4, "resources": EXAMPLES // 4}


def quick(configs: int) -> settings:
    return settings(
        max_examples=max(10, -(-configs // (VARIANTS + 1))),
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


# --- configs ---------------------------------------------------------------------------------------------------------


def resolve(value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        target: Any = BUNDLE
        for name in value["$ref"][2:].split("/"):
            target = target[name]
        value = target
    return value


WORDS = sorted(
    {
        word
        for text in [json.dumps(BUNDLE)]
        for word in text.replace('"', " ").replace(",", " ").split()
        if word.isupper()
    }
)
STRINGS = [
    *("", "\n", "/", "/x", "x", "a/b", "1.0.0", "1.3.0-x", "1.3", "1.3.", "01.2.3", "٣.0.0", "2MB", "2MB\n", "02MB"),
    *("2mB", "12345GB", "2MBx", "MB:", "MB:0=1", "MB:\n", "mb:", "r", "rwm", "rwmr", "rx", "m\n", "0-3,7", "0-3\n"),
    *("a", " ", "-,", "boottime", "monotonic", "path", "é\u2028", "\0", "\x9b", "c", "u", *WORDS),
]  # fmt: skip
NUMBERS = [
    *(-(1 << 63), -(1 << 31) - 1, -(1 << 31), -1001, -1000, -21, -20, -2, -1, 0, 1, 5, 6, 7, 8, 19, 20, 100, 101, 511),
    *(1000, 1001, 65535, 65536, 999999999, 1000000000, (1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1, 1 << 32),
    *((1 << 63) - 1, 1 << 63, (1 << 64) - 1),
]


def strings_of(pattern: str) -> st.SearchStrategy[str]:
    """Strings for a pattern of ours: most match, some end in a newline."""
    return st.one_of(st.from_regex(pattern.replace("$(?!\\n)", "$")), st.sampled_from(STRINGS))


def made_from(value: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema, mostly."""
    value = resolve(value)
    kind = value.get("type")
    if "enum" in value:
        return st.sampled_from(value["enum"])
    if kind == "string":
        return (
            strings_of(value["pattern"])
            if "pattern" in value
            else st.sampled_from(STRINGS[value.get("minLength", 0) :])
        )
    if kind == "boolean":
        return st.booleans()
    if kind == "integer":
        low, high = value.get("minimum", -(1 << 63)), value.get("maximum", (1 << 64) - 1)
        return st.one_of(st.integers(low, high), st.sampled_from([low, high]))
    if kind == "array":
        return st.lists(made_from(value["items"]), min_size=value.get("minItems", 0), max_size=2)
    if "additionalProperties" in value:
        names = value["propertyNames"].get("enum", [text for text in STRINGS if text])
        return st.dictionaries(st.sampled_from(names), made_from(value["additionalProperties"]), max_size=2)
    properties = {name: made_from(item) for name, item in value["properties"].items()}
    required = list(value.get("required", ()))
    optional = sorted(properties.keys() - required)

    @st.composite
    def some(draw: st.DrawFn) -> Any:
        # Few properties at a time: drawing is what takes the time.
        names = draw(st.lists(st.sampled_from(optional), max_size=3, unique=True)) if optional else []
        return {name: draw(properties[name]) for name in required + names}

    return some()


@cache
def whole(part: str) -> st.SearchStrategy[Any]:
    """Values of a part that fit its schema, mostly: made from it, or cut out of the config that has everything."""
    inner: Any = EVERYTHING["linux"]
    cut: Any = {"config": EVERYTHING, "process": EVERYTHING["process"], "resources": inner["resources"]}[part]

    def pick(chosen: tuple[set[str], set[str]]) -> Any:
        names, below = chosen
        value = {name: item for name, item in cut.items() if name in names | {"ociVersion", "root", "cwd", "args"}}
        if part == "config" and "linux" in value:
            value["linux"] = {name: item for name, item in inner.items() if name in below}
        return value

    outer = st.sets(st.sampled_from(sorted(cut)), max_size=4)
    picked = st.tuples(outer, st.sets(st.sampled_from(sorted(inner)), max_size=4)).map(pick)
    return st.one_of(made_from({"$ref": f"#/definitions/{part}.json"}), picked)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) within a value."""
    found: list[tuple[Any, Any]] = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in list(pairs):
        found.append((value, name))
        found += places(item)
    return found


def junk(random: Random) -> Any:
    """Any JSON value, small."""
    kind = random.randrange(12)
    if kind == 0:
        return [junk(random) for _ in range(random.randrange(3))]
    if kind == 1:
        return {random.choice(STRINGS): junk(random) for _ in range(random.randrange(3))}
    if kind == 2:
        return random.randrange(-(1 << 63), 1 << 64)
    if kind == 3:
        return "".join(random.choices("/.aMB:\n\0é0-9,", k=random.randrange(5)))
    pools: list[list[Any]] = [STRINGS, NUMBERS, [None, True, False, 0.0, 1.0, 1e3, -1.0, 0.5, 1e300]]
    return random.choice(pools[kind % 3])


def bent(random: Random, old: Any) -> Any:
    """A value that is nearly the old one."""
    if isinstance(old, bool):
        return int(old)
    if isinstance(old, int):
        return random.choice([float(old), str(old), max(old - 1, -(1 << 63)), min(old + 1, (1 << 64) - 1)])
    if isinstance(old, str):
        return random.choice([old + "\n", "\n" + old, old[:-1], old + "x", old.lower(), old + old, [old]])
    if isinstance(old, list):
        return random.choice([[], old + old, {str(key): item for key, item in enumerate(old)}, old[0] if old else None])
    return random.choice([[], [old], {}, None])


def changed(random: Random, value: Any) -> Any:
    """The value, changed in one to three places."""
    value = copy.deepcopy(value)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        spots = places(value)
        if not spots:
            return junk(random)
        owner, name = random.choice(spots)
        change = random.choice(["replace", "bend", "bend", "delete", "add"])
        if change == "replace":
            owner[name] = junk(random)
        elif change == "delete":
            del owner[name]
        elif change == "add" and isinstance(owner, dict):
            owner[random.choice(STRINGS)] = junk(random)
        else:
            owner[name] = bent(random, owner[name])
    return value


VARIANTS = 4


@st.composite
def values(draw: st.DrawFn, part: str) -> list[Any]:
    """A value of a part and some changed ones, since drawing is what takes the time."""
    value = draw(whole(part))
    random = Random(draw(st.integers(0, 1 << 32)))
    return [value] + [changed(random, value) for _ in range(VARIANTS)]


# --- the two verdicts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_the_check_agrees_with_jsonschema(part: str) -> None:
    from pyrunc.config import _check

    check = getattr(_check, part)
    seen = {True: 0, False: 0}

    @quick(PARTS[part])
    @given(values(part))
    def agree(variants: list[Any]) -> None:
        for value in variants:
            try:
                check(value)
                accepted = True
            except _check.Mismatch:
                accepted = False
            assert accepted == explain.validator(part).is_valid(value), value
            seen[accepted] += 1

    agree()
    # It says something only if both verdicts are frequent.
    assert sum(seen.values()) >= PARTS[part]
    assert min(seen.values()) > sum(seen.values()) // 10, seen


def branch(path: list[Any]) -> dict[str, Any]:
    """The config that has everything, less what is beside a path: quicker to judge."""
    config = copy.deepcopy({"ociVersion": EVERYTHING["ociVersion"], path[0]: EVERYTHING[path[0]]})
    if len(path) > 1 and path[0] == "linux":
        config["linux"] = {path[1]: config["linux"][path[1]]}
    return config


def paths(value: Any) -> list[list[Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [[name, *rest] for name, item in pairs for rest in [[], *paths(item)]]


def at(value: Any, path: list[Any]) -> Any:
    for name in path:
        value = value[name]
    return value


def schema_of(path: list[Any]) -> dict[str, Any]:
    value = BUNDLE["definitions"]["config.json"]
    for name in path:
        value = resolve(value)
        value = (
            value["items"]
            if isinstance(name, int)
            else value.get("properties", {}).get(name, value.get("additionalProperties"))
        )
    return resolve(value)


@pytest.mark.parametrize("top", sorted(EVERYTHING))
def test_every_place(top: str) -> None:
    """Not left to chance: at each place of the config that has everything, each kind of value, and nothing."""
    from pyrunc.config import _check

    def verdict(config: Any) -> bool:
        try:
            _check.config(config)
        except _check.Mismatch:
            return False
        return True

    judge = explain.validator().is_valid
    for path in paths({top: EVERYTHING[top]}):
        config = branch(path)
        assert verdict(config)
        owner = at(config, path[:-1])
        rule = schema_of(path)
        for value in [
            None,
            True,
            -2,
            -1,
            0,
            1,
            6,
            8,
            1.0,
            (1 << 64) - 1,
            "",
            "x",
            "/",
            "\n",
            "/\n",
            [],
            {},
            ["x"],
            {"x": 1},
        ]:
            owner[path[-1]] = value
            assert verdict(config) == judge(config), (path, value)
        for value in rule.get("enum", []):
            owner[path[-1]] = value
            assert verdict(config), (path, value)
            owner[path[-1]] = value.swapcase()
            assert not verdict(config), (path, value)
        for value in [rule[name] + step for name in ("minimum", "maximum") if name in rule for step in (-1, 0, 1)]:
            if -(1 << 63) <= value < 1 << 64:
                owner[path[-1]] = value
                assert verdict(config) == judge(config) == (rule["minimum"] <= value <= rule.get("maximum", value)), (
                    path,
                    value,
                )
        del owner[path[-1]]
        assert verdict(config) == judge(config), path


@quick(EXAMPLES // 10)
@given(values("config"))
def test_a_rejection_is_explained(variants: list[Any]) -> None:
    """One line, that can be written, with a pointer that leads to something."""
    for value in variants:
        if not schema.accepts(value):
            explained(value)


def explained(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        schema.check(value)
    line = caught.value.line()
    assert line.isprintable()
    assert line.encode()
    assert line.startswith(caught.value.message)
    for one in explain.explain(value):
        assert one.message
        assert one.section
        target = value
        for name in one.pointer.split("/")[1:]:
            if target is not value and not isinstance(target, (dict, list)):
                break
            key = name.replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and key not in target:
                assert not key.isprintable() or "\\" in key  # Written with escapes.
                break
            target = target[int(key)] if isinstance(target, list) else target[key]


@quick(EXAMPLES // 4)
@given(values("config"))
def test_nothing_but_config_errors(variants: list[Any]) -> None:
    """Reading anything: a config, or a ConfigError of one line, and never another exception."""
    for value in variants:
        data = json.dumps(value).encode()
        try:
            read = jsontext.loads(data)
            assert read == value
            schema.check(read)
            if b"\\u0000" in data:
                rules.check_nul(read)
            rules.check(read)
            rules.warnings(read)
        except ConfigError as error:
            assert error.line().isprintable()


# --- the published schema --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> Path:
    """The folder schema/ of the specification's Go module, by the Go module proxy."""
    go = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
    if not go:
        pytest.skip("no go to fetch the published schema with")
    command = [go, "mod", "download", "-json", "github.com/opencontainers/runtime-spec@v1.3.0"]
    done = subprocess.run(
        command, cwd="/", capture_output=True, text=True, timeout=300, env={**os.environ, "GOTOOLCHAIN": "local"}
    )
    if done.returncode != 0:
        pytest.skip("the published schema cannot be fetched: " + (done.stderr.splitlines() or ["?"])[-1])
    return Path(json.loads(done.stdout)["Dir"]) / "schema"


@cache
def published_validator(folder: Path, name: str) -> Any:
    import jsonschema

    def pattern(_: Any, text: str, instance: Any, __: Any) -> Any:
        # It was written for Go, where $ is the very end.
        if isinstance(instance, str) and not re.search(text.replace("$", "\\Z"), instance):
            yield jsonschema.ValidationError("pattern")

    path = folder / name
    with warnings.catch_warnings():
        # What takes its place from 4.18 on, Debian 12's has not.
        warnings.simplefilter("ignore", DeprecationWarning)
        resolver = jsonschema.RefResolver(path.as_uri(), json.loads(path.read_text()))
    validator = jsonschema.validators.extend(jsonschema.Draft4Validator, {"pattern": pattern})
    return validator(resolver.referrer, resolver=resolver)


def differences() -> dict[str, dict[str, str]]:
    """The tables of docs/schema-differences.md, by heading: place -> reason."""
    tables: dict[str, dict[str, str]] = {}
    heading = ""
    for line in (TOP / "docs/schema-differences.md").read_text().splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif line.startswith("| `"):
            places, _, reason = line.strip("| ").partition(" | ")
            for one in places.split(", "):
                tables.setdefault(heading, {})[one.strip("`")] = reason
    return tables


def unlisted(pointers: list[str], *tables: dict[str, str]) -> list[str]:
    """The pointers that no row names."""
    rows = [row for table in tables for row in table]
    return [one for one in pointers if not any(fnmatch.fnmatchcase(one or "-", row) for row in rows)]


FILES = {"config": "config-schema.json", "state": "state-schema.json", "features": "features-schema.json"}
SAMPLES = [(kind, verdict) for kind in FILES for verdict in ("good", "bad")]


@pytest.mark.parametrize(("kind", "verdict"), SAMPLES)
def test_published_samples(kind: str, verdict: str, published: Path) -> None:
    """The specification's own good and bad documents: the same verdict, or a difference that is listed."""
    tables = differences()
    files = sorted((published / "test" / kind / verdict).iterdir())
    assert files
    for path in files:
        if kind == "config":
            found, _ = validate.problems("/nonexistent", str(path))
        else:
            try:
                found = explain.explain(jsontext.loads(path.read_bytes()), kind)
            except ConfigError:
                found = [explain.Violation("", "", "", "", "")]
        if verdict == "good":
            assert unlisted([one.pointer for one in found], tables["Stricter"], tables["Rules"]) == [], path.name
        elif not found:
            errors = published_validator(published, FILES[kind]).iter_errors(json.loads(path.read_bytes()))
            pointers = ["/" + "/".join(map(str, error.absolute_path)) for error in errors]
            assert unlisted(pointers, tables["Looser"]) == [], path.name


def test_published_schema_agrees(published: Path) -> None:
    """On generated configs: the same verdict by schema, or a difference that is listed."""
    tables = differences()
    theirs = published_validator(published, FILES["config"])

    @quick(EXAMPLES // 4)
    @given(values("config"))
    def agree(variants: list[Any]) -> None:
        for value in variants:
            ours = [one.pointer for one in explain.explain(value)]
            others = [jsontext.pointer(*error.absolute_path) for error in theirs.iter_errors(value)]
            if ours and not others:
                assert unlisted(ours, tables["Stricter"]) == []
            if others and not ours:
                assert unlisted(others, tables["Looser"]) == []

    agree()
