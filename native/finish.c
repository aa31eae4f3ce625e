/* finish(): the container process's last steps. From the filter's load on, the process lives under the container's
 * seccomp filter, so: system calls only, no allocation, no Python, nothing that libc does behind one's back. The
 * filter must allow what is called after it: capset, prctl, write, read, close, execve and exit_group; clone, setsid,
 * ioctl and setresuid where it comes before second_clone(); sendmsg where the listener cannot be fetched. */
#define _GNU_SOURCE
#include "finish.h"
#include "messages.h" /* made of pyrunc/steps/messages.py */

#include <errno.h>
#include <linux/close_range.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SIGSET_SIZE 8 /* the kernel's sigset_t: 64 signals on every architecture but mips */

static _Noreturn void leave(int status)
{
	for (;;) {
		syscall(SYS_exit_group, status);
		syscall(SYS_exit, status); /* exit_group is refused by the filter */
		__builtin_trap();          /* that too: a synchronous signal kills even a namespace's init */
	}
}

/* Report and leave: to the creator while it listens, else to the error file if there is one. */
static _Noreturn void fail(const struct prepared *p, enum stage stage, int error)
{
	unsigned char record[6] = {MESSAGE_STAGE_FAILED, (unsigned char)stage};
	uint32_t number = (uint32_t)error;
	int status = 1;

	memcpy(record + 2, &number, sizeof number);
	if (p->sync_open) {
		(void)!write(p->keep, record, sizeof record);
	} else {
		if (p->report)
			(void)!write(p->keep + 2, record, sizeof record);
		if (stage == STAGE_EXECVE)
			switch (error) {
			case ENOENT: case ENOTDIR:
				status = 127; /* as shells have it: not found */
				break;
			case EACCES: case EPERM: case ENOEXEC: case EISDIR: case ETXTBSY: case ELOOP: case ELIBBAD: case EINVAL:
				status = 126; /* found, but it cannot be run */
			}
	}
	leave(status);
}

/* The next byte; 0 and EPIPE when there is nobody left who could write one, 0 and errno for an error. */
static unsigned char take_byte(int fd)
{
	unsigned char byte = 0;
	ssize_t size;
	while ((size = read(fd, &byte, 1)) < 0 && errno == EINTR)
		;
	if (!size)
		errno = EPIPE;
	return size == 1 ? byte : 0;
}

static void close_descriptors(struct prepared *p)
{
	/* Ours are closed by execve. What is not asked for is closed now, so that nothing of the host can be reached
	 * from the filter on; a slot among ours that this call does not use may hold anything and goes too. */
	if (syscall(SYS_close_range, p->keep + 3, ~0U, 0) < 0 ||
	    syscall(SYS_close_range, p->keep, p->keep + 2, CLOSE_RANGE_CLOEXEC) < 0)
		fail(p, STAGE_CLOSE, errno);
	if (!p->fifo)
		syscall(SYS_close, p->keep + 1);
	if (!p->report)
		syscall(SYS_close, p->keep + 2);
}

int reset_signals(void)
{
	/* SIG_DFL is 0 and no flag is set, so that all zero is right whatever the order of the kernel's struct is; libc's
	 * sigaction would leave out its own two. Ignored signals stay ignored over execve: hence all of them. */
	static const char action[64];
	static const char mask[SIGSET_SIZE];

	for (int number = 1; number <= SIGSET_SIZE * 8; number++)
		if (number != SIGKILL && number != SIGSTOP &&
		    syscall(SYS_rt_sigaction, number, action, NULL, SIGSET_SIZE) < 0)
			return -1;
	return syscall(SYS_rt_sigprocmask, SIG_SETMASK, mask, NULL, SIGSET_SIZE) < 0 ? -1 : 0;
}

static void ended(int number)
{
	leave(128 + number);
}

/* A created container that is told to end ends: the first process of a pid namespace would not hear what it has no handler
 * for. Only until execve, which puts them back. */
static void exit_on_signals(void)
{
	struct sigaction action = {.sa_handler = ended};

	for (const char *number = (const char[]){SIGHUP, SIGINT, SIGQUIT, SIGTERM, 0}; *number; number++)
		sigaction(*number, &action, NULL);
}

static bool send_descriptor(int socket, void *data, size_t size, int fd)
{
	union {
		char space[CMSG_SPACE(sizeof fd)];
		struct cmsghdr head;
	} control = {.head = {CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec part = {data, size};
	struct msghdr all = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};

	memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
	return syscall(SYS_sendmsg, socket, &all, 0) == (long)size;
}

/* The listener's number goes to the creator, which takes it by pidfd_getfd and answers with one byte. Who may not trace
 * us cannot: SEND_LISTENER asks us to send the descriptor. */
static void hand_over(struct prepared *p, int listener)
{
	unsigned char message[5] = {MESSAGE_LISTENER};
	uint32_t number = (uint32_t)listener;

	memcpy(message + 1, &number, sizeof number);
	unsigned char answer = write(p->keep, message, sizeof message) == sizeof message ? take_byte(p->keep) : 0;
	if (answer == MESSAGE_SEND_LISTENER)
		answer = send_descriptor(p->keep, message, sizeof message, listener) ? take_byte(p->keep) : 0;
	if (!answer)
		fail(p, STAGE_LISTENER, errno);
	syscall(SYS_close, listener);
}

/* The listener goes out before anything else that the filter might notify. */
static void load_filter(struct prepared *p)
{
	long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, p->filter_flags, &p->filter);

	if (result < 0)
		fail(p, STAGE_SECCOMP, errno);
	if (p->filter_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)
		hand_over(p, (int)result);
	else if (result > 0) /* TSYNC without TSYNC_ESRCH: the number of a thread that could not follow */
		fail(p, STAGE_SECCOMP, ESRCH);
}

static void set_capabilities(struct prepared *p, struct __user_cap_data_struct caps[2])
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};

	if (p->set_caps && syscall(SYS_capset, &header, caps) < 0)
		fail(p, STAGE_CAPSET, errno);
}

static void raise_ambient(struct prepared *p)
{
	for (int cap = 0; cap < 64; cap++) /* one that cannot be raised is left out, as in the other runtimes */
		if (p->ambient >> cap & 1)
			syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
}

/* The process that those of a joined pid namespace see: born with no more than its program will have, or with what
 * little `cloned` has besides (steps/process/last_steps.py says when). Its creator takes it over before it goes on. A full
 * cgroup takes no new process: this one is moved out of it then, the new one in. */
static void second_clone(struct prepared *p)
{
	unsigned char message[6] = {MESSAGE_CLONED, 0, 0, 0, 0, MESSAGE_INSIDE};
	const unsigned char full = MESSAGE_FULL;
	long pid;

	while ((pid = syscall(SYS_clone, CLONE_PARENT, NULL, NULL, NULL, NULL)) < 0) {
		if (errno != EAGAIN || message[5] == MESSAGE_OUTSIDE || write(p->keep, &full, 1) != 1 || !take_byte(p->keep))
			fail(p, STAGE_CLONE, errno);
		message[5] = MESSAGE_OUTSIDE;
	}
	if (pid) {
		memcpy(message + 1, &(uint32_t){(uint32_t)pid}, sizeof(uint32_t));
		(void)!write(p->keep, message, sizeof message);
		leave(0);
	}
	if (syscall(SYS_setsid) < 0 || (p->terminal && ioctl(0, TIOCSCTTY, 0) < 0) || !take_byte(p->keep))
		fail(p, STAGE_CLONE, errno);
}

void finish_until_fifo(struct prepared *p)
{
	const uid_t user = (uid_t)p->real_user;

	close_descriptors(p);
	if (reset_signals() < 0)
		fail(p, STAGE_SIGNALS, errno);
	if (p->fifo)
		exit_on_signals();
	/* Ambient capabilities matter to nothing before execve, so they are cleared while no filter can refuse it. */
	syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (p->filter.len && p->filter_first && !p->filter_cloned)
		load_filter(p);
	if (p->again) {
		set_capabilities(p, p->cloned);
		second_clone(p);
		/* Allowed without a capability: it is the effective and the saved one already. */
		if (user != (uid_t)-1 && syscall(SYS_setresuid, user, user, user) < 0)
			fail(p, STAGE_USER, errno);
		if (p->filter.len && p->filter_cloned)
			load_filter(p);
	}
	set_capabilities(p, p->caps);
	raise_ambient(p);
	if (p->filter.len && !p->filter_first)
		load_filter(p);
	if (p->fifo) {
		if (read(p->keep + 1, NULL, 0) < 0) /* of nothing: whether the filter lets us, told while somebody listens */
			fail(p, STAGE_FIFO, errno);
		if (syscall(SYS_close, p->keep) < 0) /* end of file: the creator knows that the container is created */
			fail(p, STAGE_FIFO, errno);
		p->sync_open = false;
		if (!take_byte(p->keep + 1))
			fail(p, STAGE_FIFO, errno);
	}
}

_Noreturn void finish_execve(struct prepared *p)
{
	execve(p->path, p->argv, p->env);
	fail(p, STAGE_EXECVE, errno);
}
