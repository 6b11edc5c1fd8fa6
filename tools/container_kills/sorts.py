"""The containers that are submitted; `tools.chaos.sorts` says what a sort is.

Each first writes `run-id container-id` to the witness file, a mount from outside, and says `began
run-id`, which must be in the workload's log once.
"""

from __future__ import annotations

import random
from typing import Any

from tools.chaos.sorts import FLAPS, HOPELESS_RESTARTS, MIB, SERVES, Sort
from tools.chaos.witness import WITNESS

SAYS = "began"
SERVED = "/www/id"
_PROLOGUE = f"""
echo "$CNET_RUN_ID $HOSTNAME" >> /seen/{WITNESS}
echo "{SAYS} $CNET_RUN_ID"
"""
_WAIT = "trap 'exit 0' TERM; sleep 100000 & wait"

SORTS = (
    Sort("ends-well", "exit 0", 4, exit_code=0),
    Sort("ends-with-7", "sleep 0.3; exit 7", 4, exit_code=7),
    Sort("sleeps", _WAIT, 6, lasting=True),
    Sort("is-stubborn", "trap '' TERM; while :; do sleep 1000; done", 2, lasting=True),
    Sort("comes-back", _WAIT, 4, lasting=True, restart={"policy": "always"}),
    Sort(
        "flaps-then-runs",
        f'[ "${{CNET_RUN_ID##*.}}" -le {FLAPS} ] && exit 3; {_WAIT}',
        3,
        lasting=True,
        flaps=FLAPS,
        restart={"policy": "on_failure", "attempts": 8, "backoff_s": 0.03},
    ),
    Sort(
        "is-hopeless",
        "exit 3",
        2,
        exit_code=3,
        restart={"policy": "on_failure", "attempts": HOPELESS_RESTARTS, "backoff_s": 0.02},
    ),
    Sort("is-big", _WAIT, 3, lasting=True, cores=(2.5,)),
    Sort("is-impatient", _WAIT, 2, lasting=True, cores=(1.0, 2.0), queue=False),
)
SERVICE = Sort(
    SERVES,
    f'echo "$CNET_WORKLOAD_ID" > {SERVED}; httpd -p 80 -h /www; {_WAIT}',
    1,
    lasting=True,
    restart={"policy": "always"},
)


def body(
    sort: Sort,
    workload_id: str,
    *,
    rng: random.Random,
    image: str,
    folder: str,
    port: int | None = None,
) -> dict[str, Any]:
    """The submit of a container that sees `folder` as /seen; `port` leads to its port 80."""
    return {
        "id": workload_id,
        "name": f"{sort.name}-{workload_id[:8]}",
        "type": "container",
        "requirements": {
            "cpu": rng.choice(sort.cores),
            "memory": rng.choice((0, 16 * MIB, 32 * MIB)),
            "storage": rng.choice((0, MIB)),
        },
        "config": {
            "image": image,
            "pull": "never",
            "command": ["sh", "-c", _PROLOGUE + sort.script],
            "volumes": [f"{folder}:/seen"],
            "ports": [] if port is None else [f"{port}:80"],
        },
        "stop_grace_s": 1,
        "queue": sort.queue,
        **({} if sort.restart is None else {"restart": sort.restart}),
    }
