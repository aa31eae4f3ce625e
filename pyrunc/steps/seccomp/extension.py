"""libseccomp's Python bindings: an extension in a file, which no image holds. Loaded when a filter is to be compiled.

Not frozen, so it imports nothing of typing, which would take longer than to compile a filter does.
"""

from pyrunc.errors import PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def load() -> "ModuleType":
    """The module `seccomp`. Raises PyruncError when it is not there."""
    try:
        import seccomp
    except ImportError as error:
        raise PyruncError(
            "libseccomp's Python bindings cannot be loaded: " + str(error),
            pointer="/linux/seccomp",
            hint="install the package python3-seccomp",
        ) from None
    # Its names are what compiler.py's tables say, more or fewer with the library's version: looked up, not typed.
    module: ModuleType = seccomp
    return module
