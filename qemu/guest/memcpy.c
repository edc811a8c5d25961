/* Compares packaging/toolchain/memcpy.S with copying byte by byte, for all alignments and lengths, and what lies before and behind. */
#include <stdio.h>
#include <string.h>

enum { LENGTHS = 200, SHIFTS = 8, ROOM = LENGTHS + 2 * SHIFTS };

#if __ARM_ARCH >= 7
extern int lenscap_neon;
#else
static int lenscap_neon;
#endif

/* Not inlined, and not taken for something that the compiler knows. */
static void *(*volatile copy)(void *, const void *, size_t) = memcpy;

int main(void)
{
	static unsigned char from[ROOM], to[ROOM];

	for (int i = 0; i < ROOM; i++)
		from[i] = i * 7 + 1;
	for (int n = 0; n < LENGTHS; n++)
		for (int a = 0; a < SHIFTS; a++)
			for (int b = 0; b < SHIFTS; b++) {
				for (int i = 0; i < ROOM; i++)
					to[i] = 0;
				if (copy(to + b, from + a, n) != to + b)
					return puts("memcpy gives another address"), 1;
				for (int i = 0; i < ROOM; i++) {
					int wanted = i < b || i >= b + n ? 0 : from[i - b + a];
					if (to[i] != wanted)
						return printf("memcpy of %d bytes from %d to %d: byte %d\n", n, a, b, i), 1;
				}
			}
	printf("memcpy copies%s\n", lenscap_neon ? ", with NEON" : "");
	return 0;
}
