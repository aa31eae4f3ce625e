/* Writes the running program as an image: its own ELF file, with the data of libpython and of our objects (.pydata) as they
 * are in memory now, and the heap behind them as content of the same segment. libc's data stay as the linker made them, so
 * that libc starts in an image as in any program: thread-local storage, stack guard, stdio and clock are the new
 * process's own. layout.ld keeps the two apart.
 *
 * The symbol table moves to the end: gdb shows functions by name. Nothing may rewrite the file later (strip would). */
#define _GNU_SOURCE
#include "dump.h"
#include "heap.h"
#include "image.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern char __pydata_start[], __pydata_end[];
extern const Elf64_Ehdr __ehdr_start;

static int put(int fd, const void *data, size_t size)
{
	for (const char *from = data; size;) {
		ssize_t n = write(fd, from, size);
		if (n <= 0)
			return -1;
		from += n;
		size -= (size_t)n;
	}
	return 0;
}

static int put_zeros(int fd, size_t size)
{
	static const char zeros[4096];
	for (; size > sizeof zeros; size -= sizeof zeros)
		if (put(fd, zeros, sizeof zeros) < 0)
			return -1;
	return put(fd, zeros, size);
}

/* The section headers behind the move: what is loaded stays, the heap has become content, the rest lies further on. */
static void move_sections(Elf64_Ehdr *elf, const Elf64_Phdr *data, size_t after, size_t shift, size_t heap_size)
{
	Elf64_Shdr *section = (Elf64_Shdr *)((char *)elf + elf->e_shoff);
	for (int i = 0; i < elf->e_shnum; i++)
		if (section[i].sh_addr == (uintptr_t)region) {
			section[i].sh_type = SHT_PROGBITS;
			section[i].sh_offset = data->p_offset + ((uintptr_t)region - data->p_vaddr);
			section[i].sh_size = heap_size;
		} else if (section[i].sh_offset >= after && !(section[i].sh_flags & SHF_ALLOC))
			section[i].sh_offset += shift;
	elf->e_shoff += shift;
}

static int fill_record(struct record *record, const Elf64_Ehdr *elf, size_t file_size, void *entry,
		       const struct file_facts libraries[2], const char *stage2)
{
	struct stat status;
	if (elf->e_phnum > IMAGE_SEGMENTS || stat(stage2, &status) < 0)
		return -1;
	record->magic = IMAGE_MAGIC;
	record->file_size = file_size + sizeof *record;
	record->page_size = (unsigned long)sysconf(_SC_PAGESIZE);
	record->entry = (unsigned long)entry;
	record->headers = (unsigned long)&__ehdr_start + elf->e_phoff;
	record->segments = elf->e_phnum;
	record->libpython = libraries[0];
	record->libc = libraries[1];
	record->stage2 = (struct file_facts){status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
	memcpy(record->segment, (const char *)elf + elf->e_phoff, elf->e_phnum * sizeof *record->segment);
	record->sum = record_sum(record);
	return 0;
}

static int dump_to(int out, char *file, size_t size, char *heap_end, const struct file_facts libraries[2], const char *stage2)
{
	Elf64_Ehdr *elf = (Elf64_Ehdr *)file;
	Elf64_Phdr *segment = (Elf64_Phdr *)(file + elf->e_phoff), *data = NULL;
	struct record record = {0};
	void *entry = resume_prepare();

	for (int i = 0; i < elf->e_phnum; i++)
		if (segment[i].p_type == PT_LOAD && (uintptr_t)__pydata_start - segment[i].p_vaddr < segment[i].p_memsz)
			data = segment + i;
	if (!data || data->p_vaddr + data->p_filesz > (uintptr_t)region)
		return -1;
	size_t after = data->p_offset + data->p_filesz; /* where the rest of the file begins */
	size_t heap_at = data->p_offset + ((uintptr_t)region - data->p_vaddr), heap_size = (size_t)(heap_end - region);
	size_t shift = (heap_at + heap_size - after + 4095) & -4096UL;
	memcpy(file + data->p_offset + ((uintptr_t)__pydata_start - data->p_vaddr), __pydata_start,
	       (size_t)(__pydata_end - __pydata_start));
	data->p_filesz = (uintptr_t)heap_end - data->p_vaddr;
	data->p_memsz = data->p_filesz + HEAP_ROOM;
	move_sections(elf, data, after, shift, heap_size);
	if (fill_record(&record, elf, size + shift, entry, libraries, stage2) < 0)
		return -1;
	return put(out, file, after) < 0 || put_zeros(out, heap_at - after) < 0 || put(out, region, heap_size) < 0 ||
	       put_zeros(out, after + shift - heap_at - heap_size) < 0 || put(out, file + after, size - after) < 0 ||
	       put(out, &record, sizeof record) < 0 ? -1 : 0;
}

int dump(const char *path, char *heap_end, const struct file_facts libraries[2], const char *stage2)
{
	struct stat status;
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), result = -1;
	int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600); /* the hash's secret is in it */
	if (in >= 0 && out >= 0 && fstat(in, &status) == 0) {
		char *file = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, in, 0);
		if (file != MAP_FAILED)
			result = dump_to(out, file, (size_t)status.st_size, heap_end, libraries, stage2);
	}
	return result < 0 || fsync(out) < 0 ? -1 : 0;
}
