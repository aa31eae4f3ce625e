/* Every failure that the launcher and stage two report themselves, before Python can: what was tried on what, and what to
 * do. A row a kind of error, the last of each failure for all others. tools/raises.py reads the rows: docs/errors.md lists
 * them, and tests/unit/catalogue/test_catalogue.py fails for a place that reports anything else. */
#pragma once

#include <errno.h>

enum where {
	STANDARD_DESCRIPTOR, PYTHON_LIBRARY, ADDRESS_SPACE, DATA_SPACE, STAGE_TWO, COPY_MADE, COPY_FILLED, COPY_SEALED, EXECUTION,
	PYTHON_START, FIRST_MODULE, COMMAND, IMAGE_START, MAKER_CALL, IMAGE_FILE
};

struct remedy {
	enum where where;
	int error; /* errno, 0 for any other */
	const char *what, *hint;
};

static const struct remedy remedies[] = {
	{STANDARD_DESCRIPTOR, 0, "open /dev/null for a closed standard descriptor",
	 "give it standard input, output and error, or the host its /dev/null: `mknod -m 666 /dev/null c 1 3`"},
	{PYTHON_LIBRARY, 0, "the Python library " LIBPYTHON,
	 "it was taken away or replaced after pyrunc was built: build and install pyrunc again"},
	{ADDRESS_SPACE, 0, "room in memory for " LIBPYTHON, "RLIMIT_AS is too low: `ulimit -v unlimited` before the call"},
	{DATA_SPACE, 0, "room in memory for Python's data", "RLIMIT_DATA is too low: `ulimit -d unlimited` before the call"},
	{STAGE_TWO, EMFILE, "open " STAGE2, "RLIMIT_NOFILE is too low: `ulimit -n 1024` before the call"},
	{STAGE_TWO, ENFILE, "open " STAGE2, "the host has too many files open: raise the sysctl fs.file-max"},
	{STAGE_TWO, EACCES, "open " STAGE2, "every folder on the way must be searchable (x) for the caller, the file readable"},
	{STAGE_TWO, 0, "open " STAGE2, "install pyrunc again"},
	{COPY_MADE, EACCES, "memfd_create for a sealed copy of the runtime",
	 "the sysctl vm.memfd_noexec is 2, which forbids programs in memory: set it to 1 or 0"},
	{COPY_MADE, 0, "memfd_create for a sealed copy of the runtime", "free some memory or files of the host; pyrunc needs Linux 5.12"},
	{COPY_FILLED, EFBIG, "copy " STAGE2 " to memory", "RLIMIT_FSIZE is too low: `ulimit -f unlimited` before the call"},
	{COPY_FILLED, 0, "copy " STAGE2 " to memory", "free some memory: of the host, or of the caller's cgroup; if the file is empty install pyrunc again"},
	{COPY_SEALED, 0, "seal the runtime's copy in memory", "pyrunc needs Linux 5.12; what else forbids it is a filter of system calls around the caller"},
	{EXECUTION, ENOMEM, "execute " STAGE2, "free some memory, or raise the caller's RLIMIT_AS and RLIMIT_STACK"},
	{EXECUTION, EACCES, "execute " STAGE2, "`chmod 755` it; its file system must not be mounted noexec"},
	{EXECUTION, 0, "execute " STAGE2, "the file is damaged, or of another machine: install pyrunc again"},
	{PYTHON_START, ENOMEM, "start Python", "free some memory, or raise the caller's RLIMIT_AS and RLIMIT_DATA"},
	{PYTHON_START, 0, "start Python", "with enough memory (RLIMIT_AS, RLIMIT_DATA) it is the installation: install Python's standard library, then pyrunc, again"},
	{FIRST_MODULE, 0, "import the launcher's first module", "with enough memory (RLIMIT_AS, RLIMIT_DATA) it is the installation: build and install pyrunc again"},
	{COMMAND, 0, "run the command", "with enough memory (RLIMIT_AS, RLIMIT_DATA) it is the installation: build and install pyrunc again"},
	{IMAGE_START, 0, "go on in the image", "free some memory, or raise the caller's RLIMIT_AS and RLIMIT_DATA; if that is not it, build and install pyrunc again"},
	{MAKER_CALL, 0, "make an image", "`make` calls it: usage: maker IMAGE COMMANDS [ORDER]"},
	{IMAGE_FILE, 0, "write the image", "look for room in the folder that the image is built in"},
};

static inline const struct remedy *remedy_of(enum where where, int error)
{
	const struct remedy *row = remedies;

	while (row->where != where || (row->error && row->error != error))
		row++;
	return row;
}
