/* The program in sealed memory, when there is an image: maps it and goes on in it. A few kilobytes are copied for each
 * container instead of the whole, and /proc/PID/exe is no file of the host's all the same.
 *
 * No libc, and no data but the ticket, which stage one fills in. When the image cannot be mapped here (the limits of stage
 * one's process were kinder, or its place is taken) the ordinary stage two is executed, as stage one would have. */
#define _GNU_SOURCE
#include "image.h"
#include "launch.h"
#include "report.h"
#include "sys.h"

#include <stddef.h>

__attribute__((section(".ticket"), used)) volatile struct ticket ticket = {.magic = TICKET_MAGIC, .fd = -1};

__attribute__((used)) void sealed(unsigned long *stack)
{
	char **argv = (char **)(stack + 1), **env = argv + stack[0] + 1;
	unsigned long *auxiliary = after_environment(env);
	struct record record;
	int fd = (int)ticket.fd, mapped = read_record(fd, &record) && map_image(fd, &record, auxiliary, LONG);

	call(SYS_close, fd, 0, 0, 0, 0);
	if (mapped)
		enter_image(&record, stack);
	struct failure why = launch(argv, env, NULL);
	int status = report(argv, why.where, why.error, NULL);
	for (;;)
		call(SYS_exit_group, status, 0, 0, 0, 0);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall sealed\n");
#endif
