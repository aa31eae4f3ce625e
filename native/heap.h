/* The heap that is dumped (heap.c). */
#pragma once

enum { REGION_SIZE = 192 << 20, HEAP_ROOM = 4 << 20 /* for new objects, behind what is dumped */ };
extern char region[REGION_SIZE];

/* How small blocks are to lie, said before Python starts: as an order says (a file by tools/arrange.py), or with an empty file each
 * on a page of its own, from heap_apart() on. Returns -1 with errno when it cannot be read. */
int heap_arrange(const char *order);
char *heap_apart(void);

/* Ends the heap that is dumped: what is allocated from here on lies behind it, on pages of its own, so that no page of
 * the image is copied for a new object's sake. Returns that end. */
char *heap_seal(void);
