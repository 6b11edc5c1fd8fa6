"""What the agent says about a run it wants, and what it hears about one that ended."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cnet.errors import SpecError
from cnet.supervision import lease

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the tree of a run may use together; None leaves a thing unlimited.

    `cpu_weight_millicores` shares a busy machine in proportion, `cpu_quota_millicores` is a hard
    ceiling even on an idle one.
    """

    memory_bytes: int | None = None
    cpu_weight_millicores: int | None = None
    cpu_quota_millicores: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One start of a workload.

    `run_id` is unique for ever; `workload_id` and `attempt` name the run directory. `env` is the
    whole environment: CNET_RUN_ID and CNET_WORKLOAD_ID are added. `argv[0]` is looked up in the
    PATH of `env`, paths in it count from `cwd`. `log_files` of `log_max_bytes` each are kept per
    workload. With `lease_until` (seconds of CLOCK_BOOTTIME, `lease_now`) its shim ends the run at
    that time unless `Run.renew` has put it off: SIGTERM, SIGKILL after `grace_s`, agent or not.
    """

    run_id: str
    workload_id: str
    attempt: int
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    grace_s: float = 10.0
    limits: Limits = field(default_factory=Limits)
    run_as: str | None = None
    log_max_bytes: int = 10 * MIB
    log_files: int = 2
    lease_until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunExit:
    """How a run ended. Times are unix seconds.

    Exactly one of `exit_code` and `signal` is set, unless the run was `lost` (nobody saw its end)
    or never became the command; then `reason` is one of `exec_failed`, `start_failed`,
    `lease_expired`, `supervisor_lost`, `node_rebooted` and `details` a sentence. A command that was
    ended because its lease was over has the `reason` `lease_expired`, too. `max_rss_bytes` is that
    of the largest single process (not below some 8 MB: the kernel counts from the fork), `cpu_s` of
    all.
    """

    exit_code: int | None
    signal: int | None
    oom_killed: bool
    stopped: bool
    lost: bool
    reason: str | None
    details: str | None
    started_at: float | None
    ended_at: float
    cpu_s: float = 0.0
    max_rss_bytes: int = 0
    log_dropped_bytes: int = 0

    @property
    def never_ran(self) -> bool:
        """Whether the command was surely not executed."""
        return self.started_at is None and not self.lost

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> RunExit:
        """The exit in a record of `records.EXIT`."""
        return cls(**{name: record[name] for name in cls.__dataclass_fields__ if name in record})


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the living tree of a run uses now: CPU seconds so far, resident bytes, processes.

    Bytes that it has received, sent, read and written so far are None where nobody counts them.
    """

    cpu_s: float
    rss_bytes: int
    processes: int
    received_bytes: int | None = None
    sent_bytes: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None


def check(spec: RunSpec) -> None:
    """Raise SpecError naming the first field of `spec` that cannot be used."""
    for name in ("run_id", "workload_id"):
        value = getattr(spec, name)
        if not _PLAIN_NAME.fullmatch(value):
            raise SpecError(
                f"{name} {value!r} must be 1 to 128 letters, digits, '.', '_' or '-', starting "
                "with a letter or digit",
                field=name,
            )
    if not spec.argv or not spec.argv[0]:
        raise SpecError("argv must name a program first", field="argv")
    for name, texts in (("argv", spec.argv), ("env", (*spec.env, *spec.env.values()))):
        if any("\0" in text for text in texts):
            raise SpecError(f"{name} must not contain NUL characters", field=name)
    if any(not name or "=" in name for name in spec.env):
        raise SpecError("names in env must not be empty or contain '='", field="env")
    _check_numbers(spec)


def _check_numbers(spec: RunSpec) -> None:
    if spec.attempt < 0:
        raise SpecError("attempt must be 0 or more", field="attempt")
    if not 0 <= spec.grace_s <= 86_400:
        raise SpecError("grace_s must be 0 to 86400 seconds", field="grace_s")
    if spec.lease_until is not None and not 0 <= spec.lease_until <= lease.MAX_S:
        raise SpecError(
            f"lease_until must be 0 to {lease.MAX_S:g} seconds of CLOCK_BOOTTIME",
            field="lease_until",
        )
    if spec.log_max_bytes < 4096:
        raise SpecError("log_max_bytes must be 4096 or more", field="log_max_bytes")
    if not 1 <= spec.log_files <= 100:
        raise SpecError("log_files must be 1 to 100", field="log_files")
    for name, value in asdict(spec.limits).items():
        if value is not None and value < 1:
            raise SpecError(f"limits.{name} must be 1 or more", field=f"limits.{name}")


def resolve_user(name: str | None) -> dict[str, Any] | None:
    """Ids and groups of the user to run as; None when none is asked or it is the present one.

    Raises SpecError for an unknown user, and for another one when the agent is not root.
    """
    if name is None:
        return None
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):  # ValueError: a NUL in the name
        raise SpecError(f"run_as: there is no user {name!r} on this node", field="run_as") from None
    if os.geteuid() != 0:
        if entry.pw_uid == os.geteuid():
            return None
        mine = pwd.getpwuid(os.geteuid()).pw_name
        raise SpecError(
            f"run_as: the agent runs as {mine!r} and only root may start processes of {name!r}",
            field="run_as",
        )
    groups = os.getgrouplist(name, entry.pw_gid)
    return {"uid": entry.pw_uid, "gid": entry.pw_gid, "groups": groups, "name": name}
