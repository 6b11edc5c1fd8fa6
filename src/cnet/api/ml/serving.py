"""Services of models: started when the first prediction asks, unloaded when none has for a while.

A service is a workload of this node like any other, with an id that follows from the model's: it
cannot be there twice, and whoever restarts the agent finds it again. Nothing else is written down.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import structlog

from cnet._support.clock import boottime
from cnet.api.ml.service import Service
from cnet.api.services.connection import ServiceGoneError
from cnet.api.services.pool import ConnectionPool
from cnet.errors import BadGatewayError, CnetError, ConflictError, NotFoundError, TransientError
from cnet.executors.training import TrainingConfig, serving_config
from cnet.manager import Manager, Workload
from cnet.model.lifecycle import Phase, wire_status
from cnet.model.workload import WorkloadSpec, WorkloadStatus

log = structlog.get_logger(__name__)

SERVES = "cnet.ml/model"
"""Label of a service: the id of its model."""
_NAMESPACE = uuid.UUID("6f1f0f7e-6d6c-4d0b-9a55-7c2f4a1d5b10")
LOOK_S = 2.0
"""At the most, between looks at what is idle or without its model."""
WAITING = frozenset({"no_capacity", "engine_unreachable", "node_unreachable"})
"""Status reasons of a service that is not about to come."""


@dataclass(slots=True)
class _Use:
    """One model that is, or was, loaded."""

    last: float
    """`boottime` seconds of the last prediction"""
    under_way: int = 0
    starting: anyio.Lock = field(default_factory=anyio.Lock)


class ModelServing:
    """The services of all models whose files are on this node."""

    def __init__(self, manager: Manager, *, idle_s: float) -> None:
        self._manager = manager
        self._idle_s = idle_s
        self._uses: dict[str, _Use] = {}  # by the id of the model
        self._services: dict[str, Service] = {}
        self._pool = ConnectionPool()

    async def run(self) -> None:
        """Unload what is idle and delete what has lost its model, until cancelled."""
        now = boottime()
        for workload in self._manager.workloads():
            if (model_id := workload.spec.labels.get(SERVES)) and self._is_service(workload):
                self._uses[model_id] = _Use(last=now)
        try:
            while True:
                for model_id in list(self._uses):
                    await self._look(model_id)
                await anyio.sleep(min(LOOK_S, self._idle_s / 2))
        finally:
            self._pool.close()

    def find(self, model_id: str) -> Workload | None:
        """The service of a model, running or not."""
        try:
            return self._manager.get(str(service_id(model_id)))
        except NotFoundError:
            return None

    async def remove(self, model_id: str) -> None:
        """Delete the service of a model, if there is one."""
        service = self.find(model_id)
        if service is not None:
            await self._manager.delete(service.id)
            await service.forgotten.wait()

    async def predict(
        self, model: Workload, input_data: Any, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """`{prediction, confidence?, metadata}`; waits while the model is loaded.

        Raises ConflictError while there is nothing to serve, TransientError when there is no room
        for it now, BadGatewayError when it cannot be loaded or fails, and what is wrong with the
        input as the service has put it.
        """
        with self._using(model.id):
            try:
                service = await self._ready(model)
                return await self._asked(model, service, input_data, options)
            except ServiceGoneError:  # unloaded in this very moment
                service = await self._ready(model)
                return await self._asked(model, service, input_data, options)

    async def _asked(
        self, model: Workload, service: Workload, input_data: Any, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        run = (service.id, service.status.attempt)
        known = self._services.get(model.id)
        if known is None or known.run != run:
            known = self._services[model.id] = Service(run, self._pool)
        return await known.predict(service.status.endpoint or "", input_data, options)

    @contextmanager
    def _using(self, model_id: str) -> Iterator[None]:
        use = self._uses.setdefault(model_id, _Use(last=boottime()))
        use.under_way += 1
        try:
            yield
        finally:
            use.under_way -= 1
            use.last = boottime()

    async def require_servable(self, model: Workload) -> None:
        """Raises ConflictError saying why a prediction could not be answered."""
        _require_trained(model)
        await anyio.to_thread.run_sync(self._spec, model)

    # --- loading ---------------------------------------------------------------------------------

    async def _ready(self, model: Workload) -> Workload:
        """The service, once it runs."""
        _require_trained(model)
        loaded = self.find(model.id)
        if loaded is not None and _is_ready(loaded, model):
            return loaded
        async with self._uses[model.id].starting:
            service = await self._started(model)
        await service.until(_settled)
        status = service.status
        if status.phase is Phase.RUNNING:
            return service
        if status.phase in {Phase.PENDING, Phase.STOPPED}:
            raise TransientError(
                f"model {model.id} is not loaded: {status.detail or status.reason}",
                code=status.reason if status.phase is Phase.PENDING else None,
            )
        said = status.log_tail[-1] if status.log_tail else status.detail or status.reason
        raise BadGatewayError(f"model {model.id} cannot be loaded: {said}", code="model_failed")

    async def _started(self, model: Workload) -> Workload:
        """The service as it is to be, on its way at least."""
        spec = await anyio.to_thread.run_sync(self._spec, model)
        service = self.find(model.id)
        if service is not None and (service.spec != spec or _is_stale(service, model)):
            await self.remove(model.id)
            service = None
        if service is None:
            service, _ = await self._manager.submit(spec)
        elif service.status.is_terminal or service.status.phase is Phase.STOPPING:
            await self._manager.restart(service.id)
        return service

    def _spec(self, model: Workload) -> WorkloadSpec:
        config: TrainingConfig = model.config
        return WorkloadSpec(
            id=service_id(model.id),
            name=f"{model.spec.name[:100]}-service",
            type="mlmodel",
            requirements=model.spec.requirements,
            limits=model.spec.limits,
            labels={SERVES: model.id},
            node=self._manager.node_id,
            config=dict(serving_config(config)),
        )

    # --- unloading -------------------------------------------------------------------------------

    async def _look(self, model_id: str) -> None:
        use, service = self._uses[model_id], self.find(model_id)
        if use.under_way:
            return
        try:
            model = self._manager.get(model_id)
        except NotFoundError:
            model = None
        if service is None:
            del self._uses[model_id]
            self._services.pop(model_id, None)
            return
        try:
            if model is None:
                log.info("model_gone", service_id=service.id, model_id=model_id)
                await self._manager.delete(service.id)
            elif service.status.is_terminal or boottime() - use.last < self._idle(model):
                return
            else:
                log.info("model_idle", service_id=service.id, model_id=model_id)
                await self._manager.stop(service.id)
        except CnetError as error:  # a full disk, or it ended just now: the next look will tell
            log.warning("not_unloaded", service_id=service.id, why=error.message)

    def _idle(self, model: Workload) -> float:
        config = model.config
        own = config.idle_s if isinstance(config, TrainingConfig) else None
        return self._idle_s if own is None else own

    @staticmethod
    def _is_service(workload: Workload) -> bool:
        """A label alone may be anybody's."""
        return workload.id == str(service_id(workload.spec.labels[SERVES]))


def service_id(model_id: str) -> uuid.UUID:
    """The id of a model's service."""
    return uuid.uuid5(_NAMESPACE, model_id)


def _settled(status: WorkloadStatus) -> bool:
    """It runs, has ended, or waits for what may take long."""
    if status.phase is Phase.PENDING:
        return status.reason in WAITING
    return status.phase is Phase.RUNNING or status.is_terminal


def _is_ready(service: Workload, model: Workload) -> bool:
    return service.status.phase is Phase.RUNNING and not _is_stale(service, model)


def _is_stale(service: Workload, model: Workload) -> bool:
    """Whether it was loaded before the file was made anew."""
    started, made = service.status.started_at, model.status.ended_at
    return started is not None and made is not None and started < made


def _require_trained(model: Workload) -> None:
    model.require_executor()
    phase = model.status.phase
    if phase is Phase.COMPLETED:
        return
    if phase in {Phase.FAILED, Phase.STOPPED}:
        why = f"its training is {phase}; restart it, or see its logs"
    else:
        why = f"its training has not ended; it is {wire_status(phase)}"
    raise ConflictError(f"model {model.id}: {why}", code="model_not_ready")
