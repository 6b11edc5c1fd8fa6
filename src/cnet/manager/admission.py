"""From a request, or a record of the journal, to a workload the manager can handle."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from cnet._support import clock
from cnet.errors import SpecError
from cnet.executors.base import ChecksHealth, ChoosesRestart, Executor, ServesEndpoint
from cnet.manager.journal import Record
from cnet.manager.workloads import Workload
from cnet.model.workload import RestartPolicy, WorkloadSpec, WorkloadStatus
from cnet.supervision.values import resolve_user

DEFAULT_RESTART = {False: RestartPolicy(), True: RestartPolicy(policy="on_failure")}
"""By whether it is a service."""


class NotHereError(SpecError):
    """The request is right as such, but this machine lacks what it names."""


async def admit(
    spec: WorkloadSpec, executors: Mapping[str, Executor], *, workload_id: str | None = None
) -> Workload:
    """Check the whole request for this node; changes nothing.

    Raises SpecError naming the field; NotHereError when another node might take it;
    UnreachableError when what runs it here has gone away.
    """
    workload = parsed(spec, executors, workload_id=workload_id)
    executor = executors[spec.type]
    try:
        resolve_user(spec.run_as)
        await executor.prepare(workload.config)
    except SpecError as error:
        raise NotHereError(error.message, field=error.field, code=error.code) from None
    return workload


def parsed(
    spec: WorkloadSpec, executors: Mapping[str, Executor], *, workload_id: str | None = None
) -> Workload:
    """A new workload whose kind and config are known to be right. Raises SpecError."""
    executor = executors.get(spec.type)
    if executor is None:
        allowed = ", ".join(sorted(executors))
        raise SpecError(f"type: {spec.type!r} is not one of {allowed}", field="type")
    config = parse_config(executor, spec.config)
    return _assemble(
        workload_id or str(spec.id or uuid.uuid4()), spec, _new_status(), executor, config
    )


def unprepared(spec: WorkloadSpec) -> Workload:
    """A new workload of a kind that only other nodes know; they check its config."""
    return _assemble(str(spec.id or uuid.uuid4()), spec, _new_status(), None, None)


def _new_status() -> WorkloadStatus:
    now = clock.now()
    return WorkloadStatus(created_at=now, updated_at=now)


def restore(record: Record, executors: Mapping[str, Executor]) -> Workload:
    """A workload as the journal has it.

    Without an executor if its plug-in is gone or does not take the config any more: it can then be
    looked at and deleted, not run.
    """
    executor = executors.get(record.spec.type)
    config: Any = None
    if executor is not None:
        try:
            config = parse_config(executor, record.spec.config)
        except SpecError:
            executor = None
    workload = _assemble(record.id, record.spec, record.status, executor, config)
    workload.accepted = True
    return workload


def parse_config(executor: Executor, config: Mapping[str, Any]) -> Any:
    """`config` as the executor's own model; raises SpecError naming `config.<field>`."""
    try:
        return executor.config_model.model_validate(config)
    except ValidationError as error:
        raise field_error(error, prefix=("config",)) from None


def field_error(error: ValidationError, *, prefix: tuple[str, ...] = ()) -> SpecError:
    """The first problem pydantic found, as a sentence that names the field."""
    problems = error.errors(include_url=False, include_input=False)
    sentences = []
    for problem in problems[:5]:
        path = ".".join(str(part) for part in (*prefix, *problem["loc"])) or "body"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown field"
        sentences.append(f"{path}: {message[:1].lower()}{message[1:]}")
    first = ".".join(str(part) for part in (*prefix, *problems[0]["loc"]))
    return SpecError("; ".join(sentences), field=first or None)


def _assemble(
    workload_id: str,
    spec: WorkloadSpec,
    status: WorkloadStatus,
    executor: Executor | None,
    config: Any,
) -> Workload:
    return Workload(
        workload_id,
        spec,
        status,
        executor=executor,
        config=config,
        restart=_restart(spec, executor, config),
    )


def _restart(spec: WorkloadSpec, executor: Executor | None, config: Any) -> RestartPolicy:
    own = executor.restart(config) if isinstance(executor, ChoosesRestart) else None
    return spec.restart or own or DEFAULT_RESTART[is_service(executor, config)]


def is_service(executor: Executor | None, config: Any) -> bool:
    """Whether it is to run until it is stopped; before that an end of its own is a failure."""
    if isinstance(executor, ChecksHealth):
        return executor.is_service(config)
    return isinstance(executor, ServesEndpoint)
