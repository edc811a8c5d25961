/*
 * oldkernel COMMAND [ARG ...]: runs a program as if the kernel were Linux 3.0. Every 32-bit ARM system call that came
 * later, and accept4, which some vendors' 3.0 kernels lack, is answered with ENOSYS.
 * oldkernel --list: says what it refuses, having tried it.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* setns, the last one of Linux 3.0 on ARM. The private ones of the architecture (set_tls) lie far above. */
#define LAST_OF_3_0 375
#define FIRST_PRIVATE 0xf0000
#define ACCEPT4 366
#define REFUSE BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (ENOSYS & SECCOMP_RET_DATA))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static int refuse_newer(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ACCEPT4, 0, 1),
		REFUSE,
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST_PRIVATE, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, LAST_OF_3_0, 1, 0),
		ALLOW,
		REFUSE,
	};
	struct sock_fprog program = { sizeof filter / sizeof *filter, filter };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

static const struct {
	const char *name;
	long number;
} newer[] = {
	{ "accept4", 366 }, { "getrandom", 384 }, { "memfd_create", 385 }, { "statx", 397 }, { "clock_gettime64", 403 },
	{ "futex_time64", 422 }, { "clone3", 435 }, { "close_range", 436 }, { "epoll_pwait2", 441 }, { "landlock", 444 },
};

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: oldkernel COMMAND [ARG ...]\n");
		return 64;
	}
	if (refuse_newer() != 0) {
		fprintf(stderr, "oldkernel: seccomp: %s\n", strerror(errno));
		return 1;
	}
	if (strcmp(argv[1], "--list") == 0) {
		for (size_t i = 0; i < sizeof newer / sizeof *newer; i++) {
			long result = syscall(newer[i].number, -1, 0, 0, 0, 0, 0);
			if (result != -1 || errno != ENOSYS) {
				fprintf(stderr, "oldkernel: %s is there\n", newer[i].name);
				return 1;
			}
			printf("%s%s", i ? ", " : "", newer[i].name);
		}
		printf(" and all others after setns\n");
		return 0;
	}
	execv(argv[1], argv + 1);
	fprintf(stderr, "oldkernel: %s: %s\n", argv[1], strerror(errno));
	return 1;
}
