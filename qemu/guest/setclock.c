/*
 * setclock [SECONDS]: sets the clock to so many seconds since 1970, and says what it shows. BusyBox' date on this system
 * counts in 32 bits, and cannot leave 2038.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

_Static_assert(sizeof(time_t) == 8, "64-bit time");

int main(int argc, char **argv)
{
	struct timespec now = { .tv_nsec = 0 };

	if (argc > 1) {
		now.tv_sec = atoll(argv[1]);
		if (clock_settime(CLOCK_REALTIME, &now) != 0) {
			perror("setclock");
			return 1;
		}
	}
	if (clock_gettime(CLOCK_REALTIME, &now) != 0) {
		perror("setclock");
		return 1;
	}
	printf("%lld\n", (long long)now.tv_sec);
	return 0;
}
