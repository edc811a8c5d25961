/*
 * Says how the time of processes, all their threads, divides into user and kernel: shares PERIOD_NS PID..., until
 * SIGTERM, then prints "user N kernel N". Samples of the CPU clock, far denser than the kernel's own tick, whose few samples
 * would keep step with the stream.
 */
#define _GNU_SOURCE
#include <linux/perf_event.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGES 64

static volatile sig_atomic_t ended;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

static struct perf_event_mmap_page *open_ring(uint64_t period, size_t page, int *event)
{
	struct perf_event_attr attr;
	void *ring;

	memset(&attr, 0, sizeof attr);
	attr.size = sizeof attr;
	attr.type = PERF_TYPE_SOFTWARE;
	attr.config = PERF_COUNT_SW_CPU_CLOCK;
	attr.sample_period = period;
	attr.sample_type = PERF_SAMPLE_TID;
	attr.exclude_idle = 1;
	attr.wakeup_events = 500;
	*event = syscall(__NR_perf_event_open, &attr, -1, 0, -1, 0);
	if (*event < 0)
		return NULL;
	ring = mmap(NULL, (PAGES + 1) * page, PROT_READ | PROT_WRITE, MAP_SHARED, *event, 0);
	return ring == MAP_FAILED ? NULL : ring;
}

static int is_wanted(uint32_t process, char **words)
{
	for (; *words; words++)
		if (strtoul(*words, NULL, 10) == process)
			return 1;
	return 0;
}

static void drain(struct perf_event_mmap_page *control, size_t page, char **words, unsigned long *user, unsigned long *kernel)
{
	const char *data = (const char *)control + page;
	uint64_t head = control->data_head, at = control->data_tail;

	__sync_synchronize();
	while (at < head) {
		struct perf_event_header record;
		uint32_t process;

		/* Records are multiples of 8 bytes, so neither is ever split by the ring's end. */
		memcpy(&record, data + at % (PAGES * page), sizeof record);
		memcpy(&process, data + (at + sizeof record) % (PAGES * page), sizeof process);
		if (record.type == PERF_RECORD_SAMPLE && is_wanted(process, words)) {
			if ((record.misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_USER)
				++*user;
			else
				++*kernel;
		}
		at += record.size;
	}
	__sync_synchronize();
	control->data_tail = at;
}

int main(int count, char **words)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned long user = 0, kernel = 0;
	struct perf_event_mmap_page *control;
	int event = -1;

	if (count < 3)
		return 2;
	control = open_ring(strtoull(words[1], NULL, 10), page, &event);
	if (!control) {
		perror("shares: perf_event_open");
		return 1;
	}
	signal(SIGTERM, end);
	while (!ended) {
		struct pollfd ready = { .fd = event, .events = POLLIN };

		poll(&ready, 1, 1000);
		drain(control, page, words + 2, &user, &kernel);
	}
	drain(control, page, words + 2, &user, &kernel);
	printf("user %lu kernel %lu\n", user, kernel);
	return 0;
}
