/* Writing an image (dump.c). */
#pragma once

#include "image.h"

/* Writes this process to path: its heap up to heap_end. libraries: libpython and libc, which are linked in. Returns -1 on failure. */
int dump(const char *path, char *heap_end, const struct file_facts libraries[2], const char *stage2);

/* In the maker, before that: notes what libc knows of the CPU. Returns the entry of what goes on from the image (resume.c). */
void *resume_prepare(void);
