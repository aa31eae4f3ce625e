"""`import pyrunc` in another program: what it offers, what it costs, configs checked and planned by it."""

import json
import subprocess
from pathlib import Path

import pytest

import pyrunc
from pyrunc import library
from pyrunc.config import default
from tests.support import TOP
from tests.support.configs import write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with what `pyrunc spec` writes, and an empty rootfs."""
    return write_bundle(tmp_path, default.default_config())


def change(bundle: Path, section: str, **values: object) -> None:
    config = json.loads((bundle / "config.json").read_text())
    config[section].update(values)
    (bundle / "config.json").write_text(json.dumps(config))


def test_the_package_has_what_the_library_offers() -> None:
    assert sorted(pyrunc.__all__) == sorted(library.__all__)
    for name in pyrunc.__all__:
        assert getattr(pyrunc, name) is getattr(library, name)
    with pytest.raises(AttributeError, match="no attribute 'crate'"):
        _ = pyrunc.crate  # type: ignore[attr-defined]


def test_it_costs_the_launcher_nothing() -> None:
    """The launcher imports the package for every command."""
    code = f"import sys; sys.path.insert(0, {str(TOP)!r}); before = set(sys.modules); import pyrunc.errors\n"
    code += "print(*sorted(name for name in set(sys.modules) - before if name.startswith('pyrunc')))"
    argv = ["/usr/bin/python3", "-I", "-S", "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pyrunc", "pyrunc.errors"]
    assert "library" in (TOP / "native/frozen.txt").read_text()


def test_load(bundle: Path) -> None:
    config = pyrunc.load_bundle(bundle)
    assert config["ociVersion"] == "1.3.0"
    change(bundle, "process", cwd=3)
    with pytest.raises(pyrunc.ConfigError) as caught:
        pyrunc.load_bundle(bundle)
    assert caught.value.pointer == "/process/cwd"
    with pytest.raises(pyrunc.ConfigError, match="not found"):
        pyrunc.load_bundle(bundle, bundle / "other.json")


def test_validate(bundle: Path) -> None:
    verdict = pyrunc.validate_bundle(bundle)
    assert verdict.valid and verdict.problems == []
    change(bundle, "process", cwd=3, args="sh")
    verdict = pyrunc.validate_bundle(bundle)
    assert not verdict.valid
    assert {one.pointer for one in verdict.problems} == {"/process/cwd", "/process/args"}
    assert all(one.section for one in verdict.problems)


def test_plan(bundle: Path, tmp_path: Path) -> None:
    before = Path.cwd()
    plan = pyrunc.plan_bundle(bundle, root=str(tmp_path / "state"))
    assert [step.name for step in plan.steps][-1] == "process"
    assert any(step.pointer == "/mounts/0" for step in plan.steps)
    assert all(step.describe() for step in plan.steps)
    assert Path.cwd() == before
    assert not (tmp_path / "state").exists()


def test_a_store_without_containers(tmp_path: Path) -> None:
    assert pyrunc.Store(str(tmp_path)).list() == []
    with pytest.raises(pyrunc.StateError, match="does not exist"):
        pyrunc.Store(str(tmp_path)).load("nobody")


def test_no_launcher(bundle: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pyrunc.Runtime(program="/nonexistent/pyrunc", root=bundle / "state").create("box", bundle)


def test_errors_come_apart_again() -> None:
    """What the launcher logs of an error is the error again."""
    for error in (
        pyrunc.PyruncError("mount proc: denied", step="mount", pointer="/mounts/0", errno=1, hint="be root"),
        pyrunc.PyruncError("odd (very)", pointer="/cwd", file="process.json"),
        pyrunc.PyruncError("plain"),
    ):
        names = ("step", "pointer", "errno", "hint")
        record = {name: getattr(error, name) for name in names if getattr(error, name) is not None}
        again = library._error({"level": "error", "msg": error.line(), **record})
        assert again.line() == error.line()
        assert [getattr(again, name) for name in (*names, "message", "file")] == [
            getattr(error, name) for name in (*names, "message", "file")
        ]


def test_every_error_says_what_to_do(bundle: Path, tmp_path: Path) -> None:
    """As the command's lines do, also of what is raised in the caller's process."""
    with pytest.raises(pyrunc.StateError) as caught:
        pyrunc.Store(str(tmp_path / "state")).load("box")
    assert caught.value.container == "box"
    assert "container does not exist (container box): hint: " in caught.value.line()
    with pytest.raises(pyrunc.PyruncError) as wrong:
        pyrunc.load_bundle(bundle, bundle / "confg.json")
    assert wrong.value.hint and "did you mean config.json?" in wrong.value.hint
    change(bundle, "process", cwd="tmp")
    with pytest.raises(pyrunc.ConfigError) as config:
        pyrunc.plan_bundle(bundle, root=str(tmp_path / "state"))
    assert (config.value.pointer, config.value.hint) == (
        "/process/cwd",
        pyrunc.validate_bundle(bundle).problems[0].hint,
    )
    assert config.value.hint and "begins with /" in config.value.hint
    with pytest.raises(pyrunc.PyruncError) as ended:
        pyrunc.Runtime(program="/bin/false", root=tmp_path).start("box")
    assert "ended with status 1: hint: " in ended.value.line()
