/* The one line on stderr, and in --log, for what fails before Python runs. Shared by both stages. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Whether text is the flag's name, at its end or before a value. */
static int names(const char *text, const char *flag)
{
	size_t size = strlen(flag);

	return !strncmp(text, flag, size) && (text[size] == '\0' || text[size] == '=');
}

static int is_one_of(const char *text, const char *const *flags)
{
	while (*flags && !names(text, *flags))
		flags++;
	return *flags != NULL;
}

/* The value of --log, NULL without one. Read as the command line is (cli/parse.py): the global flags end at the command,
 * whose own words may be anybody's, a flag's value is no flag, and a line that cannot be read has no log. */
static const char *log_path(char **argv)
{
	static const char *const switches[] = {"debug", "systemd-cgroup", "trust-annotations", "help", "h", "version", "v", NULL};
	static const char *const valued[] = {"log", "log-format", "root", "cgroup-manager", "rootless", NULL};
	const char *path = NULL;

	for (int i = 1; argv[0] && argv[i]; i++) {
		const char *flag = argv[i];

		if (*flag++ != '-' || !*flag || !strcmp(flag, "-"))
			break;
		if (*flag == '-')
			flag++;
		if (is_one_of(flag, switches))
			continue;
		if (!is_one_of(flag, valued))
			return NULL;
		const char *equals = strchr(flag, '='), *value = equals ? equals + 1 : argv[++i];
		if (!value)
			return NULL;
		if (names(flag, "log"))
			path = value;
	}
	return path;
}

/* Print "pyrunc: message: the error's text". message and hint are our own words and paths, so JSON needs no escapes. */
static int report(char **argv, const char *message, int error, const char *hint)
{
	char line[1024], record[1280], moment[32];
	const char *path = log_path(argv), *text = error ? strerror(error) : "";
	time_t now = time(NULL);
	struct tm parts;

	snprintf(line, sizeof line, "%s%s%s%s%s", message, error ? ": " : "", text, *hint ? ": hint: " : "", hint);
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644) : -1;
	if (fd >= 0) {
		strftime(moment, sizeof moment, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
		int size = snprintf(record, sizeof record, "{\"level\":\"error\",\"msg\":\"%s\",\"time\":\"%s\"}\n", line, moment);
		(void)!write(fd, record, (size_t)size);
		close(fd);
	}
	dprintf(2, "pyrunc: %s\n", line);
	return 1;
}
