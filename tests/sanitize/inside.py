"""What runs under the sanitizers: puts the extensions that they watch in the place of pyrunc's, then the part's work.

python3 -m tests.sanitize.inside unit PYTEST-WORD...
python3 -m tests.sanitize.inside fuzz CALLS [SEED]
"""

import importlib.util
import sys
import sysconfig

from .__main__ import FOLDER


def take_place(name: str) -> None:
    """Have `import pyrunc.NAME` give the extension in build/sanitize."""
    place = FOLDER / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    spec = importlib.util.spec_from_file_location(f"pyrunc.{name}", place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[f"pyrunc.{name}"] = module
    import pyrunc

    vars(pyrunc)[name] = module


def main() -> int:
    for name in ("_linux", "_json"):
        take_place(name)
    part, words = sys.argv[1], sys.argv[2:]
    if part == "fuzz":
        from . import fuzz

        return fuzz.run(int(words[0]), int(words[1]) if words[1:] and words[1] else None)
    import pytest

    return int(pytest.main(["-p", "no:cacheprovider", *words]))


if __name__ == "__main__":
    sys.exit(main())
