"""Stage two's first module: Python's core is up, nothing else; runs the command and ends the process.

Frozen into the launcher as _pyrunc_boot, and imported by it alone. Until something is imported that is neither built in
nor frozen there are no files, no codecs and no sys.stdout: a command that engines call needs none of them.
"""

import sys

import _launcher
import posix


class _Rest:
    """The last finder: sets up the rest of Python, which then finds what is asked for by itself."""

    whole = False

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> object:
        if name == "pyrunc._linux":  # built in, where the import system expects no submodule
            return sys.modules["_frozen_importlib"].BuiltinImporter.find_spec(name)
        if not cls.whole:
            cls.whole = True
            _launcher.complete()
        if name[:7] != "pyrunc.":
            return None  # the finder of files comes after this one
        # A frozen package has no place on disk: its modules that are not frozen lie in the installed package.
        parents = name.rpartition(".")[0][6:].replace(".", "/")
        return sys.modules["_frozen_importlib_external"].PathFinder.find_spec(name, [_launcher.PACKAGE + parents])


def _run() -> int:
    try:
        from pyrunc.cli.main import main

        return main(_launcher.argv)
    except BaseException as e:  # main() lets nothing through: this is a broken installation
        text = "pyrunc: internal error: " + type(e).__name__ + ": " + str(e) + "\n"
        posix.write(2, text.encode("utf-8", "surrogateescape"))
        return 1


sys.path = [_launcher.STDLIB, _launcher.DYNLOAD, _launcher.SITE]
sys.meta_path.append(_Rest)
if _launcher.DEBUG:
    import _pyrunc_debug  # noqa: F401
_status = _run()
for _name in ("stdout", "stderr"):
    _stream = getattr(sys, _name, None)
    if _stream is not None:
        try:
            _stream.flush()
        except OSError:
            _status = _status or 1
posix._exit(_status & 255)
