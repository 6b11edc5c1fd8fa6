"""The same for each of several targets, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cnet.cli import exit_codes
from cnet.cli.exit_codes import ExitCode
from cnet.cli.output import emit, emit_json_line, report
from cnet.cli.session import Session
from cnet.client import AgentClient, JsonObject
from cnet.errors import CnetError, NotFoundError

Action = Callable[[AgentClient, str], JsonObject | None]
"""Done to one target; a workload, if there is one to be told of."""


def for_each(
    session: Session, targets: Sequence[str], action: Action, *, done: str, missing_ok: bool = False
) -> int:
    """Do `action` to every target and say that it is `done`; the exit code of the first failure.

    With `missing_ok` one that is not there is passed over.
    """
    first_failure: int = ExitCode.OK
    with session.connect() as client:
        for target in targets:
            try:
                workload = action(client, target)
            except CnetError as error:
                if isinstance(error, NotFoundError) and missing_ok:
                    continue
                report(error, as_json=session.as_json)
                first_failure = first_failure or exit_codes.for_error(error)
                continue
            if session.as_json:
                more = {} if workload is None else {"workload": workload}
                emit_json_line({"target": target, "result": done, **more})
            else:
                emit(f"{target if workload is None else workload['name']} {done}")
    return first_failure
