/* Maps an image where it belongs. Part of stage one, and of the program in sealed memory; uses nothing of libc.
 *
 * Every page is mapped privately from the file: read-only ones are shared by all pyruncs, written ones are copied. It may
 * fail for many reasons (a limit on the address space or on data, something else in its place): then what was mapped is
 * taken back, and the ordinary stage two does the work. */
#define _GNU_SOURCE
#include "image.h"
#include "sys.h"

#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

int read_record(int fd, struct record *record)
{
	struct stat status;

	if (call(SYS_fstat, fd, (long)&status, 0, 0, 0) < 0 || status.st_size < (long)sizeof *record ||
	    call(SYS_pread64, fd, (long)record, sizeof *record, status.st_size - (long)sizeof *record, 0) != sizeof *record)
		return 0;
	return record->magic == IMAGE_MAGIC && record->sum == record_sum(record) &&
	       record->file_size == (unsigned long)status.st_size && record->segments <= IMAGE_SEGMENTS;
}

static int map_at(unsigned long from, unsigned long to, int protection, int flags, int fd, unsigned long offset)
{
	if (from >= to)
		return 1;
	long at = call6(SYS_mmap, (long)from, (long)(to - from), protection, MAP_PRIVATE | MAP_FIXED_NOREPLACE | flags, fd, (long)offset);
	if (at == (long)from)
		return 1;
	if (at > 0 || at < -4095) /* a kernel that does not know the flag */
		call(SYS_munmap, at, (long)(to - from), 0, 0, 0);
	return 0;
}

/* From the first address to the last that the segments take. */
static void unmap(const struct record *record)
{
	unsigned long from = ~0UL, to = 0;
	for (unsigned long i = 0; i < record->segments; i++) {
		const Elf64_Phdr *segment = &record->segment[i];
		if (segment->p_type == PT_LOAD) {
			from = segment->p_vaddr < from ? segment->p_vaddr : from;
			to = segment->p_vaddr + segment->p_memsz > to ? segment->p_vaddr + segment->p_memsz : to;
		}
	}
	from &= -record->page_size;
	call(SYS_munmap, (long)from, (long)(to - from), 0, 0, 0);
}

static int map_segment(int fd, const Elf64_Phdr *segment, unsigned long page)
{
	unsigned long from = segment->p_vaddr & -page, file_end = segment->p_vaddr + segment->p_filesz;
	unsigned long file_pages = (file_end + page - 1) & -page, end = (segment->p_vaddr + segment->p_memsz + page - 1) & -page;
	int protection = (segment->p_flags & PF_R ? PROT_READ : 0) | (segment->p_flags & PF_W ? PROT_WRITE : 0) |
			 (segment->p_flags & PF_X ? PROT_EXEC : 0);

	if (!segment->p_filesz)
		file_pages = from;
	if (!map_at(from, file_pages, protection, 0, fd, segment->p_offset & -page))
		return 0;
	/* The rest of the file's last page is what follows in the file. */
	if (segment->p_memsz > segment->p_filesz && segment->p_flags & PF_W)
		for (volatile char *at = (char *)file_end; at < (char *)file_pages; at++)
			*at = 0;
	return map_at(file_pages, end, protection, MAP_ANONYMOUS, -1, 0);
}

static void warm(const struct record *record, int kind)
{
	const unsigned long page = record->page_size;
	for (int i = 0; i < IMAGE_RUNS && record->warm[kind][i].count; i++)
		if (call(SYS_madvise, (long)(record->warm[kind][i].first * page), (long)(record->warm[kind][i].count * page),
			 MADV_POPULATE_WRITE, 0, 0) < 0)
			return; /* an older kernel, or no memory: each page comes when it is written */
}

int map_image(int fd, const struct record *record, unsigned long *auxiliary, int kind)
{
	for (unsigned long *at = auxiliary; at[0] != AT_NULL; at += 2)
		if (at[0] == AT_PAGESZ && at[1] != record->page_size)
			return 0;
	for (unsigned long i = 0; i < record->segments; i++)
		if (record->segment[i].p_type == PT_LOAD && !map_segment(fd, &record->segment[i], record->page_size)) {
			unmap(record);
			return 0;
		}
	for (unsigned long *at = auxiliary; at[0] != AT_NULL; at += 2)
		switch (at[0]) {
		case AT_PHDR: at[1] = record->headers; break;
		case AT_PHNUM: at[1] = record->segments; break;
		case AT_ENTRY: at[1] = record->entry; break;
		}
	warm(record, kind);
	return 1;
}

void enter_image(const struct record *record, unsigned long *stack)
{
#if defined(__x86_64__)
	__asm__ volatile("mov %0, %%rsp\n\txor %%edx, %%edx\n\txor %%ebp, %%ebp\n\tjmp *%1" : : "D"(stack), "a"(record->entry) : "memory");
#endif
	__builtin_unreachable();
}
