/* System calls without libc, for what runs before it or without it: launch.c, map.c and sealed.c. */
#pragma once

#include <sys/syscall.h>

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <errno.h>
#include <unistd.h>
#endif

/* The kernel's answer: below 0 it is -errno. */
static inline long call6(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	long result = number;
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "+a"(result) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
		      x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#else
	long result = syscall(number, a, b, c, d, e, f);
	return result < 0 ? -errno : result;
#endif
}

static inline long call(long number, long a, long b, long c, long d, long e)
{
	return call6(number, a, b, c, d, e, 0);
}
