"""A little agent to be killed: launches what it is told and waits for ever.

    python -m tests.supervision.agent_program ROOT SPECS

SPECS is a JSON list of objects with run_id, workload_id and argv, and where wanted grace_s and
lease_s: then the run has a lease of that length, which is renewed all the time. A line
`launched <workload_id>` comes for each launch that was answered, `ready` before the first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio

from cnet.supervision import RunSpec, Supervisor, lease_now
from tests.supervision.site import ENVIRONMENT


def say(line: str) -> None:
    """Tell the test at once, even through a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(root: str, specs: str) -> None:
    supervisor = Supervisor(Path(root))

    async def launch(wanted: dict[str, Any]) -> None:
        lease_s = wanted.get("lease_s")
        spec = RunSpec(
            run_id=wanted["run_id"],
            workload_id=wanted["workload_id"],
            attempt=1,
            argv=tuple(wanted["argv"]),
            env=ENVIRONMENT,
            cwd="/",
            grace_s=wanted.get("grace_s", 10.0),
            lease_until=None if lease_s is None else lease_now() + lease_s,
        )
        run = await supervisor.launch(spec)
        say(f"launched {spec.workload_id}")
        while lease_s is not None:
            await anyio.sleep(lease_s / 10)
            run.renew(lease_now() + lease_s)

    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        say("ready")
        for wanted in json.loads(specs):
            group.start_soon(launch, wanted)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], backend_options={"use_uvloop": True})
