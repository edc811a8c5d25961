/*
 * Put before ring's assembly for 32-bit ARM that has a function twice, in the instructions of all CPUs and in NEON's: leaves out
 * the latter, and has its name mean the former. Only handshakes and the hashes of passwords would be faster by it.
 */
#undef __ARM_MAX_ARCH__
#define __ARM_MAX_ARCH__ 6
	.syntax unified
	.arm
	.text
	.globl FAST
	.hidden FAST
	.type FAST, %function
FAST:
	b PLAIN
	.size FAST, . - FAST
