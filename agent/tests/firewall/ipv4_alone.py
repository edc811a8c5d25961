"""Runs a program on a kernel whose only filter is iptables for IPv4: seccomp answers for the others.

usage: ipv4_alone.py PROGRAM [ARGUMENT...]
"""

import ctypes
import errno
import os
import platform
import struct
import sys

SOCKET = {"x86_64": 41, "aarch64": 198}[platform.machine()]
AF_INET6, NETLINK_NETFILTER = 10, 12
# struct seccomp_data: the number of the call, and the lower halves of its first and third argument.
NUMBER, FAMILY, PROTOCOL = 0, 16, 32
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER_MODE = 22, 38, 2


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def statement(code, value, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, value)


CODE = [
    statement(LOAD, NUMBER),
    statement(JUMP_EQUAL, SOCKET, 0, 4),
    statement(LOAD, FAMILY),
    statement(JUMP_EQUAL, AF_INET6, 3, 0),
    statement(LOAD, PROTOCOL),
    statement(JUMP_EQUAL, NETLINK_NETFILTER, 1, 0),
    statement(RETURN, ALLOW),
    statement(RETURN, ERRNO | errno.EAFNOSUPPORT),
]
code = ctypes.create_string_buffer(b"".join(CODE))
program = Program(len(CODE), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
if libc.prctl(PR_SET_SECCOMP, FILTER_MODE, ctypes.byref(program)) != 0:
    raise OSError(ctypes.get_errno(), "seccomp")
os.execvp(sys.argv[1], sys.argv[1:])
