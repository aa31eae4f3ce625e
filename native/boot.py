"""Stage two's first module: Python's core is up, nothing else; runs the command and ends the process.

In the maker of an image it imports all that is hot instead, and run() is called in each process that starts from it.

Frozen into the launcher as _pyrunc_boot, and imported by it alone. Until something is imported that is neither built in
nor frozen there are no files, no codecs and no sys.stdout: a command that engines call needs none of them.
"""

from __future__ import annotations

import _imp
import builtins
import posix
import sys
from typing import NoReturn

import _launcher  # type: ignore[import-not-found]


class _Rest:
    """The last finder: sets up the rest of Python, which then finds what is asked for by itself."""

    whole = False

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> object:
        if name in ("pyrunc._linux", "pyrunc._json"):  # built in, where the import system expects no submodule
            return sys.modules["_frozen_importlib"].BuiltinImporter.find_spec(name)
        if _launcher.IMAGE:
            if name[:7] == "pyrunc.":
                # What is not in the image is asked for before anything was done (tests/unit/tools/test_image.py).
                cls._go_on()
            return None
        if not cls.whole:
            cls.whole = True
            _launcher.complete()
        if name[:7] != "pyrunc.":
            return None  # the finder of files comes after this one
        # A frozen package has no place on disk: its modules that are not frozen lie in the installed package.
        parents = name.rpartition(".")[0][6:].replace(".", "/")
        return sys.modules["_frozen_importlib_external"].PathFinder.find_spec(name, [_launcher.PACKAGE + parents])

    @staticmethod
    def _go_on() -> NoReturn:
        """In the ordinary stage two. Raises PyruncError when that cannot be started."""
        from pyrunc.errors import PyruncError

        what, number, hint = _launcher.ordinary()
        raise PyruncError(what + ": " + posix.strerror(number).lower(), errno=number, hint=hint)


def _import(
    name: str, globals: object = None, locals: object = None, fromlist: tuple[str, ...] | None = (), level: int = 0
) -> object:
    """__import__ that loads our frozen modules by itself: specs, locks and finders cost more than the modules do."""
    if name[:6] == "pyrunc":
        _load(name)
        if fromlist and _imp.is_frozen(name) and _imp.is_frozen_package(name):
            for child in fromlist:
                _load(name + "." + child)
    return _original(name, globals, locals, fromlist, level)  # type: ignore[arg-type]


def _load(name: str) -> None:
    """Run a frozen module of ours, after its parents; leave all others to the import system."""
    if name in sys.modules or not _imp.is_frozen(name):
        return
    parent, _, child = name.rpartition(".")
    if parent:
        _load(parent)
    module = type(sys)(name)
    if _imp.is_frozen_package(name):
        module.__path__ = []
    sys.modules[name] = module
    try:
        exec(_imp.get_frozen_object(name), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    if parent:
        setattr(sys.modules[parent], child, module)


def run(argv: list[str]) -> NoReturn:
    """The command, and the end of the process."""
    try:
        if argv == [_launcher.JOB]:
            from pyrunc.steps.seccomp.job import main as job

            status = job()
        else:
            from pyrunc.cli.main import main

            status = main(argv)
    except BaseException as e:  # main() lets nothing through: this is a broken installation
        status = _launcher.fail(type(e).__name__ + ": " + ascii(str(e)))
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        if stream is not None:
            try:
                stream.flush()
            except OSError:
                status = status or 1
    posix._exit(status & 255)


_original = builtins.__import__
builtins.__import__ = _import  # type: ignore[assignment]
sys.path = [_launcher.STDLIB, _launcher.DYNLOAD, _launcher.SITE]
sys.meta_path.append(_Rest)  # type: ignore[arg-type]
if _launcher.DEBUG:
    import _pyrunc_debug  # type: ignore[import-not-found]  # noqa: F401
if _launcher.IMAGE:
    import _pyrunc_image  # type: ignore[import-not-found]  # noqa: F401

    builtins.__import__ = _original  # nothing is left to load
else:
    run(_launcher.argv)
