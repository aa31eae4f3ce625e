/* The heap that is dumped (heap.c). */
#pragma once

enum { REGION_SIZE = 64 << 20, HEAP_ROOM = 4 << 20 /* for new objects, behind what is dumped */ };
extern char region[REGION_SIZE];

/* Ends the heap that is dumped: what is allocated from here on lies behind it, on pages of its own, so that no page of
 * the image is copied for a new object's sake. Returns that end. */
char *heap_seal(void);
