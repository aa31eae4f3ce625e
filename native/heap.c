/* The one allocator of an image: malloc itself. So all that libpython allocates, in whatever domain and before anything
 * could be set, lies in one region, which is dumped with its objects; and libc, which is not, has no heap of its own.
 *
 * A block has 8 bytes of header: its class, that is its size, in steps of 16 bytes up to 1 KiB, then in four steps for each power
 * of two; and its number, the how manieth call of malloc() it is of. Freed blocks wait in a list of their class. There is no
 * lock: pyrunc has no threads.
 *
 * Whoever reads a Python object writes to it, its count of references. So the few blocks that commands use are laid side by
 * side, that few pages are copied. Which they are, a first maker shows, in which each small block has a page of its own, so that
 * the pages that a command has written tell its blocks; the second maker knows them by their numbers, since it does the same. */
#define _GNU_SOURCE
#include "heap.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

char region[REGION_SIZE] __attribute__((section(".pyheap,\"aw\",@nobits#"), aligned(4096)));

/* From LARGE on a block is mapped by itself: pages that nobody touches cost nothing. */
enum { CLASSES = 160, LARGE_CLASS = 254, ALIGNED_CLASS = 255, LARGE = 1 << 20, PAGE = 4096, MORE = 16 << 20 };
static char *next = region + 8, *end = region + REGION_SIZE; /* 8 modulo 16, the place of a header */
static void *free_lists[CLASSES];
static long large_blocks;
static unsigned calls; /* of malloc() */

/* Of the maker alone: where blocks are to lie. order is a file: how many bytes each kind of block takes, then for each call of
 * malloc() the kind of its block, from 1 on; 0 is the rest. */
enum { KINDS = 3, SMALL_CLASS = 68 /* 2 KiB: Python's own classes are smaller */, APART_AT = 32 << 20 };
struct order {
	uint64_t size[KINDS];
	unsigned char kind[];
};
static const struct order *order;
static size_t ordered; /* calls that it knows of */
static int is_apart;
static struct place { char *next, *end; } places[KINDS + 1]; /* [0]: of blocks that lie apart */

static inline unsigned class_of(size_t size)
{
	size += 8;
	if (size <= 1024)
		return (unsigned)((size + 15) >> 4);
	unsigned log = 63 - (unsigned)__builtin_clzl(size - 1);
	return 65 + (log - 10) * 4 + (unsigned)(((size - 1) >> (log - 2)) & 3);
}

static inline size_t size_of(unsigned class)
{
	if (class <= 64)
		return (size_t)class << 4;
	unsigned log = 10 + (class - 65) / 4;
	return ((size_t)1 << log) + ((size_t)((class - 65) % 4 + 1) << (log - 2));
}

struct header {
	unsigned class, number;
};

static inline struct header *header(void *block)
{
	return (struct header *)block - 1;
}

/* Of a large or aligned block its size, before the header. */
static inline uint64_t *size_before(void *block)
{
	return (uint64_t *)header(block) - 1;
}

static void *map(size_t size)
{
	void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages != MAP_FAILED)
		return pages;
	errno = ENOMEM;
	return NULL;
}

static void *large(size_t size)
{
	char *pages = size < 1UL << 46 ? map(size + PAGE) : NULL;
	if (!pages) {
		errno = ENOMEM;
		return NULL;
	}
	large_blocks++;
	*size_before(pages + PAGE) = size;
	header(pages + PAGE)->class = LARGE_CLASS;
	return pages + PAGE;
}

static void *carve(char **from, size_t whole, unsigned class, unsigned call)
{
	char *block = *from + 8;
	*header(block) = (struct header){class, call};
	*from += whole;
	return block;
}

/* A block of a place, NULL when there is no room or no place for it. */
static void *place_of(unsigned kind, size_t whole, unsigned class, unsigned call)
{
	if (class > SMALL_CLASS || kind > KINDS || (size_t)(places[kind].end - places[kind].next) < whole)
		return NULL;
	return carve(&places[kind].next, whole, class, call);
}

void *malloc(size_t size)
{
	if (size >= LARGE)
		return large(size);
	unsigned class = class_of(size), call = calls++;
	size_t whole = size_of(class);
	char *block = NULL;
	if (call < ordered && order->kind[call])
		block = place_of(order->kind[call], whole, class, call);
	if (block)
		return block;
	block = free_lists[class];
	if (block) {
		free_lists[class] = *(void **)block;
		header(block)->number = call;
		return block;
	}
	if (is_apart)
		block = place_of(0, PAGE, class, call);
	if (block)
		return block;
	if ((size_t)(end - next) < whole + 8) {
		char *pages = map(MORE);
		if (!pages)
			return NULL;
		next = pages + 8;
		end = pages + MORE;
	}
	return carve(&next, whole, class, call);
}

void free(void *block)
{
	if (!block || header(block)->class == ALIGNED_CLASS)
		return;
	if (header(block)->class == LARGE_CLASS) {
		large_blocks--;
		munmap((char *)block - PAGE, *size_before(block) + PAGE);
		return;
	}
	*(void **)block = free_lists[header(block)->class];
	free_lists[header(block)->class] = block;
}

size_t malloc_usable_size(void *block)
{
	unsigned class = header(block)->class;
	return class >= LARGE_CLASS ? *size_before(block) : size_of(class) - 8;
}

void *calloc(size_t count, size_t size)
{
	size_t all;
	void *block = NULL;

	if (__builtin_mul_overflow(count, size, &all))
		errno = ENOMEM;
	else
		block = malloc(all);
	if (block && all < LARGE)
		memset(block, 0, all);
	return block;
}

void *realloc(void *block, size_t size)
{
	size_t had = block ? malloc_usable_size(block) : 0;
	if (block && size <= had && size * 2 + 64 > had)
		return block;
	void *fresh = malloc(size);
	if (fresh && block) {
		memcpy(fresh, block, had < size ? had : size);
		free(block);
	}
	return fresh;
}

/* Beyond 16 it is for what lives as long as the process: such a block is never used again. */
void *memalign(size_t alignment, size_t size)
{
	if (alignment <= 16)
		return malloc(size);
	char *block = malloc(size + alignment + 16);
	if (!block)
		return NULL;
	block = (char *)(((uintptr_t)block + 16 + alignment - 1) & -alignment);
	*size_before(block) = size;
	header(block)->class = ALIGNED_CLASS;
	return block;
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **to, size_t alignment, size_t size)
{
	*to = memalign(alignment, size);
	return *to ? 0 : ENOMEM;
}

static char *page_up(char *at)
{
	return (char *)(((uintptr_t)at + PAGE - 1) & -(uintptr_t)PAGE);
}

static int read_order(int fd, size_t size)
{
	order = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (order == MAP_FAILED)
		return -1;
	errno = EINVAL;
	if (size < sizeof *order)
		return -1;
	ordered = size - sizeof *order;
	for (int kind = 1; kind <= KINDS; kind++) {
		if (order->size[kind - 1] > APART_AT)
			return -1;
		char *from = page_up(next);
		places[kind] = (struct place){from + 8, from + 8 + order->size[kind - 1]};
		next = places[kind].end;
	}
	next = page_up(next) + 8;
	return 0;
}

int heap_arrange(const char *path)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC), result = fd < 0 || fstat(fd, &status) < 0 ? -1 : 0;
	if (result == 0 && status.st_size)
		result = read_order(fd, (size_t)status.st_size);
	else if (result == 0) {
		is_apart = 1;
		end = region + APART_AT;
		places[0] = (struct place){end + 8, region + REGION_SIZE};
	}
	close(fd);
	return result;
}

char *heap_apart(void)
{
	return is_apart ? region + APART_AT : NULL;
}

char *heap_seal(void)
{
	if (large_blocks || end != (is_apart ? region + APART_AT : region + REGION_SIZE))
		abort();
	memset(free_lists, 0, sizeof free_lists);
	char *sealed = page_up(is_apart ? places[0].next : next);
	order = NULL;
	ordered = 0;
	is_apart = 0;
	next = sealed + 8;
	end = sealed + HEAP_ROOM;
	return sealed;
}
