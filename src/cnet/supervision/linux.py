"""System calls of Linux that the standard library does not wrap.

Used between `fork` and `exec` and in the small supervising processes, so it imports only `ctypes`
beside the built-ins, and every function is a single system call.

Sources: prctl(2), clone(2) (`clone3`, `CLONE_INTO_CGROUP`), signalfd(2), timerfd_create(2).
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
CLONE_PIDFD = 0x1000
CLONE_INTO_CGROUP = 0x2_0000_0000
SYS_CLONE3 = 435  # the same number on every architecture
# Plain numbers: the enumerations of `signal` would cost every shim memory.
SIGCHLD = int(signal.SIGCHLD)
SIGKILL = int(signal.SIGKILL)
SIGTERM = int(signal.SIGTERM)
SIGNALFD_SIGINFO_BYTES = 128
SFD_CLOEXEC = 0o2000000
SFD_NONBLOCK = 0o4000
CLOCK_BOOTTIME = 7
TFD_CLOEXEC = 0o2000000
TFD_NONBLOCK = 0o4000
TFD_TIMER_ABSTIME = 1

# PyDLL keeps the interpreter's lock: `clone3` must return in the child still holding it.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def set_child_subreaper() -> None:
    """Make this process the parent of every orphan among its descendants."""
    _checked(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def set_parent_death_signal(number: int) -> None:
    """Have signal `number` sent to this process when its parent dies.

    A change of uid clears it, so call it after `setuid`. It is kept across `exec`.
    """
    _checked(_libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def set_process_name(name: str) -> None:
    """Set what `ps -o comm` shows (cut to 15 bytes by the kernel)."""
    _checked(_libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0), "prctl(PR_SET_NAME)")


def signal_fd(signals: tuple[int, ...]) -> int:
    """A non-blocking descriptor that becomes readable when one of the blocked `signals` waits."""
    mask = sum(1 << (number - 1) for number in signals)
    # sigset_t of glibc and musl is 128 bytes; both pass on the first 8.
    blob = struct.pack("=Q", mask).ljust(128, b"\0")
    return _checked(_libc.signalfd(-1, blob, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd")


def read_signals(fd: int) -> list[int]:
    """The numbers of the signals that wait on a descriptor of `signal_fd`; empty when none."""
    try:
        data = os.read(fd, 16 * SIGNALFD_SIGINFO_BYTES)
    except BlockingIOError:
        return []
    step = SIGNALFD_SIGINFO_BYTES
    return [struct.unpack_from("=I", data, at)[0] for at in range(0, len(data), step)]


def boottime_timer() -> int:
    """A non-blocking descriptor that becomes readable when the time of `set_timer` has come."""
    flags = TFD_CLOEXEC | TFD_NONBLOCK
    return _checked(_libc.timerfd_create(CLOCK_BOOTTIME, flags), "timerfd_create")


def set_timer(fd: int, at_ns: int) -> None:
    """Have a descriptor of `boottime_timer` due at `at_ns` nanoseconds (not 0) of its clock.

    At once when that has passed; what was due before is forgotten.
    """
    # struct itimerspec: seconds and nanoseconds of the interval (none), then of the time
    spec = struct.pack("@4l", 0, 0, *divmod(at_ns, 1_000_000_000))
    _checked(_libc.timerfd_settime(fd, TFD_TIMER_ABSTIME, spec, None), "timerfd_settime")


def fork(cgroup_fd: int | None = None) -> tuple[int, int]:
    """Fork; (pid, pidfd) in the parent and (0, -1) in the child.

    With `cgroup_fd` the child is born inside the v2 control group of that directory: microseconds,
    where moving a process by `cgroup.procs` waits some 10 ms for an RCU grace period. The pidfd is
    made with the child, so it cannot come to mean another process. The interpreter's after-fork
    hooks do not run (they would dirty shared memory): only for a process with a single thread.

    Raises OSError where the kernel or a seccomp filter refuses (ENOSYS, EPERM, EAGAIN, ...).
    """
    # struct clone_args: flags pidfd child_tid parent_tid exit_signal stack stack_size tls
    #                    set_tid set_tid_size cgroup
    cell = ctypes.c_int(-1)
    flags = CLONE_PIDFD if cgroup_fd is None else CLONE_PIDFD | CLONE_INTO_CGROUP
    place = ctypes.addressof(cell)
    args = struct.pack("=11Q", flags, place, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, cgroup_fd or 0)
    buffer = ctypes.create_string_buffer(args, len(args))
    number = ctypes.c_long(SYS_CLONE3)
    pid = _libc.syscall(number, ctypes.byref(buffer), ctypes.c_size_t(len(args)))
    return (_checked(pid, "clone3"), cell.value) if pid else (0, -1)
