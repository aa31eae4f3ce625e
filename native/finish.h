/* finish(): the container process's last steps, from the closing of descriptors to execve, as one flat C call. */
#pragma once

#include <linux/capability.h>
#include <linux/filter.h>
#include <stdbool.h>

/* Where finish() was when it failed: the byte after STAGE_FAILED in its error record, an index into pyrunc._linux.STAGES. */
enum stage { STAGE_CLOSE, STAGE_SIGNALS, STAGE_SECCOMP, STAGE_CAPSET, STAGE_LISTENER, STAGE_CLONE, STAGE_FIFO, STAGE_EXECVE, STAGE_USER };
#define STAGE_NAMES "close", "signals", "seccomp", "capset", "listener", "clone", "fifo", "execve", "user"

/* All of it lies in one block of memory, made before the clone or at least before the filter. */
struct prepared {
	char *path, **argv, **env;
	struct sock_fprog filter; /* len 0: none */
	unsigned int filter_flags;
	bool filter_first; /* load it while still privileged: there is no no_new_privs */
	bool set_caps;
	struct __user_cap_data_struct caps[2];
	struct __user_cap_data_struct cloned[2]; /* until second_clone() has come back: caps, or what little they lack */
	unsigned long long ambient;
	long long real_user; /* the real user id to take on after second_clone(), -1 when it was before */
	int keep; /* the sync socket; keep + 1 is exec.fifo, keep + 2 the error file */
	bool fifo, report, sync_open;
	bool again, terminal; /* see second_clone() */
	bool filter_cloned;   /* filter_first, but the filter forbids what second_clone() does: after that */
};

/* Everything up to and with the wait on the fifo, if there is one. Comes back only when all of it worked. */
void finish_until_fifo(struct prepared *p);
int reset_signals(void); /* all to default, none blocked; -1 and errno */
_Noreturn void finish_execve(struct prepared *p);
