/*
 * ARM's assembly and C objects name these routines of the unwinder (EHABI, section 9.2), which would bring the unwinder and
 * with it printf into the program: 12 kB. Nothing unwinds in it, so nothing calls them.
 */
void __aeabi_unwind_cpp_pr0(void) {}
void __aeabi_unwind_cpp_pr1(void) {}
void __aeabi_unwind_cpp_pr2(void) {}

/*
 * For memcpy.S: whether the CPU has NEON, as the kernel says (getauxval(3)); not before the C library has started. Not every
 * ARMv7 camera has it.
 */
#include <sys/auxv.h>

#define NEON_OF_HWCAP (1 << 12)

int lenscap_neon;

__attribute__((constructor)) static void look_for_neon(void)
{
	lenscap_neon = (getauxval(AT_HWCAP) & NEON_OF_HWCAP) != 0;
}

/*
 * musl's own prints a path to name any thread but the caller's. The library names none but that, and printf is 5 kB of
 * compressed flash.
 */
#include <sys/prctl.h>

int pthread_setname_np(void *thread, const char *name)
{
	(void)thread;
	return prctl(PR_SET_NAME, name, 0, 0, 0);
}
