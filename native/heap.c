/* The one allocator of an image: malloc itself. So all that libpython allocates, in whatever domain and before anything
 * could be set, lies in one region, which is dumped with its objects; and libc, which is not, has no heap of its own.
 *
 * A block has 8 bytes of header, its class: the size in steps of 16 bytes up to 1 KiB, then four steps for each power of
 * two. Freed blocks wait in a list of their class. There is no lock: pyrunc has no threads. */
#define _GNU_SOURCE
#include "heap.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

char region[REGION_SIZE] __attribute__((section(".pyheap,\"aw\",@nobits#"), aligned(4096)));

/* From LARGE on a block is mapped by itself: pages that nobody touches cost nothing. */
enum { CLASSES = 160, LARGE_CLASS = 254, ALIGNED_CLASS = 255, LARGE = 1 << 20, PAGE = 4096, MORE = 16 << 20 };
static char *next = region + 8, *end = region + REGION_SIZE; /* 8 modulo 16, the place of a header */
static void *free_lists[CLASSES];
static long large_blocks;

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

static inline uint64_t *header(void *block)
{
	return (uint64_t *)block - 1;
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
	header(pages + PAGE)[-1] = size;
	*header(pages + PAGE) = LARGE_CLASS;
	return pages + PAGE;
}

void *malloc(size_t size)
{
	if (size >= LARGE)
		return large(size);
	unsigned class = class_of(size);
	char *block = free_lists[class];
	if (block) {
		free_lists[class] = *(void **)block;
		return block;
	}
	size_t whole = size_of(class);
	if ((size_t)(end - next) < whole + 8) {
		char *pages = map(MORE);
		if (!pages)
			return NULL;
		next = pages + 8;
		end = pages + MORE;
	}
	block = next + 8;
	*header(block) = class;
	next += whole;
	return block;
}

void free(void *block)
{
	if (!block || *header(block) == ALIGNED_CLASS)
		return;
	if (*header(block) == LARGE_CLASS) {
		large_blocks--;
		munmap((char *)block - PAGE, header(block)[-1] + PAGE);
		return;
	}
	*(void **)block = free_lists[*header(block)];
	free_lists[*header(block)] = block;
}

size_t malloc_usable_size(void *block)
{
	uint64_t class = *header(block);
	return class >= LARGE_CLASS ? header(block)[-1] : size_of((unsigned)class) - 8;
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
	header(block)[-1] = size;
	*header(block) = ALIGNED_CLASS;
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

char *heap_seal(void)
{
	if (large_blocks || end != region + REGION_SIZE)
		abort();
	memset(free_lists, 0, sizeof free_lists);
	char *sealed = (char *)(((uintptr_t)next + 4095) & -4096UL);
	next = sealed + 8;
	end = sealed + HEAP_ROOM;
	return sealed;
}
