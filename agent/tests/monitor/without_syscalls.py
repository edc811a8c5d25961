"""Runs a program on a kernel that looks like Linux 3.0: newer system calls are missing (seccomp answers for them).

usage: without_syscalls.py [--getrandom ERRNO] PROGRAM [ARGUMENT...]
"""

import argparse
import ctypes
import errno
import os
import platform
import struct

# Newer than Linux 3.0, or not to be relied on (accept4): x86_64, aarch64.
MISSING = {
    "accept4": (288, 242),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "copy_file_range": (326, 285),
    "epoll_pwait2": (441, 441),
    "faccessat2": (439, 439),
    "getrandom": (318, 278),
    "memfd_create": (319, 279),
    "openat2": (437, 437),
    "pidfd_open": (434, 434),
    "renameat2": (316, 276),
    "statx": (332, 291),
}
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER_MODE = 22, 38, 2


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def statement(code, value, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, value)


def build(getrandom):
    column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
    code = statement(LOAD, 0)
    for name, numbers in MISSING.items():
        answer = getrandom if name == "getrandom" else errno.ENOSYS
        code += statement(JUMP_EQUAL, numbers[column], 0, 1)
        code += statement(RETURN, ERRNO | answer)
    return code + statement(RETURN, ALLOW)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--getrandom", default="ENOSYS")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    code = ctypes.create_string_buffer(build(getattr(errno, arguments.getrandom)))
    program = Program((len(code) - 1) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    # As root the filter may be set without it, and the program under test must set it by itself.
    if os.geteuid() != 0:
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, FILTER_MODE, ctypes.byref(program)) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    os.execv(arguments.command[0], arguments.command)


main()
