/* Stage one's work, which uses nothing of libc: it runs before libc is set up, and again after that if it failed. */
#pragma once

struct failure {
	const char *what, *hint;
	int error;
};

/* Whether a variable steers the dynamic loader or libc, and so must not reach a process that runs as root. */
int steers_loader(const char *variable);

/* Executes stage two. Comes back only when that failed, and says why. */
struct failure launch(char **argv, char **env);
