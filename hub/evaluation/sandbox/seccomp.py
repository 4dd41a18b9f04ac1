"""A seccomp filter, as BPF of our own (seccomp(2)): what scoring a model never needs is refused, for good.

No sockets of any family, no programs, no processes (threads are allowed), no tracing, mounting, namespaces, keys, BPF,
io_uring, performance counters or kernel settings; no limits, priorities or processors of others; nothing that is newer than the
list. Refused calls answer EPERM; clone3, whose flags a filter cannot see, answers ENOSYS, so that the C library falls back to
clone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_THREAD = 0x10000
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_CLONE3 = 435
_NEWEST = 462  # mseal
_ALIKE = (
    # pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig fsmount fspick
    # pidfd_open pidfd_getfd process_madvise mount_setattr quotactl_fd memfd_secret process_mrelease statmount listmount
    *(424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 440, 442, 443, 447, 448, 457, 458),
)


@dataclass(frozen=True)
class _Machine:
    architecture: int
    clone: int
    of_oneself: tuple[int, ...]
    """prlimit64 and sched_setaffinity: whose first argument, a process, must be 0, the caller."""
    refused: tuple[int, ...]


_X86 = _Machine(
    0xC000003E,
    56,
    (302, 203),
    (
        # socket connect accept sendto recvfrom sendmsg recvmsg shutdown bind listen getsockname getpeername socketpair
        *range(41, 54),
        *(288, 299, 307),  # accept4 recvmmsg sendmmsg
        *(57, 58, 59, 322),  # fork vfork execve execveat
        *(101, 310, 311, 312),  # ptrace process_vm_readv process_vm_writev kcmp
        *(155, 161, 165, 166, 272, 308),  # pivot_root chroot mount umount2 unshare setns
        *(248, 249, 250),  # add_key request_key keyctl
        *(298, 321, 323),  # perf_event_open bpf userfaultfd
        *(175, 176, 313, 246, 320),  # init_module delete_module finit_module kexec_load kexec_file_load
        *(
            163,
            164,
            167,
            168,
            169,
            170,
            171,
            172,
            173,
            179,
        ),  # acct settimeofday swap reboot hostnames iopl ioperm quotactl
        *(227, 305, 159, 134, 153, 154, 156, 103),  # clock_* adjtimex uselib vhangup modify_ldt sysctl syslog
        *(133, 259, 135),  # mknod mknodat personality
        *(300, 301, 303, 304),  # fanotify_init fanotify_mark name_to_handle_at open_by_handle_at
        *(105, 106, 113, 114, 116, 117, 119, 122, 123),  # setuid and its kin
        *(
            29,
            30,
            31,
            64,
            65,
            66,
            68,
            69,
            70,
            71,
            240,
            241,
            242,
            243,
        ),  # System V shared memory, semaphores, queues; mq_*
        *(62, 129, 200, 141),  # kill rt_sigqueueinfo tkill setpriority; threads signal each other with tgkill
    ),
)
_ARM = _Machine(
    0xC00000B7,
    220,
    (261, 122),
    (
        *range(198, 204),  # socket socketpair bind listen accept connect
        *(204, 205, 206, 207, 210, 211, 212, 242, 243, 269),  # names, send, receive, shutdown
        *(221, 281),  # execve execveat
        *(117, 270, 271, 272),  # ptrace process_vm_* kcmp
        *(39, 40, 41, 51, 97, 268),  # umount2 mount pivot_root chroot unshare setns
        *(217, 218, 219),  # keys
        *(241, 280, 282),  # perf_event_open bpf userfaultfd
        *(105, 106, 273, 104, 294),  # modules kexec
        *(89, 170, 224, 225, 142, 161, 162, 60),  # acct settimeofday swap reboot hostnames quotactl
        *(112, 266, 171, 58, 116),  # clock_* adjtimex vhangup syslog
        *(33, 92),  # mknodat personality
        *(262, 263, 264, 265),  # fanotify handles
        *(143, 144, 145, 146, 147, 149, 151, 152, 159),  # setuid and its kin
        *range(180, 198),  # mq_* and System V
        *(129, 138, 130, 140),  # kill rt_sigqueueinfo tkill setpriority
    ),
)
_MACHINES = {"x86_64": _X86, "aarch64": _ARM}


def install() -> None:
    """For this thread and all it starts, for good. Raises `OSError`."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(f"no seccomp filter is known for {platform.machine()}")
    code = program(machine)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_SET_SECCOMP, _FILTER, header, 0, 0):
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")


def program(machine: _Machine) -> bytes:
    """The filter: an array of `struct sock_filter`. Jumps are relative to the next instruction."""
    checks = [
        _load(_ARCHITECTURE),
        _jump(_EQUAL, machine.architecture, 1, 0),
        _give(_KILL),
        _load(_NUMBER),
        *([_jump(_AT_LEAST, 0x40000000, 0, 1), _give(_KILL)] if machine is _X86 else []),  # x32's numbers
        _jump(_AT_LEAST, _NEWEST + 1, 0, 1),
        _give(_ERRNO | errno.ENOSYS),
        _jump(_EQUAL, _CLONE3, 0, 1),
        _give(_ERRNO | errno.ENOSYS),
    ]
    for number in sorted({*machine.refused, *_ALIKE}):
        checks += [_jump(_EQUAL, number, 0, 1), _give(_ERRNO | errno.EPERM)]
    for number in machine.of_oneself:
        checks += [
            _jump(_EQUAL, number, 0, 4),
            _load(_FIRST_ARGUMENT),
            _jump(_EQUAL, 0, 1, 0),
            _give(_ERRNO | errno.EPERM),
            _give(_ALLOW),
        ]
    checks += [
        _jump(_EQUAL, machine.clone, 0, 3),
        _load(_FIRST_ARGUMENT),
        _jump(_ANY_BIT, _THREAD, 1, 0),
        _give(_ERRNO | errno.EPERM),
        _give(_ALLOW),
    ]
    return b"".join(checks)


def _load(offset: int) -> bytes:
    return struct.pack("=HBBI", _LOAD, 0, 0, offset)


def _jump(test: int, value: int, yes: int, no: int) -> bytes:
    return struct.pack("=HBBI", test, yes, no, value)


def _give(verdict: int) -> bytes:
    return struct.pack("=HBBI", _RETURN, 0, 0, verdict)
