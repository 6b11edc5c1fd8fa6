"""The processes of a local cluster's agents: started in sessions of their own, found again, ended.

A record in a file says which process is which agent. A pid alone would not do, since it may have
been given to somebody else: it counts with its start time and the boot it was started in.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cnet._support.files import write_atomic
from cnet.config import ENV_PREFIX
from cnet.errors import ConfigError, ExecutionError
from cnet.supervision import procfs

POLL_S = 0.02
_TAIL_LINES = 10


@dataclass(frozen=True, slots=True)
class AgentProcess:
    """One agent of a cluster and where its things are."""

    node_id: str
    pid: int
    start: int
    """clock ticks since boot"""
    boot: str
    port: int
    config_file: str
    data_dir: str
    url_file: str
    log_file: str
    log_offset: int
    """bytes that earlier agents had written"""
    settings: tuple[str, ...]
    """`key=JSON`, set beside the configuration file"""

    @property
    def is_alive(self) -> bool:
        """Whether this very process runs."""
        return procfs.is_same_process(self.pid, self.start) and self.boot == procfs.boot_id()

    @property
    def url(self) -> str:
        """Its address, which the agent writes once it is healthy; empty before."""
        try:
            return Path(self.url_file).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def log_tail(self) -> list[str]:
        """The last lines that this process has logged."""
        try:
            with Path(self.log_file).open("rb") as log:
                log.seek(self.log_offset)
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-_TAIL_LINES:]


def start(
    folder: Path,
    *,
    node_id: str,
    port: int,
    config_file: str,
    data_dir: str,
    settings: Iterable[str],
) -> AgentProcess:
    """Start an agent that outlives this program, and write down which process it is."""
    given = tuple(settings)
    run, logs = folder / "run", folder / "logs"
    for each in (run, logs):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    url_file, log_file = run / f"{node_id}.url", logs / f"{node_id}.log"
    url_file.unlink(missing_ok=True)
    offset = log_file.stat().st_size if log_file.exists() else 0
    options = [f"--config={config_file}", f"--url-file={url_file}"]
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "cnet.agent", *options, *given],
        _environment(os.environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log_file), append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,  # Ctrl-C at this terminal is not meant for it
    )
    process = AgentProcess(
        node_id=node_id,
        pid=pid,
        start=procfs.start_time(pid) or 0,
        boot=procfs.boot_id(),
        port=port,
        config_file=config_file,
        data_dir=data_dir,
        url_file=str(url_file),
        log_file=str(log_file),
        log_offset=offset,
        settings=given,
    )
    write_atomic(run / f"{node_id}.json", json.dumps(asdict(process)).encode(), durable=False)
    return process


def start_again(folder: Path, process: AgentProcess) -> AgentProcess:
    """Another agent on the data of one that has ended."""
    return start(
        folder,
        node_id=process.node_id,
        port=process.port,
        config_file=process.config_file,
        data_dir=process.data_dir,
        settings=process.settings,
    )


def known(folder: Path) -> list[AgentProcess]:
    """The agents that were started in `folder` and not ended since, dead or alive, by port."""
    found = [_read(file) for file in (folder / "run").glob("*.json")]
    return sorted(found, key=lambda process: process.port)


def _read(file: Path) -> AgentProcess:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return AgentProcess(**data | {"settings": tuple(data["settings"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{file}: is no record of an agent; end it by hand ({error})") from error


def forget(folder: Path, process: AgentProcess) -> None:
    """Drop the record of an agent that has ended."""
    for ending in ("json", "url"):
        (folder / "run" / f"{process.node_id}.{ending}").unlink(missing_ok=True)


def wait_healthy(process: AgentProcess, *, deadline: float) -> str:
    """The URL of a started agent. Raises ExecutionError when it ends, or is late (monotonic)."""
    while not (url := process.url):
        if not process.is_alive:
            code = _reap(process.pid)
            how = "ended at once" if code is None else f"ended at once with code {code}"
            raise ExecutionError(
                f"the agent of {process.node_id} {how}; its log is {process.log_file}",
                code="cluster_failed",
                log_tail=process.log_tail(),
            )
        if time.monotonic() > deadline:
            raise ExecutionError(
                f"the agent of {process.node_id} is not healthy in time; "
                f"its log is {process.log_file}",
                code="cluster_failed",
                log_tail=process.log_tail(),
            )
        time.sleep(POLL_S)
    return url


def end(processes: Collection[AgentProcess], *, grace_s: float) -> list[AgentProcess]:
    """SIGTERM, and SIGKILL to those that still live after `grace_s`; these are returned."""
    for process in processes:
        _send(process, signal.SIGTERM)
    stubborn = _wait_gone(processes, patience_s=grace_s)
    for process in stubborn:
        _send(process, signal.SIGKILL)
    _wait_gone(stubborn, patience_s=grace_s)
    for process in processes:
        _reap(process.pid)
    return stubborn


def _wait_gone(processes: Iterable[AgentProcess], *, patience_s: float) -> list[AgentProcess]:
    living = [process for process in processes if process.is_alive]
    deadline = time.monotonic() + patience_s
    while living and time.monotonic() < deadline:
        time.sleep(POLL_S)
        living = [process for process in living if process.is_alive]
    return living


def _send(process: AgentProcess, number: signal.Signals) -> None:
    """Signal this very process: a pidfd cannot come to mean another one after the check."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if process.is_alive:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)


def _reap(pid: int) -> int | None:
    """The exit code of a child of this program; None of anybody else's."""
    try:
        _, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without settings: they would be the same for every agent."""
    return {
        name: value
        for name, value in environ.items()
        if not (name.startswith(ENV_PREFIX) and "__" in name)
    }


def wait_for(condition: Callable[[], bool], *, deadline: float) -> bool:
    """Look until `condition` is true; False when it is not by `deadline` (monotonic seconds)."""
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
