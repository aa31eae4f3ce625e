/* The one line on standard error, and in --log, for what fails before Python runs: as pyrunc/log.py writes it. Shared by both
 * stages, and by the program in sealed memory: so nothing of libc is called here. */
#pragma once

#include "failures.h"
#include "sys.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <time.h>

/* ---- the command line ---- */

/* What of the command line says how an error is told. */
struct call_facts {
	const char *log, *format, *command; /* NULL where there is none */
};

/* Where text goes on behind a start, NULL when it does not start so. */
static const char *behind(const char *text, const char *start)
{
	while (*start && *text == *start)
		text++, start++;
	return *start ? NULL : text;
}

/* Whether text is the flag's name, at its end or before a value. */
static int names(const char *text, const char *flag)
{
	const char *end = behind(text, flag);

	return end && (!*end || *end == '=');
}

static int is_one_of(const char *text, const char *const *flags)
{
	while (*flags && !names(text, *flags))
		flags++;
	return *flags != NULL;
}

/* Read as the command line is (cli/parse.py): the global flags end at the command, whose own words may be anybody's, a
 * flag's value is no flag, and a line that cannot be read has no log. */
static struct call_facts read_call(char **argv)
{
	static const char *const switches[] = {"debug", "systemd-cgroup", "trust-annotations", "help", "h", "version", "v", NULL};
	static const char *const valued[] = {"log", "log-format", "root", "cgroup-manager", "rootless", NULL};
	static const struct call_facts none = {NULL, NULL, NULL};
	struct call_facts facts = none;

	for (int i = 1; argv[0] && argv[i]; i++) {
		const char *flag = argv[i];

		if (*flag++ != '-' || !*flag || (*flag == '-' && !flag[1])) {
			facts.command = flag[-1] != '-' ? argv[i] : NULL;
			break;
		}
		if (*flag == '-')
			flag++;
		if (is_one_of(flag, switches))
			continue;
		if (!is_one_of(flag, valued))
			return none;
		const char *value = flag;
		while (*value && *value != '=')
			value++;
		value = *value ? value + 1 : argv[++i];
		if (!value)
			return none;
		if (names(flag, "log"))
			facts.log = value;
		else if (names(flag, "log-format"))
			facts.format = value;
	}
	return facts;
}

/* ---- text ---- */

struct text {
	char *at, *end; /* what has no room is left out */
};

static void put(struct text *to, const char *from)
{
	for (; *from && to->at < to->end; from++)
		*to->at++ = (unsigned char)*from < ' ' && *from != '\n' ? ' ' : *from;
}

static void put_quoted(struct text *to, const char *from)
{
	for (; *from && to->at + 1 < to->end; from++) {
		if (*from == '"' || *from == '\\')
			*to->at++ = '\\';
		*to->at++ = (unsigned char)*from < ' ' ? ' ' : *from;
	}
}

static void put_number(struct text *to, long number, int digits)
{
	char figures[24];
	int size = 0;

	while (number || size < digits) {
		figures[size++] = (char)('0' + number % 10);
		number /= 10;
	}
	while (size && to->at < to->end)
		*to->at++ = figures[--size];
}

/* RFC 3339, UTC. Years are counted from March on, so that a leap day is a year's last. */
static void put_moment(struct text *to, long seconds)
{
	long days = seconds / 86400 + 719468, rest = seconds % 86400; /* since March 1 of the year 0 */
	long century = (4 * days + 3) / 146097, of_century = days - 146097 * century / 4;
	long year = (4 * of_century + 3) / 1461, day = of_century - 1461 * year / 4, month = (5 * day + 2) / 153;

	put_number(to, 100 * century + year + (month > 9), 4);
	put(to, "-");
	put_number(to, month > 9 ? month - 9 : month + 3, 2);
	put(to, "-");
	put_number(to, day - (153 * month + 2) / 5 + 1, 2);
	put(to, "T");
	put_number(to, rest / 3600, 2);
	put(to, ":");
	put_number(to, rest / 60 % 60, 2);
	put(to, ":");
	put_number(to, rest % 60, 2);
	put(to, "Z");
}

/* The reasons that the kernel has for what is tried here, in strerror's words, in lower case as Python tells them. */
static void put_reason(struct text *to, int error)
{
	static const struct { int error; const char *words; } known[] = {
		{EPERM, "operation not permitted"}, {ENOENT, "no such file or directory"}, {EIO, "input/output error"},
		{E2BIG, "argument list too long"}, {ENOEXEC, "exec format error"}, {ENOMEM, "cannot allocate memory"},
		{EACCES, "permission denied"}, {EEXIST, "file exists"}, {ENODEV, "no such device"}, {ENOTDIR, "not a directory"},
		{EISDIR, "is a directory"}, {EINVAL, "invalid argument"}, {ENFILE, "too many open files in system"},
		{EMFILE, "too many open files"}, {ETXTBSY, "text file busy"}, {EFBIG, "file too large"},
		{ENOSPC, "no space left on device"}, {EROFS, "read-only file system"}, {ENOSYS, "function not implemented"},
		{ELOOP, "too many levels of symbolic links"}, {ELIBBAD, "accessing a corrupted shared library"}};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].error == error) {
			put(to, known[i].words);
			return;
		}
	put(to, "error ");
	put_number(to, error, 1);
}

/* ---- the error ---- */

static void put_line(struct text *to, char **argv, const struct call_facts *facts, int error, const char *detail,
		     const struct remedy *row)
{
	const char *program = argv[0] ? argv[0] : "pyrunc";

	for (const char *at = program; *at; at++)
		if (*at == '/')
			program = at + 1;
	if (facts->command && names(facts->command, "exec"))
		put(to, "exec failed: ");
	else if (facts->command && (names(facts->command, "create") || names(facts->command, "run"))) {
		put(to, program);
		put(to, " ");
		put(to, facts->command);
		put(to, " failed: ");
	}
	put(to, row->what);
	put(to, ": ");
	if (detail)
		put(to, detail);
	else
		put_reason(to, error);
	put(to, ": hint: ");
	put(to, row->hint);
}

static void put_record(struct text *to, int json, int error, const char *line, const char *hint)
{
	struct timespec now;

	call(SYS_clock_gettime, CLOCK_REALTIME, (long)&now, 0, 0, 0);
	put(to, json ? "{\"level\":\"error\",\"msg\":\"" : "time=\"");
	if (!json) {
		put_moment(to, now.tv_sec);
		put(to, "\" level=error msg=\"");
	}
	put_quoted(to, line);
	if (!json) {
		put(to, "\"\n");
		return;
	}
	put(to, "\",\"time\":\"");
	put_moment(to, now.tv_sec);
	if (error) {
		put(to, "\",\"errno\":");
		put_number(to, error, 1);
		put(to, ",\"hint\":\"");
	} else
		put(to, "\",\"hint\":\"");
	put_quoted(to, hint);
	put(to, "\"}\n");
}

static void tell(long fd, const char *from, const char *to)
{
	call(SYS_write, fd, (long)from, to - from, 0, 0);
}

/* Tells an error; detail: what is said in the place of the kernel's reason, or NULL. Returns the exit status. */
static int report(char **argv, enum where where, int error, const char *detail)
{
	const struct remedy *row = remedy_of(where, error);
	struct call_facts facts = read_call(argv);
	char line[1024], record[2048];
	struct text text = {line, line + sizeof line - 1}, entry = {record, record + sizeof record};
	const long flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	char size[8];

	if (error == EMFILE) /* nothing is read any more */
		call(SYS_close, 0, 0, 0, 0, 0);
	long fd = facts.log ? call(SYS_openat, AT_FDCWD, (long)facts.log, flags, 0644, 0) : -1;
	put_line(&text, argv, &facts, error, detail, row);
	*text.at = '\0';
	put_record(&entry, facts.format && names(facts.format, "json"), error, line, row->hint);
	if (fd < 0 && call(SYS_ioctl, 2, TIOCGWINSZ, (long)size, 0, 0) == 0) { /* a person's */
		entry.at = record;
		put(&entry, "ERRO[0000] ");
		put(&entry, line);
		put(&entry, "\n");
	}
	tell(fd < 0 ? 2 : fd, record, entry.at);
	if (fd >= 0) {
		*text.at++ = '\n';
		tell(2, line, text.at);
		call(SYS_close, fd, 0, 0, 0, 0);
	}
	return facts.command && names(facts.command, "exec") ? 255 : 1;
}
