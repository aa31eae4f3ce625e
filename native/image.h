/* The image: pyrunc with its interpreter, all modules imported, as a file that is mapped where it was made.
 *
 * The file is an ordinary ELF program that was written by itself (image.c, dump.c), so that gdb knows its symbols; behind
 * it stands this record, by which stage one (launch.c) judges it and map.c maps it. Nobody maps a file whose record does
 * not fit to the last byte: it was cut short, or is of another build. */
#pragma once

#include <elf.h>

enum { IMAGE_SEGMENTS = 12, IMAGE_RUNS = 96 };
#define IMAGE_MAGIC 0x33676d69756e7970UL /* raised whenever the record changes */

/* Which file it is, for one stat(2): another version has another size or time. */
struct file_facts {
	long size, seconds, nanoseconds;
};

struct record {
	unsigned long magic, sum; /* sum: of all that follows */
	unsigned long file_size, page_size;
	unsigned long entry, headers, segments; /* libc's entry; where the program headers are in memory, and how many */
	/* The libraries whose static twins are linked in, and the program that does what the image can't. */
	struct file_facts libpython, libc, stage2;
	Elf64_Phdr segment[IMAGE_SEGMENTS];
	/* Pages that commands of a kind write soon (SHORT, LONG): made theirs by one call a run, which costs half of what a
	 * fault for each page does. tools/warm.py writes it, when it has seen which they are. */
	struct { unsigned first, count; } warm[2][IMAGE_RUNS]; /* counted from address 0 */
};
enum { SHORT, LONG };

/* FNV-1a, of words: against accidents. Who can write to the file needs no forged sum. */
static inline unsigned long record_sum(const struct record *record)
{
	const unsigned long *at = &record->file_size, *end = (const unsigned long *)(record + 1);
	unsigned long sum = 0xcbf29ce484222325UL;
	while (at < end)
		sum = (sum ^ *at++) * 0x100000001b3UL;
	return sum;
}

/* What is written into the sealed copy before it is executed: which descriptor is the image's. */
struct ticket {
	unsigned long magic;
	long fd;
};
#define TICKET_MAGIC 0x74656b636974796dUL

/* Reads the record of an open image; 0 when it is none, or not whole. */
int read_record(int fd, struct record *record);

/* Maps the image and has the auxiliary vector speak of it. 0 when that fails, and then nothing is mapped. kind: SHORT, or
 * LONG for a command that enters a container. */
int map_image(int fd, const struct record *record, unsigned long *auxiliary, int kind);

/* Goes on in the image, on the stack as the kernel made it. */
_Noreturn void enter_image(const struct record *record, unsigned long *stack);
