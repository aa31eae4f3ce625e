/* Stage one's way into the image: judges its file, and maps it or has the sealed program map it. Nothing of libc.
 *
 * Whatever does not fit means that the image is not used: no file, another's file, one that others may write to, one that
 * was cut short, one of another build, one that was linked with another libpython or libc than is installed now. */
#define _GNU_SOURCE
#include "image.h"
#include "launch.h"
#include "sys.h"

#include <fcntl.h>
#include <sys/stat.h>

/* The program that native/sealed.c is. */
extern const char sealed_start[], sealed_end[];
__asm__(".section .rodata\n.balign 16\nsealed_start:\n.incbin \"" SEALED "\"\n.balign 8\nsealed_end:\n.previous\n");

/* Root's, and nobody else may write to it: who can write to it could be root with the next command. */
static int is_trusted(int fd)
{
	struct stat status;
	return call(SYS_fstat, fd, (long)&status, 0, 0, 0) == 0 && S_ISREG(status.st_mode) && status.st_uid == 0 &&
	       !(status.st_mode & (S_IWGRP | S_IWOTH));
}

static int is_unchanged(const char *path, const struct file_facts *known)
{
	struct stat now;
	return call(SYS_newfstatat, AT_FDCWD, (long)path, (long)&now, 0, 0) == 0 && now.st_size == known->size &&
	       now.st_mtim.tv_sec == known->seconds && now.st_mtim.tv_nsec == known->nanoseconds;
}

/* Where the ticket is in the sealed program. */
static long ticket_at(void)
{
	long at = 0, size = sealed_end - sealed_start;
	while (at < size && *(const unsigned long *)(sealed_start + at) != TICKET_MAGIC)
		at += 8;
	return at;
}

static void execute_sealed(int image, char **argv, char **env)
{
	const long size = sealed_end - sealed_start, copy = memory_file();
	const struct ticket ticket = {TICKET_MAGIC, image};

	if (copy < 0)
		return;
	if (call(SYS_write, copy, (long)sealed_start, size, 0, 0) == size &&
	    call(SYS_pwrite64, copy, (long)&ticket, sizeof ticket, ticket_at(), 0) == sizeof ticket &&
	    seal(copy) == 0 && call(SYS_fcntl, image, F_SETFD, 0, 0, 0) == 0)
		call(SYS_execveat, copy, (long)"", (long)argv, (long)env, AT_EMPTY_PATH);
	call(SYS_close, copy, 0, 0, 0, 0);
}

void try_image(char **argv, char **env, unsigned long *stack, int sealed)
{
	struct record record;
	int fd = (int)call(SYS_openat, AT_FDCWD, (long)IMAGE_PATH, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0, 0);

	if (fd < 0)
		return;
	if (is_trusted(fd) && read_record(fd, &record) && is_unchanged(LIBPYTHON, &record.libpython) &&
	    is_unchanged(LIBC, &record.libc) && is_unchanged(STAGE2, &record.stage2)) {
		if (sealed)
			execute_sealed(fd, argv, env);
		else if (map_image(fd, &record, after_environment(env), SHORT)) {
			call(SYS_close, fd, 0, 0, 0, 0);
			enter_image(&record, stack);
		}
	}
	call(SYS_close, fd, 0, 0, 0, 0);
}
