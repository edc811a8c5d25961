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

/*
 * The one mutex of the C library's kind is a plain one of ring's source of random bytes, held for one read of /dev/urandom on
 * kernels without getrandom(2). musl's own also know recursive, robust and priority-inheriting ones.
 */
#include <pthread.h>
#include <sched.h>

#define HELD(mutex) (*(int *)(mutex))

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
	while (__atomic_exchange_n(&HELD(mutex), 1, __ATOMIC_ACQUIRE))
		sched_yield();
	return 0;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	__atomic_store_n(&HELD(mutex), 0, __ATOMIC_RELEASE);
	return 0;
}

/* The library asks for the size of a page alone; musl's own has a table of all that can be asked. */
#include <errno.h>
#include <unistd.h>

long sysconf(int name)
{
	if (name == _SC_PAGESIZE)
		return getauxval(AT_PAGESZ);
	errno = EINVAL;
	return -1;
}

/* musl's own translates what has a time in it (sound, video and serial devices) for kernels before 5.6. */
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

int ioctl(int fd, int request, ...)
{
	va_list rest;
	va_start(rest, request);
	void *argument = va_arg(rest, void *);
	va_end(rest);
	return syscall(SYS_ioctl, fd, request, argument);
}
