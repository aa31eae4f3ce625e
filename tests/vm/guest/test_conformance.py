"""runtime-tools' suite on cgroup v2: pyrunc beside Debian's runc and crun; the table is in build/vm/conformance.txt.

What is not run here, and why, stands in tests/conformance/left-out-v2.txt. Emulation is slow: a program takes seconds.
So a selection is run, by pyrunc, and the peers' results are those of peers-v2.json;
`make test-vm PYRUNC_PEERS=live PYTEST_ARGS="-k conformance"` runs everything by all three, and leaves a new
peers-v2.json in build/vm.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance import records
from tests.conformance.suite import Verdict, execute, furnish
from tests.support.processes import command
from tests.support.waiting import wait_until

from .support import RESULTS, RUNTIMES, TOP

#: Where the host's test has put it.
SUITE = Path("/job/suite")
LIVE = os.environ.get("PYRUNC_PEERS") == "live"
NAMES = records.names_v2(quick=not LIVE)
#: The profile that a program asks for.
PROFILE = "profile acme_secure_profile flags=(attach_disconnected) { file, capability, mount, signal, unix, network, }"


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    file = tmp_path_factory.mktemp("profile") / "profile"
    file.write_text(f"abi <abi/3.0>,\n{PROFILE}\n")
    command("apparmor_parser", "--replace", "--skip-cache", str(file))
    yield
    command("apparmor_parser", "--remove", str(file))


@pytest.fixture(scope="module")
def found(profile: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """What each program says of pyrunc; the table of all is written."""
    if not SUITE.exists():
        pytest.skip("runtime-tools' suite could not be built")
    runtimes = RUNTIMES if LIVE else {"pyrunc": RUNTIMES["pyrunc"]}
    works = {title: tmp_path_factory.mktemp(title) for title in runtimes}

    def column(title: str) -> dict[str, Verdict]:
        furnish(SUITE, works[title])
        return {name: _run(name, Path(runtimes[title]), works[title]) for name in NAMES}

    # At the same time: most of a program's time is waiting.
    with ThreadPoolExecutor(len(runtimes)) as pool:
        columns = dict(zip(runtimes, pool.map(column, runtimes), strict=True))
    _remove_cgroups()
    passed = {title: {name: each.passed for name, each in verdicts.items()} for title, verdicts in columns.items()}
    ours = passed.pop("pyrunc")
    RESULTS.mkdir(exist_ok=True)
    if LIVE:
        titles = {name: f"{name} {records.version_of(RUNTIMES[name])}" for name in passed}
        records.write({titles[name]: each for name, each in passed.items()}, RESULTS / records.PEERS_V2.name)
        passed = {titles[name]: each for name, each in passed.items()}
    else:
        passed = records.peers(records.PEERS_V2)
    complaints = [
        f"{title}: {name}: {each.complaint}"
        for title, verdicts in columns.items()
        for name, each in verdicts.items()
        if not each.passed
    ]
    (RESULTS / "conformance.txt").write_text(_table({"pyrunc": ours, **passed}) + "\n".join(complaints) + "\n")
    return columns["pyrunc"]


def _run(name: str, runtime: Path, work: Path) -> Verdict:
    found = execute(SUITE / "validation" / name, runtime, work, cgroups="v2", patience=300)
    for _ in range(3 if name in records.RACES else 0):
        if not found.passed:
            found = execute(SUITE / "validation" / name, runtime, work, cgroups="v2", patience=300)
    return found


def _remove_cgroups() -> None:
    """Those of containers that a program did not delete: they are called after their ID, a UUID, wherever they are."""
    pattern = "-".join("[0-9a-f]" * count for count in (8, 4, 4, 4, 12))

    def gone() -> bool:
        for folder in sorted(TOP.rglob(pattern), reverse=True):
            try:
                folder.rmdir()
            except OSError:
                return False
        return True

    wait_until(gone, "the suite's cgroups are empty")


def _table(columns: dict[str, dict[str, bool]]) -> str:
    word = {True: "ok", False: "-"}
    lines = ["test".ljust(34) + "".join(title.ljust(15) for title in columns)]
    for name in NAMES:
        lines.append((name.ljust(34) + "".join(word[each[name]].ljust(15) for each in columns.values())).rstrip())
    counts = [str(sum(each[name] for name in NAMES)) for each in columns.values()]
    lines.append("passed".ljust(34) + "".join(count.ljust(15) for count in counts) + f"of {len(NAMES)}")
    lines += ["", *(f"{name} is not run: {why}" for name, why in records.left_out_v2().items()), ""]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_runtime_tools(name: str, found: dict[str, Verdict]) -> None:
    """What runc or crun passes pyrunc passes; and nothing that is run here fails for another reason."""
    assert found[name].passed, f"{found[name].complaint}\n{found[name].output}"
