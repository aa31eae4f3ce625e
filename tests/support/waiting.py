"""How long a test waits, and for what."""

import time
from collections.abc import Callable

#: Seconds that one call of the runtime may take: only a hang reaches it.
PATIENCE = 60.0
#: Seconds that the kernel gets to take back what a killed container had.
GRACE = 5.0


def wait_until(done: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Poll until it is so; the test fails when it never is."""
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError(f"never came true: {what}")
        time.sleep(0.01)
