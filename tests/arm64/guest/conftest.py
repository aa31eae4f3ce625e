"""The tests of this folder run in the arm64 machine, where PYRUNC_VM is set; tests/arm64/__main__.py starts it."""

import os

collect_ignore_glob = [] if os.environ.get("PYRUNC_VM") else ["test_*.py"]
