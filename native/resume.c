/* Where what is mapped from an image begins: libc's own start, less what it is slow at.
 *
 * libc asks the CPU what it can by some 70 cpuid instructions, and each is a trap in a virtual machine: a tenth of what a
 * short command costs there. So the answers are in the image, as the maker's libc found them, and are used where three
 * cpuids say that this is still such a CPU. On another, and with a libc that is not known here, libc starts as in any program.
 *
 * The rest is done by libc's functions in the order of __libc_start_main() of glibc 2.36 and 2.41, but for what only a program
 * that loads libraries needs, and the first constructor, gcc's for exceptions. Until there is TLS there is no stack guard, and
 * until the functions by CPU are chosen (the relocations) nothing may be called that is one. */
#define _GNU_SOURCE
#include "dump.h"

#include <elf.h>
#include <features.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

void _start(void), resume(void);

#if defined(CPU_FEATURES) && __GLIBC__ == 2 && (__GLIBC_MINOR__ == 36 || __GLIBC_MINOR__ == 41)

#include <cpuid.h>

/* libc's; hidden, which a static link does not mind. */
extern char _dl_x86_cpu_features[];
extern long __x86_data_cache_size, __x86_data_cache_size_half, __x86_shared_cache_size, __x86_shared_cache_size_half,
	__x86_shared_non_temporal_threshold, __x86_rep_movsb_threshold, __x86_rep_stosb_threshold, __x86_rep_movsb_stop_threshold,
	__x86_memset_non_temporal_threshold;
extern int __x86_string_control;
extern void *__libc_stack_end, *_dl_random;
extern const Elf64_Phdr *_dl_phdr;
extern unsigned long _dl_phnum;
extern unsigned _dl_stack_flags; /* executable, unless it is told otherwise: of posix_spawn()'s stack, too */
extern const Elf64_Rela __rela_iplt_start[], __rela_iplt_end[];
extern void (*const __init_array_start[])(int, char **, char **), (*const __init_array_end[])(int, char **, char **);
void _dl_aux_init(Elf64_auxv_t *auxiliary);
void __libc_setup_tls(void);
void __libc_early_init(_Bool first);
void __init_misc(int argc, char **argv, char **env);
int main(int argc, char **argv, char **env);

static long *const sizes[] = {
	&__x86_data_cache_size, &__x86_data_cache_size_half, &__x86_shared_cache_size, &__x86_shared_cache_size_half,
	&__x86_shared_non_temporal_threshold, &__x86_rep_movsb_threshold, &__x86_rep_stosb_threshold, &__x86_rep_movsb_stop_threshold,
#if __GLIBC_MINOR__ >= 41
	&__x86_memset_non_temporal_threshold,
#endif
};
enum { SIZES = sizeof sizes / sizeof *sizes, ANSWERS = 12 };

/* Dumped with the image: which CPU the maker's was, and what libc made of it. */
unsigned resume_cpu[ANSWERS];
static char features[CPU_FEATURES];
static long known_sizes[SIZES];
static int string_control;

/* Family, model and stepping, what it can, and which registers the kernel saves. */
static void identify(unsigned *answer)
{
	unsigned core; /* the number of the one that we run on now */
	__cpuid(1, answer[0], core, answer[1], answer[2]);
	__cpuid_count(7, 0, answer[3], answer[4], answer[5], answer[6]);
	__cpuid(0x80000001, answer[7], core, answer[8], answer[9]);
	answer[10] = answer[11] = 0;
	if (answer[1] & bit_OSXSAVE)
		__asm__ volatile("xgetbv" : "=a"(answer[10]), "=d"(answer[11]) : "c"(0));
}

void *resume_prepare(void)
{
	identify(resume_cpu);
	for (int i = 0; i < CPU_FEATURES; i++)
		features[i] = _dl_x86_cpu_features[i];
	for (int i = 0; i < SIZES; i++)
		known_sizes[i] = *sizes[i];
	string_control = __x86_string_control;
	return resume;
}

static int is_same_cpu(void)
{
	unsigned now[ANSWERS], differs = 0;
	identify(now);
	for (int i = 0; i < ANSWERS; i++)
		differs |= now[i] ^ resume_cpu[i];
	return !differs;
}

/* What only the start writes to is read-only from here on. */
static void protect(void)
{
	const unsigned long page = getauxval(AT_PAGESZ);
	for (const Elf64_Phdr *segment = _dl_phdr; segment < _dl_phdr + _dl_phnum; segment++)
		if (segment->p_type == PT_GNU_STACK)
			_dl_stack_flags = segment->p_flags;
		else if (segment->p_type == PT_GNU_RELRO) {
			unsigned long from = segment->p_vaddr & -page, to = (segment->p_vaddr + segment->p_memsz) & -page;
			mprotect((void *)from, to - from, PROT_READ);
		}
}

__attribute__((used)) static void start(unsigned long *stack)
{
	char **argv = (char **)(stack + 1), **end = argv + stack[0] + 1;

	if (!is_same_cpu())
		return;
	environ = end;
	__libc_stack_end = stack;
	while (*end)
		end++;
	_dl_aux_init((Elf64_auxv_t *)(end + 1));
	for (int i = 0; i < CPU_FEATURES; i++)
		_dl_x86_cpu_features[i] = features[i];
	for (int i = 0; i < SIZES; i++)
		*sizes[i] = known_sizes[i];
	__x86_string_control = string_control;
	for (const Elf64_Rela *choice = __rela_iplt_start; choice < __rela_iplt_end; choice++)
		*(unsigned long *)choice->r_offset = ((unsigned long (*)(void))choice->r_addend)();
	__libc_setup_tls();
	const unsigned long *random = _dl_random; /* the guards of stack and of pointers */
	__asm__ volatile("mov %0, %%fs:0x28\n\tmov %1, %%fs:0x30" : : "r"(random[0] & ~0xffUL), "r"(random[1]));
	__libc_early_init(1);
	__init_misc((int)stack[0], argv, environ);
	protect();
	for (void (*const *next)(int, char **, char **) = __init_array_start + 1; next < __init_array_end; next++)
		(*next)((int)stack[0], argv, environ);
	exit(main((int)stack[0], argv, environ));
}

/* Nothing was changed when start() returns: the stack is as the kernel made it. */
__asm__(".globl resume\nresume:\n\txor %ebp, %ebp\n\tmov %rsp, %rbx\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n"
	"\tmov %rbx, %rsp\n\txor %edx, %edx\n\tjmp _start\n");

#else

void *resume_prepare(void)
{
	return _start;
}

#endif
