/* The one line on stderr, and in --log, for what fails before Python runs. Shared by both stages. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The value of --log, in any of the spellings that the command line allows; NULL without one. */
static const char *log_path(char **argv)
{
	for (int i = 1; argv[0] && argv[i]; i++) {
		const char *word = argv[i];

		if (*word++ != '-')
			continue;
		if (*word == '-')
			word++;
		if (strncmp(word, "log", 3))
			continue;
		if (word[3] == '=')
			return word + 4;
		if (word[3] == '\0')
			return argv[i + 1];
	}
	return NULL;
}

/* Print "pyrunc: message: the error's text". message and hint are our own words and paths, so JSON needs no escapes. */
static int report(char **argv, const char *message, int error, const char *hint)
{
	char line[1024], record[1280], moment[32];
	const char *path = log_path(argv), *text = error ? strerror(error) : "";
	time_t now = time(NULL);
	struct tm parts;

	snprintf(line, sizeof line, "%s%s%s%s%s", message, error ? ": " : "", text, *hint ? ": hint: " : "", hint);
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
	if (fd >= 0) {
		strftime(moment, sizeof moment, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
		int size = snprintf(record, sizeof record, "{\"level\":\"error\",\"msg\":\"%s\",\"time\":\"%s\"}\n", line, moment);
		(void)!write(fd, record, (size_t)size);
		close(fd);
	}
	dprintf(2, "pyrunc: %s\n", line);
	return 1;
}
