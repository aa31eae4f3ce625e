/* Writing an image (dump.c). */
#pragma once

#include "image.h"

/* Writes this process to path: its heap up to heap_end. library: the libpython that is linked in. Returns -1 on failure. */
int dump(const char *path, char *heap_end, const struct file_facts *library, const char *stage2);
