/* Stage one: starts stage two in a world it can trust. Descriptors 0 to 2 are open, and for a command that enters a
 * container the program is a sealed copy in memory, so that /proc/PID/exe seen from there is no file of the host
 * (CVE-2019-5736).
 *
 * It is the program's entry, before libc's: setting up libc costs some 0.4 ms in a virtual machine (each cpuid is a
 * trap) and none of it is needed to execute another program. So nothing of libc may be called here, and the compiler
 * must not put such calls in: see the Makefile's flags. If anything fails, libc starts after all, main() tries once
 * more and reports. On other architectures than the two below only main() does the work.
 *
 * With IMAGE_PATH defined the image is tried first (enter.c); whatever is wrong with it, stage two does the work. The image and
 * the program in sealed memory have this file linked in as well, for the same end. */
#define _GNU_SOURCE
#include "launch.h"
#include "sys.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3; the same on every architecture */
#endif

/* What the loader maps for stage two beside libpython, and what it and Python's start write to. */
enum { OTHER_LIBRARIES = 8 << 20, LEAST_DATA = 4 << 20 };

static int starts_with(const char *text, const char *start)
{
	while (*start && *text == *start)
		text++, start++;
	return !*start;
}

int steers_loader(const char *variable)
{
	return starts_with(variable, "LD_") || starts_with(variable, "GLIBC_TUNABLES") || starts_with(variable, "GCONV_PATH");
}

/* A word too many costs half a millisecond; one too few would leave the host's file open to the container. */
static int enters_container(char **argv)
{
	static const char commands[4][8] = {"create", "run", "exec", "restore"};

	for (int i = 1; argv[0] && argv[i]; i++)
		for (int k = 0; k < 4; k++) {
			int length = 0;
			while (commands[k][length])
				length++;
			if (starts_with(argv[i], commands[k]) && !argv[i][length])
				return 1;
		}
	return 0;
}

static struct failure failure(enum where where, long result)
{
	return (struct failure){where, result < 0 ? (int)-result : EIO};
}

long memory_file(void)
{
	const long flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	long file = call(SYS_memfd_create, (long)"pyrunc", flags | MFD_EXEC, 0, 0, 0);

	if (file == -EINVAL) /* before Linux 6.3 every memfd may be executed */
		file = call(SYS_memfd_create, (long)"pyrunc", flags, 0, 0, 0);
	return file;
}

long seal(long file)
{
	return call(SYS_fcntl, file, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, 0, 0);
}

/* Elsewhere mmap's arguments may be others; and an image, which takes room itself, is gone when stage two is there. */
#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(FROM_IMAGE)
/* Whether so much can be mapped: what the loader finds no room for it tells by itself, past --log, and with status 127. */
static long has_room(long size, long protection)
{
	long at = call6(SYS_mmap, 0, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at < 0 && at > -4096)
		return at;
	return call(SYS_munmap, at, size, 0, 0, 0);
}

static struct failure room_for_python(void)
{
	struct stat library;
	long result;

	if ((result = call(SYS_newfstatat, AT_FDCWD, (long)LIBPYTHON, (long)&library, 0, 0)) < 0)
		return failure(PYTHON_LIBRARY, result);
	if ((result = has_room(library.st_size + OTHER_LIBRARIES, PROT_NONE)) < 0)
		return failure(ADDRESS_SPACE, result);
	if ((result = has_room(LEAST_DATA, PROT_READ | PROT_WRITE)) < 0)
		return failure(DATA_SPACE, result);
	return (struct failure){EXECUTION, 0};
}
#else
static struct failure room_for_python(void)
{
	return (struct failure){EXECUTION, 0};
}
#endif

/* Stage two as a sealed file in memory. */
static struct failure copy(long *file)
{
	long to = memory_file(), result, copied = 0;

	if (to < 0)
		return failure(COPY_MADE, to);
	while ((result = call(SYS_sendfile, to, *file, 0, 1 << 30, 0)) > 0)
		copied += result;
	if (result < 0 || !copied)
		return failure(COPY_FILLED, result);
	if ((result = seal(to)) < 0)
		return failure(COPY_SEALED, result);
	*file = to;
	return (struct failure){EXECUTION, 0};
}

struct failure launch(char **argv, char **env, unsigned long *stack)
{
	static const long ignore[8] = {(long)SIG_IGN};
	long result, file;

	/* A write beyond the caller's RLIMIT_FSIZE is an error, here and in stage two, which inherits it; it ended us else.
	 * Whatever other program is executed has reset_signals(). */
	call(SYS_rt_sigaction, SIGXFSZ, (long)ignore, 0, 8, 0);
	/* A descriptor of ours that took the place of a standard one would be written to, and inherited. */
	for (long fd = 0; fd <= 2; fd++)
		if (call(SYS_fcntl, fd, F_GETFD, 0, 0, 0) < 0 &&
		    (result = call(SYS_openat, AT_FDCWD, (long)"/dev/null", O_RDWR, 0, 0)) != fd)
			return failure(STANDARD_DESCRIPTOR, result);
#ifdef IMAGE_PATH
	if (stack)
		try_image(argv, env, stack, enters_container(argv));
#endif
	if ((result = call(SYS_faccessat, AT_FDCWD, (long)LIBPYTHON, R_OK, 0, 0)) < 0)
		return failure(PYTHON_LIBRARY, result);
	struct failure room = room_for_python();
	if (room.error)
		return room;
	if ((file = call(SYS_openat, AT_FDCWD, (long)STAGE2, O_RDONLY | O_CLOEXEC, 0, 0)) < 0)
		return failure(STAGE_TWO, file);
	if (enters_container(argv)) {
		struct failure why = copy(&file);
		if (why.error)
			return why;
	}
	result = call(SYS_execveat, file, (long)"", (long)argv, (long)env, AT_EMPTY_PATH);
	return failure(EXECUTION, result);
}

unsigned long *after_environment(char **env)
{
	while (*env)
		env++;
	return (unsigned long *)(env + 1);
}

/* What steers a loader reaches neither us nor a hook. The auxiliary vector is found behind the environment's NULL. */
static void clean(char **env)
{
	unsigned long *from = after_environment(env), *to;
	char **kept = env;

	for (char **variable = env; *variable; variable++)
		if (!steers_loader(*variable))
			*kept++ = *variable;
	*kept = NULL;
	if ((to = (unsigned long *)(kept + 1)) == from)
		return;
	do {
		to[0] = from[0];
		to[1] = from[1];
		from += 2, to += 2;
	} while (to[-2] != AT_NULL);
}

/* The stack as the kernel lays it out: argc, argv, NULL, env, NULL, auxiliary vector. */
void before_libc(unsigned long *stack)
{
	char **argv = (char **)(stack + 1), **env = argv + stack[0] + 1;

	clean(env);
	launch(argv, env, stack);
}

/* The entry: what is left in place goes to libc's own entry untouched. */
#if defined(__x86_64__)
__asm__(".globl stage1\nstage1:\n\txor %ebp, %ebp\n\tmov %rsp, %rbx\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall before_libc\n"
	"\tmov %rbx, %rsp\n\txor %edx, %edx\n\tjmp _start\n");
#elif defined(__aarch64__)
__asm__(".globl stage1\nstage1:\n\tmov x19, sp\n\tmov x0, sp\n\tbl before_libc\n\tmov x0, #0\n\tb _start\n");
#else
__asm__(".globl stage1\n.set stage1, _start\n");
#endif
