"""Start an innocent process that has a given pid, as the kernel might have done by chance.

    python -S -E squatter.py PID MARK

Uses clone3(2) with `set_tid`, which needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN: root. A program
of its own because a bare clone3 in a process with threads would be unsound. Exits 0 once the
process exists, 1 with the reason when it could not be made. The process sleeps until it is killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys

SYS_CLONE3 = 435


def clone_with_pid(pid: int) -> int:
    """Like `os.fork`, the child's pid chosen. Raises OSError (EEXIST when it is taken)."""
    libc = ctypes.PyDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    wanted = (ctypes.c_int * 1)(pid)
    # struct clone_args: flags pidfd child_tid parent_tid exit_signal stack stack_size tls
    #                    set_tid set_tid_size cgroup
    args = struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
    buffer = ctypes.create_string_buffer(args, len(args))
    result = libc.syscall(
        ctypes.c_long(SYS_CLONE3), ctypes.byref(buffer), ctypes.c_size_t(len(args))
    )
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)


def main(pid: int, mark: str) -> int:
    """Fork, and in the child become `sleep`."""
    try:
        child = clone_with_pid(pid)
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        return 1
    if child == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.setsid()
        os.execve("/bin/sleep", ["sleep", "100000"], {"CHAOS_BYSTANDER": mark})
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
