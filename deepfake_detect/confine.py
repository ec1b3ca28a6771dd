"""What a process that reads hostile files gives up first: memory, time and files without limit and, where it can, network.

Limits of the system (rlimits) hold on every Unix. On Linux, with the package pyseccomp, the kernel also refuses system
calls for good: nothing is sent, started or written, whatever a decoder's bug makes the process do. Where reports must be
written, Landlock holds that to one folder, and owners, modes, times and links stay as they are. What it may read is not
narrowed.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, fields

from .errors import OptionsError

log = logging.getLogger(__name__)

_GIB = 2**30
# By what they would give away. None of them is needed by a process that has loaded its net and gets its files opened.
_NETWORK = ("socket", "connect", "bind", "listen", "accept", "accept4")
_PROGRAMS = ("execve", "execveat", "fork", "vfork")
_OTHER_PROCESSES = ("ptrace", "process_vm_readv", "process_vm_writev", "tkill", "pidfd_send_signal", "pidfd_getfd",
                    "rt_sigqueueinfo", "rt_tgsigqueueinfo", "setns", "unshare")  # fmt: skip
# What these set they set for other processes, too: who gets the processor and the disk, and where memory lies.
_PRIORITIES = ("setpriority", "ioprio_set", "sched_setaffinity", "sched_setattr", "sched_setparam",
               "sched_setscheduler", "migrate_pages", "move_pages", "process_madvise")  # fmt: skip
# Memory, semaphores and queues of all programs of a user, which no file stands for: to be written into, and removed.
_SHARED = ("shmget", "shmat", "shmctl", "semget", "semop", "semtimedop", "semctl", "msgget", "msgsnd", "msgrcv", "msgctl",
           "mq_open", "mq_unlink")  # fmt: skip
# Who leads a session may get a terminal again, and who leaves the group no longer hears what is sent to all of it.
_SESSIONS = ("setsid", "setpgid")
# Seldom used and often broken parts of the kernel.
_KERNEL = ("bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "mount", "umount2", "pivot_root",
           "chroot")  # fmt: skip
# F_SETOWN, F_SETSIG and F_SETOWN_EX; FIOSETOWN and SIOCSPGRP.
_FCNTL_OWNERS, _IOCTL_OWNERS = (8, 10, 15), (0x8901, 0x8902)
# FS_IOC_SETFLAGS, the same of 32 bits, and FS_IOC_FSSETXATTR: a file's attributes, for which it need not be open to write.
_IOCTL_ATTRIBUTES = (0x40086602, 0x40046602, 0x401C5820)
# TIOCSTI and TIOCLINUX: what they type or paste into a terminal its shell would run.
_IOCTL_TYPING = (0x5412, 0x541C)
# These would do what is refused elsewhere, with arguments that a filter can't see. Programs know how to do without.
_UNSEEN = ("io_uring_setup", "openat2", "clone3")
# Nobody who writes a report needs these, and Landlock holds most of them to no folder. Numbers are for what libseccomp has
# no names for yet; they are the same on every machine: setxattrat, removexattrat, file_setattr.
_MARKS = ("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "setxattr", "lsetxattr",
          "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", 463, 466, 469, "utime", "utimes", "utimensat",
          "futimesat", "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat", "truncate")  # fmt: skip
_CHANGES = ("creat", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir")
_CLONE_THREAD = 0x10000
# Landlock has no functions in the C library yet; these numbers are the same on every machine.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF, _NO_NEW_PRIVILEGES = 444, 445, 446, 38
_LANDLOCK_VERSION, _LANDLOCK_BELOW = 1, 1
# To write, remove and make files of every kind.
_LANDLOCK_WRITE = 1 << 1
_LANDLOCK_CHANGES = _LANDLOCK_WRITE | sum(1 << bit for bit in range(4, 13))
_LANDLOCK_TRUNCATE = 1 << 14


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def raise_open_files() -> None:
    """Let this process have as many files open as it may: pipes of hundreds of workers at a time, or connections."""
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # macOS promises more than it gives, which is as many as the second.
        for most in (hard, 10_240):
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
                return


@dataclass(frozen=True)
class Limits:
    """What judging one file may take.

    Attributes:
        seconds: Of time. Default 300.
        cpu_s: Of the processor, all threads together. Default 600.
        memory_bytes: Address space beyond what the loaded net takes; Linux only. Default 4 GiB.
        file_bytes: A larger file is refused. Default 64 GiB.
        open_files: Beyond those open once the net is loaded. Default 64.
        written_bytes: The largest file that may be written; 0 for none at all. Default 0.
        written_below: The folder below which files may be written, where the kernel can hold a process to that (Linux from
            5.13 on, Landlock); None for any folder.
    """

    seconds: float = 300
    cpu_s: float = 600
    memory_bytes: int = 4 * _GIB
    file_bytes: int = 64 * _GIB
    open_files: int = 64
    written_bytes: int = 0
    written_below: str | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.name == "written_below":
                continue
            value, least = getattr(self, item.name), 0 if item.name == "written_bytes" else 1
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < 2**62:
                raise OptionsError(f"{item.name}: expected a number from {least}, found {value!r}")


def fence(limits: Limits) -> bool:
    """Give up, for the rest of this thread and those it starts, changing files but below `written_below`.

    Returns:
        Whether the kernel sees to it.

    Raises:
        OptionsError: There is no such folder. Who is to write there must not be able to write everywhere for that.
    """
    if sys.platform != "linux" or limits.written_below is None or not limits.written_bytes:
        return False
    if not os.path.isdir(limits.written_below):
        raise OptionsError("the folder that may be written to is missing; make it again")
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    if version < 1:
        log.debug("no Landlock: %s", os.strerror(ctypes.get_errno()))
        return False
    # Emptying a file in place is known from the third version on; it needs the right to write, which is refused anyway.
    handled = _LANDLOCK_CHANGES | (_LANDLOCK_TRUNCATE if version >= 3 else 0)
    ruleset = struct.pack("<Q", handled)
    descriptors = []
    try:
        rules = libc.syscall(_CREATE_RULESET, ruleset, ctypes.c_size_t(len(ruleset)), 0)
        if rules < 0:
            return False
        descriptors.append(rules)
        # The null device, for whatever is started while the rest is being given up, such as the search for libseccomp.
        for path, allowed in ((limits.written_below, handled), (os.devnull, _LANDLOCK_WRITE)):
            descriptors.append(os.open(path, os.O_PATH))
            if libc.syscall(_ADD_RULE, rules, _LANDLOCK_BELOW, struct.pack("<Qi", allowed, descriptors[-1]), 0) != 0:
                return False
        if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
            return False
        return bool(libc.syscall(_RESTRICT_SELF, rules, 0) == 0)
    except OSError as error:
        log.debug("no Landlock: %s", error)
        return False
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def confine(limits: Limits) -> str:
    """Give up, for the rest of this process, what judging does not need.

    Returns:
        What holds from now on: `seccomp+rlimits`, `rlimits`, or `none` where the system has no such thing.
    """
    if sys.platform == "win32":
        return "none"
    import resource

    def lower(name: int, value: int) -> None:
        _, hard = resource.getrlimit(name)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))

    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_FSIZE, limits.written_bytes)
    lower(resource.RLIMIT_NOFILE, max(int(name) for name in os.listdir("/dev/fd")) + 1 + limits.open_files)
    held = _seccomp(writes=limits.written_bytes > 0)
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        lower(resource.RLIMIT_AS, now + int(limits.memory_bytes))
    return "seccomp+rlimits" if held else "rlimits"


def start_clock(limits: Limits) -> None:
    """From now on count this file's seconds. The kernel ends the process when they are over, even if nobody else lives to.

    Processor time ends it by SIGXCPU, time by SIGALRM, somewhat later than whoever watches it should: where that one was
    paused, so may this process have been, and its end says nothing of the file.
    """
    if sys.platform == "win32":
        return
    import resource
    import signal

    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    until = int(time.process_time() + limits.cpu_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (until if hard == resource.RLIM_INFINITY else min(until, hard), hard))
    signal.setitimer(signal.ITIMER_REAL, limits.seconds + 5)


def stop_clock() -> None:
    """The file is judged."""
    if sys.platform != "win32":
        import signal

        signal.setitimer(signal.ITIMER_REAL, 0)


def _seccomp(*, writes: bool) -> bool:
    """Have the kernel refuse what is not needed; False where it, or the package or library for it, can't."""
    if sys.platform != "linux":
        return False
    try:
        import pyseccomp as seccomp
    except (ImportError, RuntimeError, OSError) as error:
        # RuntimeError: the package is there, libseccomp, which it calls, is not.
        log.debug("no seccomp: %s", error)
        return False
    refuse, missing = seccomp.ERRNO(errno.EPERM), seccomp.ERRNO(errno.ENOSYS)
    own = os.getpid()
    rules: list[tuple[int, str | int, tuple[object, ...]]] = [
        (refuse, name, ())
        for name in (*_NETWORK, *_PROGRAMS, *_OTHER_PROCESSES, *_PRIORITIES, *_SHARED, *_SESSIONS, *_KERNEL, *_MARKS)
    ]
    rules += [(missing, name, ()) for name in _UNSEEN]
    # Threads are fine, processes are not.
    rules.append((refuse, "clone", (seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, 0),)))
    # abort() sends a signal to itself.
    rules += [(refuse, name, (seccomp.Arg(0, seccomp.NE, own),)) for name in ("kill", "tgkill")]
    # Ways to have the kernel send one to others: by their limits, or by a descriptor that belongs to them.
    rules.append((refuse, "prlimit64", (seccomp.Arg(0, seccomp.NE, 0),)))
    for name, wanted in (("fcntl", _FCNTL_OWNERS), ("ioctl", (*_IOCTL_OWNERS, *_IOCTL_ATTRIBUTES, *_IOCTL_TYPING))):
        # Masked, since the kernel looks at the lower half alone.
        rules += [(refuse, name, (seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, what),)) for what in wanted]
    if not writes:
        rules += [(refuse, name, ()) for name in _CHANGES]
        for name, place in (("open", 1), ("openat", 2)):
            for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
                rules.append((refuse, name, (seccomp.Arg(place, seccomp.MASKED_EQ, flag, flag),)))
    try:
        wall = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
        # For the threads that are there already, too.
        wall.set_attr(seccomp.Attr.CTL_TSYNC, 1)
        for action, call, arguments in rules:
            try:
                wall.add_rule(action, call, *arguments)
            except ValueError:
                # A call that this machine, or this libseccomp, has never heard of.
                log.debug("seccomp: no system call %s", call)
        wall.load()
    except (OSError, RuntimeError) as error:
        log.debug("no seccomp: %s", error)
        return False
    return True
