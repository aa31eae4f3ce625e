/* Stage one: a static program that starts stage two in a world it can trust. Descriptors 0 to 2 are open, nothing in
 * the environment steers the dynamic loader, and for a command that enters a container the program is a sealed copy
 * in memory, so that /proc/PID/exe seen from there is no file of the host (CVE-2019-5736). */
#define _GNU_SOURCE
#include "report.h"

#include <linux/memfd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3; the same on every architecture */
#endif

extern char **environ;

/* A descriptor of the host that takes the place of a standard one would be written to, and inherited. */
static void open_standard(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			_exit(1);
}

/* The dynamic loader's variables could put other code into a process that runs as root. */
static void clean_environment(void)
{
	char **to = environ;

	for (char **from = environ; *from; from++)
		if (strncmp(*from, "LD_", 3) && strncmp(*from, "GLIBC_TUNABLES=", 15) && strncmp(*from, "GCONV_PATH=", 11))
			*to++ = *from;
	*to = NULL;
}

/* A word too many costs a millisecond; one too few would leave the host's file open to the container. */
static bool enters_container(char **argv)
{
	static const char *const commands[] = {"create", "run", "exec", "restore"};

	for (int i = 1; argv[0] && argv[i]; i++)
		for (size_t k = 0; k < sizeof commands / sizeof *commands; k++)
			if (!strcmp(argv[i], commands[k]))
				return true;
	return false;
}

/* A sealed copy of file in memory; -1, with the failure reported. */
static int sealed_copy(int file, char **argv)
{
	const unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	struct stat facts;
	off_t done = 0;
	ssize_t size;

	int copy = memfd_create("pyrunc", flags | MFD_EXEC);
	if (copy < 0 && errno == EINVAL) /* before Linux 6.3 every memfd may be executed */
		copy = memfd_create("pyrunc", flags);
	if (copy < 0) {
		int error = errno;
		report(argv, "memfd_create for a sealed copy of the runtime", error,
		       error == EACCES ? "the sysctl vm.memfd_noexec is 2, which forbids programs in memory: set it to 1 or 0" : "");
		return -1;
	}
	if (fstat(file, &facts) == 0)
		while (done < facts.st_size && (size = sendfile(copy, file, NULL, (size_t)(facts.st_size - done))) > 0)
			done += size;
	if (done == 0 || done != facts.st_size ||
	    fcntl(copy, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0) {
		report(argv, "copy " STAGE2 " to memory", errno ? errno : EIO, "");
		return -1;
	}
	return copy;
}

int main(int argc, char **argv)
{
	(void)argc;
	open_standard();
	clean_environment();
	if (access(LIBPYTHON, R_OK) < 0)
		return report(argv, "the Python library " LIBPYTHON, errno, "build and install pyrunc again after an upgrade of Python");
	int file = open(STAGE2, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return report(argv, "open " STAGE2, errno, "install pyrunc again");
	errno = 0;
	if (enters_container(argv) && (file = sealed_copy(file, argv)) < 0)
		return 1;
	syscall(SYS_execveat, file, "", argv, environ, AT_EMPTY_PATH);
	return report(argv, "execute " STAGE2, errno, "");
}
