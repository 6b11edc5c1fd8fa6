"""What happens in the forked child until it has become the command.

Runs in a copy of the shim, so it must be quick, must not return, and reports its failure through
a pipe that closes by itself when `exec` succeeds. Standard library only.
"""

# pathlib would cost every shim memory:
# ruff: noqa: PTH110

from __future__ import annotations

import errno
import os
import resource
import signal

from cnet.supervision import lease as leases
from cnet.supervision import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

EXIT_NOT_STARTED = 127
# What Python changed for itself, or whoever started the agent before it (`nohup`, a shell's `&`),
# and every program expects at its default.
RESTORED_SIGNALS = (
    signal.SIGINT,
    signal.SIGCHLD,
    *(number for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN),
)


def become(
    spec: dict[str, Any],
    *,
    shim_pid: int,
    go: int,
    failure: int,
    output: int,
    data_limit_bytes: int | None,
    lease: leases.Lease | None,
) -> NoReturn:
    """Wait for the word on `go`, then turn into the command of `spec`, or report on `failure`.

    A shim that dies first closes `go` unsaid, and the child ends without having run anything. The
    last thing before the command is a look at its lease.
    """
    try:
        if os.read(go, 1):
            os.setsid()
            os.dup2(output, 1)
            os.dup2(output, 2)
            settle(spec, parent_pid=shim_pid, data_limit_bytes=data_limit_bytes)
            if lease is None or not lease.is_over():
                execute(spec["argv"], spec["env"])
            os.write(failure, leases.OVER_BEFORE_START)
    except BaseException as error:  # noqa: BLE001  nothing may escape into the shim's code
        os.write(failure, describe(error, spec).encode(errors="replace")[:2000])
    finally:
        os._exit(EXIT_NOT_STARTED)


def settle(spec: dict[str, Any], *, parent_pid: int, data_limit_bytes: int | None) -> None:
    """Take on limits, user, working directory and signals of `spec`, and a bond to the parent."""
    if data_limit_bytes is not None:
        # Not RLIMIT_AS: numerical libraries reserve far more address space than they use.
        resource.setrlimit(resource.RLIMIT_DATA, (data_limit_bytes, data_limit_bytes))
    user = spec["run_as"]
    if user is not None:
        os.setgroups(user["groups"])
        os.setresgid(user["gid"], user["gid"], user["gid"])
        os.setresuid(user["uid"], user["uid"], user["uid"])
    # Takes the main process along with a killed parent. Not what it has started, nor a program that
    # gains privileges by its file's mode (exec clears it): those the agent ends, once there is one.
    linux.set_parent_death_signal(linux.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(EXIT_NOT_STARTED)  # it died before the line above could notice
    os.chdir(spec["cwd"])
    for number in RESTORED_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def execute(argv: list[str], env: dict[str, str]) -> None:
    """Replace this process; raises the error of the most telling try.

    Not `os.execvpe`: that imports a module on the way, which another user may not be able to read.
    """
    program = argv[0]
    if "/" in program:
        os.execve(program, argv, env)  # noqa: S606  no shell is the point
    failure: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for directory in env.get("PATH", os.defpath).split(":"):
        try:
            os.execve(f"{directory or '.'}/{program}", argv, env)  # noqa: S606
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            failure = error  # found, but refused: says more than "not found"
    raise failure


def describe(error: BaseException, spec: dict[str, Any]) -> str:
    """A sentence naming the file, folder or user that kept the command from starting."""
    program, cwd = spec["argv"][0], spec["cwd"]
    if not isinstance(error, OSError):
        return f"cannot start {program!r}: {error}"
    reason = error.strerror or str(error)
    if error.filename == cwd:
        return f"cannot enter the working directory {cwd!r}: {reason}"
    if isinstance(error, PermissionError) and error.filename is None:
        return f"cannot change to the user of run_as or set a limit: {reason}"
    if error.errno == errno.ENOENT and "/" in program and os.path.exists(program):
        return f"cannot execute {program!r}: the interpreter that its first line names is missing"
    if error.errno == errno.ENOENT and "/" not in program:
        path = spec["env"].get("PATH", os.defpath)
        return f"cannot execute {program!r}: not found in PATH ({path})"
    return f"cannot execute {program!r}: {reason}"
