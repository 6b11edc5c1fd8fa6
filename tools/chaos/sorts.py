"""The sorts of workloads that are submitted, what their programs do, and what must become of them.

Every program first writes `run-id pid start` to the witness file, with one O_APPEND write, and
takes a lock of its workload that its whole tree inherits: a second live run of it finds the lock
taken and says `doubled`. Neither goes through the agent.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_PROLOGUE = r"""
read -r stat < /proc/$$/stat
set -- $stat
printf '%s %s %s\n' "$CNET_RUN_ID" "$$" "${22}" >> "$CHAOS_DIR/witness"
exec 9>> "$CHAOS_DIR/locks/$CNET_WORKLOAD_ID"
flock -n 9 || printf 'doubled %s\n' "$CNET_RUN_ID" >> "$CHAOS_DIR/witness"
"""
# Double-forked into sessions of their own, deaf to SIGTERM: neither the process group nor the
# parent leads to the first of them, only to the second.
_FAMILY = r"""
(setsid sh -c 'trap "" TERM; while :; do sleep 1000; done' &)
sh -c 'trap "" TERM; while :; do sleep 1000; done' &
exec sleep 100000
"""
MIB = 1024 * 1024
FLAPS = 2
HOPELESS_RESTARTS = 2


@dataclass(frozen=True, slots=True)
class Sort:
    """One kind of behaviour.

    `lasting`: it runs until somebody ends it, after its first `flaps` attempts have failed.
    `exit_code`: how it ends otherwise.
    """

    name: str
    script: str
    weight: int
    lasting: bool = False
    flaps: int = 0
    exit_code: int | None = None
    restart: dict[str, Any] | None = None
    cores: tuple[float, ...] = (0.1, 0.25, 0.5)
    queue: bool = True


SORTS = (
    Sort("ends-well", "exit 0", 4, exit_code=0),
    Sort("ends-with-7", "sleep 0.1; exit 7", 4, exit_code=7),
    Sort("ends-with-42", "exit 42", 2, exit_code=42),
    Sort("sleeps", "exec sleep 100000", 6, lasting=True),
    Sort("has-family", _FAMILY, 5, lasting=True),
    Sort("is-stubborn", "trap '' TERM; while :; do sleep 1000; done", 2, lasting=True),
    Sort(
        "flaps-then-runs",
        f'[ "${{CNET_RUN_ID##*.}}" -le {FLAPS} ] && exit 3; exec sleep 100000',
        4,
        lasting=True,
        flaps=FLAPS,
        restart={"policy": "on_failure", "attempts": 8, "backoff_s": 0.03},
    ),
    Sort(
        "is-hopeless",
        "exit 3",
        3,
        exit_code=3,
        restart={"policy": "on_failure", "attempts": HOPELESS_RESTARTS, "backoff_s": 0.02},
    ),
    Sort("is-big", "exec sleep 100000", 3, lasting=True, cores=(2.5,)),
    Sort("is-impatient", "exec sleep 100000", 2, lasting=True, cores=(1.0, 2.0), queue=False),
)
SERVES = "serves"
SERVICE = Sort(SERVES, "", 1, lasting=True, restart={"policy": "on_failure"})


def choose(rng: random.Random, sorts: Sequence[Sort] = SORTS) -> Sort:
    """One of them by weight."""
    return rng.choices(sorts, weights=[sort.weight for sort in sorts])[0]


def body(
    sort: Sort, workload_id: str, *, rng: random.Random, folder: str, mark: str
) -> dict[str, Any]:
    """The submit of one process."""
    spec: dict[str, Any] = {
        "id": workload_id,
        "name": f"{sort.name}-{workload_id[:8]}",
        "type": "process",
        "requirements": {
            "cpu": rng.choice(sort.cores),
            "memory": rng.choice((0, 32 * MIB, 64 * MIB)),
            "storage": rng.choice((0, MIB)),
        },
        "config": {
            "command": "/bin/sh",
            "args": ["-c", _PROLOGUE + sort.script],
            "env": {"CHAOS_MARK": mark, "CHAOS_DIR": folder},
        },
        "stop_grace_s": 0.15,
        "queue": sort.queue,
    }
    if sort.restart is not None:
        spec["restart"] = sort.restart
    return spec


def service_body(workload_id: str, *, port: int | None) -> dict[str, Any]:
    """The submit of a face detector on a fixed port."""
    return {
        "id": workload_id,
        "name": f"serves-{workload_id[:8]}",
        "type": "opencv",
        "requirements": {"cpu": 0.1},
        "config": {"cascade_type": "face", "service_port": port},
        "restart": SERVICE.restart,
        "stop_grace_s": 1,
    }
