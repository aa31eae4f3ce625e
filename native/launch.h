/* Stage one's work, which uses nothing of libc: it runs before libc is set up, and again after that if it failed. */
#pragma once

#include "failures.h"

struct failure {
	enum where where;
	int error; /* errno */
};

/* Whether a variable steers the dynamic loader or libc, and so must not reach a process that runs as root. */
int steers_loader(const char *variable);

/* The auxiliary vector of an environment that is where the kernel has put it. */
unsigned long *after_environment(char **env);

/* A file in memory for a program, and its sealing: nobody changes it any more. Below 0 it is -errno. */
long memory_file(void);
long seal(long file);

/* Executes stage two, or goes on in the image if there is one and stack is where the kernel has put argc; NULL for no
 * image. Comes back only when that failed, and says why. */
struct failure launch(char **argv, char **env, unsigned long *stack);

/* Goes on in the image (enter.c). sealed: by way of a sealed program in memory. Comes back when it can't. */
void try_image(char **argv, char **env, unsigned long *stack, int sealed);
