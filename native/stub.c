/* Stage one with libc: for what stage one without it (launch.c) could not do, which is to report a failure. */
#define _GNU_SOURCE
#include "launch.h"
#include "report.h"

#include <unistd.h>

int main(int argc, char **argv)
{
	char **to = environ;

	(void)argc;
	for (char **from = environ; *from; from++)
		if (!steers_loader(*from))
			*to++ = *from;
	*to = NULL;
	struct failure why = launch(argv, environ, NULL);
	return report(argv, why.where, why.error, NULL);
}
