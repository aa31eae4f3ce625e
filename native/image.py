"""The maker's own module: imports whatever a hot command may import, and leaves no garbage behind.

Frozen as _pyrunc_image. What it imports is in the image; all else is done by the ordinary stage two (boot.py). A file
of commands (tools/training.py), which may be empty, is run first, in its own process: what Python learns of them is
then in the image, and no command has to learn it anew and to copy the pages that are written for it.
"""

import _imp
import gc
import posix

import _launcher  # type: ignore[import-not-found]

for _name in sorted(_imp._frozen_module_names()):  # type: ignore[attr-defined]
    if _name[:7] == "pyrunc.":
        __import__(_name)


def _train(path: str) -> None:
    from pyrunc import log
    from pyrunc.cli.main import main
    from pyrunc.linux import files

    kept = [posix.dup(fd) for fd in (0, 1, 2)]
    null = posix.open("/dev/null", posix.O_RDWR)
    for fd in (0, 1, 2):
        posix.dup2(null, fd)
    failed = ""
    for line in files.read(path).decode().splitlines():
        status = main(line.split("\t"))
        if status:
            failed += line + ": exit status " + str(status) + "\n"
        gc.unfreeze()  # create and exec freeze all that there is
        gc.collect()
    for fd in (0, 1, 2):
        posix.dup2(kept[fd], fd)
    log.setup("")
    if failed:
        raise SystemExit("training: " + failed)


_train(_launcher.argv[2])
del _train

gc.collect()
gc.disable()
gc.freeze()  # a collection would write to every object
