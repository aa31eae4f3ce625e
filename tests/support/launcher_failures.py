"""What fails before Python runs, as data: how each row of native/failures.h is caused, or why nobody can."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """How a failure is caused.

    row: of the table. prepare: shell, before the call; BUILD, FOLDER, LIBRARY and STDLIB stand for what they are. hint:
    words of the remedy. words: the command line. program: setpriv for another user's call.
    """

    row: tuple[str, str]
    prepare: str
    hint: str
    words: tuple[str, ...] = ("state", "box")
    program: str = "pyrunc"
    #: Whether the log can be written.
    log: bool = True


EXEC = ("exec", "box", "true")

REPLACED = "{ chmod 755 FOLDER/other; mount --bind FOLDER/other BUILD/stage2; }"

CAUSES = [
    Cause(("STANDARD_DESCRIPTOR", ""), "mount -t tmpfs none /dev && exec <&-", "mknod -m 666 /dev/null c 1 3"),
    Cause(("PYTHON_LIBRARY", ""), "mount -t tmpfs none LIBRARY", "build and install pyrunc again"),
    Cause(("ADDRESS_SPACE", ""), "ulimit -v 8000", "ulimit -v unlimited"),
    # Of the program in sealed memory, which has no libc at all.
    Cause(("ADDRESS_SPACE", ""), "ulimit -v 8000", "ulimit -v unlimited", EXEC),
    Cause(("DATA_SPACE", ""), "ulimit -d 1000", "ulimit -d unlimited", EXEC),
    Cause(("STAGE_TWO", "EMFILE"), "ulimit -n 3", "ulimit -n 1024"),
    Cause(
        ("STAGE_TWO", "EACCES"),
        "touch FOLDER/other && chmod 600 FOLDER/other && mount --bind FOLDER/other BUILD/stage2",
        "searchable (x)",
        program="setpriv",
        log=False,
    ),
    Cause(("STAGE_TWO", ""), "mount -t tmpfs none BUILD", "install pyrunc again"),
    Cause(("COPY_FILLED", "EFBIG"), "ulimit -f 0", "ulimit -f unlimited", EXEC, log=False),
    Cause(("COPY_FILLED", ""), f"touch FOLDER/other && {REPLACED}", "if the file is empty", EXEC),
    Cause(("EXECUTION", ""), f"echo no program > FOLDER/other && {REPLACED}", "install pyrunc again"),
    Cause(("EXECUTION", ""), f"echo no program > FOLDER/other && {REPLACED}", "install pyrunc again", EXEC),
    Cause(
        ("EXECUTION", "EACCES"),
        "cp BUILD/stage2 FOLDER/two && chmod 644 FOLDER/two && mount --bind FOLDER/two BUILD/stage2",
        "chmod 755",
    ),
    Cause(
        ("COPY_MADE", "EACCES"),
        "mount -t proc proc /proc && echo 2 > /proc/sys/vm/memfd_noexec",
        "vm.memfd_noexec",
        EXEC,
    ),
]

#: Rows that no user can cause alone, and why.
NOT_CAUSED = {
    ("STAGE_TWO", "ENFILE"): "the whole host would have to run out of files",
    ("COPY_MADE", ""): "the whole host would have to run out of memory",
    ("COPY_SEALED", ""): "only a filter around the caller forbids it",
    ("EXECUTION", "ENOMEM"): "the whole host would have to run out of memory",
    ("PYTHON_START", "ENOMEM"): "stage one has seen that there is room",
    ("PYTHON_START", ""): "with Python 3.14 alone, whose start reads files: below, of all versions",
    ("FIRST_MODULE", ""): "it is in the program itself",
    ("COMMAND", ""): "main() tells all errors: what comes here is a defect",
    ("IMAGE_START", ""): "the memory that it takes is mapped with the image",
    ("MAKER_CALL", ""): "of the build, not of a user",
    ("IMAGE_FILE", ""): "of the build, not of a user",
}
