"""The services that this agent owns: made of ordinary workloads, kept as their records say.

A record is on the disk before anything follows from it, and a replica has its number, and so its
id, before it is submitted: an agent that is killed at any step goes on where it was.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable

import anyio
import structlog
from anyio.abc import TaskStatus
from pydantic import ValidationError

from cnet._support import clock
from cnet.errors import CnetError, ConflictError, NotFoundError, SpecError
from cnet.manager import Manager
from cnet.manager.admission import field_error
from cnet.model.events import AgentEvent
from cnet.services import changes
from cnet.services.deciding import Decision, Replica, decide, refused
from cnet.services.record import ServiceRecord, ServiceSpec, Version, replica_spec
from cnet.services.service import Service, seen

log = structlog.get_logger(__name__)

Change = Callable[[ServiceRecord], ServiceRecord]

LOOK_PAUSE_S = 0.02
"""Between two looks: what happens meanwhile is seen together."""
TELL_EVERY_S = 0.4
"""Between two words to the owner of a service, however many requests wait here."""
WAITED_S = 5.0
"""A request that said so within this time still waits."""
ERROR_PAUSE_S = 5.0
"""After a look that failed, as when the disk is full."""


class Services:
    """Use: `await group.start(services.run)` once the manager runs, then the other methods."""

    def __init__(self, manager: Manager, records: Iterable[bytes]) -> None:
        """`records` as the journal has them."""
        self._manager = manager
        self._owned: dict[str, Service] = {}
        for record in map(ServiceRecord.model_validate_json, records):
            self._owned[record.name] = Service(record)
        self._due = anyio.Event()
        self.owner_elsewhere: Callable[[str], str | None] = lambda _: None
        """name of a service → the other node that owns one of this name"""
        self.wake_elsewhere: Callable[[str, str], None] = lambda _owner, _name: None
        """tells another node that a request waits for a service of that name"""
        self._told_at: dict[str, float] = {}
        self._resting = False
        manager.events.listeners.append(self._heard)

    # --- what users ask ------------------------------------------------------------------------

    def get(self, name: str) -> Service:
        """Raises NotFoundError."""
        service = self._owned.get(name)
        if service is None:
            raise NotFoundError(f"no service {name!r}")
        return service

    def find(self, name: str) -> Service | None:
        """The one of that name, if this agent owns it."""
        return self._owned.get(name)

    def all(self) -> list[Service]:
        """Those that this agent owns, by name."""
        return [self._owned[name] for name in sorted(self._owned)]

    async def create(self, spec: ServiceSpec) -> tuple[Service, bool]:
        """A new service; durable on return. False where it was made before just so.

        Raises SpecError, CapacityError, ConflictError when the name is taken, StorageFullError.
        """
        record = changes.created(spec, now=clock.now(), service_id=uuid.uuid4())
        if (known := self._owned.get(spec.name)) is not None:
            known.record.require_staying()
            if _same(known.record, record):
                return known, False
            raise ConflictError(f"name: there is a service {spec.name!r}; change it with PUT")
        self._require_free(spec.name)
        await self._check(record, record.versions[0])
        if spec.name in self._owned:  # made twice at the same moment
            return await self.create(spec)
        service = self._owned[spec.name] = Service(record, is_new=True)
        try:
            with anyio.CancelScope(shield=True):
                async with service.lock:
                    await self._write(service, record)
        except BaseException:
            del self._owned[spec.name]
            service.gone.set()
            raise
        self._soon()
        return service, True

    async def change(self, name: str, change: Change) -> Service:
        """Another record for a service; durable on return.

        Raises what `change` raises, NotFoundError, StorageFullError, and for a new template what
        `create` raises.
        """
        service = self.get(name)
        wanted = change(service.record)
        known = {version.revision for version in service.record.versions}
        for version in wanted.versions:
            if version.revision not in known:
                await self._check(wanted, version)
        with anyio.CancelScope(shield=True):
            async with service.lock:
                await self._write(service, change(service.record))
                service.decided = False
        service.look(service.replicas)
        self._soon()
        return service

    async def delete(self, name: str) -> Service:
        """Take it off the route and delete its replicas; the wish is durable on return."""
        return await self.change(name, lambda record: changes.deleted(record, now=clock.now()))

    def nodes_of(self, service: Service) -> set[str]:
        """Where replicas of a service are, and where some were since this agent started."""
        for replica in service.replicas:
            try:
                host = self._manager.get(replica.workload_id).status.host
            except NotFoundError:
                continue
            service.nodes.add(host or self._manager.node_id)
        return service.nodes

    def rest(self) -> None:
        """Replace nothing any more: the agent stops all that runs, and goes."""
        self._resting = True

    def wake(self, owner: str, name: str) -> None:
        """A request waits for a replica of a service, on this node or on another one."""
        if owner != self._manager.node_id:
            now = anyio.current_time()
            if now - self._told_at.get(name, -math.inf) >= TELL_EVERY_S:
                self._told_at[name] = now
                self.wake_elsewhere(owner, name)
        elif (service := self._owned.get(name)) is not None:
            service.waited_for_at = anyio.current_time()
            self._soon()

    def _require_free(self, name: str) -> None:
        owner = self.owner_elsewhere(name)
        if owner is not None:
            raise ConflictError(f"name: there is a service {name!r} already; {owner} owns it")
        for workload in self._manager.workloads():
            if workload.spec.name == name and not workload.status.is_terminal:
                raise ConflictError(
                    f"name: workload {workload.id} has the name {name!r}; a service would take its "
                    "requests"
                )

    async def _check(self, record: ServiceRecord, version: Version) -> None:
        """Raises SpecError naming the field of the template, CapacityError."""
        try:
            spec = replica_spec(record, version, record.issued + 1)
        except ValidationError as error:
            raise field_error(error, prefix=("template",)) from None
        try:
            await self._manager.check_replica(spec)
        except SpecError as error:
            field = f"template.{error.field}" if error.field else "template"
            raise SpecError(f"template.{error.message}", field=field, code=error.code) from None

    async def _write(self, service: Service, record: ServiceRecord) -> None:
        if record is not service.record or service.is_new:
            await self._manager.journal.put_service(record.name, record.model_dump_json().encode())
            service.is_new = False
        service.record = record

    # --- the controller ------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep every service as its record says, until cancelled; replicas run on."""
        self._look()
        for service in self.all():  # before links open: others would take a silence for an end
            service.route = self._decision(service).route
        self._publish()
        task_status.started()
        while True:
            self._due = anyio.Event()
            self._look()
            wake_at = math.inf
            for service in () if self._resting else self.all():
                wake_at = min(wake_at, await self._step(service))
            self._publish()
            with anyio.CancelScope(deadline=wake_at):
                await self._due.wait()
            await anyio.sleep(LOOK_PAUSE_S)

    def _look(self) -> None:
        found: dict[str, list[Replica]] = {name: [] for name in self._owned}
        for workload in self._manager.workloads():
            service = self._owned.get(workload.spec.name)
            if service is not None and (replica := seen(service.record, workload)) is not None:
                found[service.record.name].append(replica)
        for name, replicas in found.items():
            self._owned[name].look(replicas)

    def _publish(self) -> None:
        self._manager.publish_routes(
            {service.record.name: service.route for service in self.all() if service.route}
        )

    async def _step(self, service: Service) -> float:
        """One look at a service and what follows from it; when to look again."""
        try:
            return await self._carry_out(service)
        except CnetError as error:
            log.warning("service_waits", service=service.record.name, why=error.message)
        except Exception:
            log.exception("service_failed", service=service.record.name)
        return anyio.current_time() + ERROR_PAUSE_S

    async def _carry_out(self, service: Service) -> float:
        async with service.lock:
            if self._owned.get(service.record.name) is not service:
                return math.inf  # the disk did not take it
            service.decided = True
            await self._write(service, _woken(service, anyio.current_time()))
            decision = self._decision(service)
            await self._write(service, decision.record)
            service.memory = decision.memory
            service.route = decision.route
        if decision.gone:
            return await self._forget(service)
        if decision.create or decision.delete:
            self._publish()
        for version, number in decision.create:
            await self._submit(service, version, number)
        for workload_id in decision.delete:
            await self._remove(workload_id)
        service.look(service.replicas)
        return math.inf if decision.wake_at is None else decision.wake_at

    @staticmethod
    def _decision(service: Service) -> Decision:
        return decide(
            service.record,
            service.replicas,
            service.memory,
            now=anyio.current_time(),
            wall=clock.now(),
        )

    async def _submit(self, service: Service, name: str, number: int) -> None:
        version = service.record.version(name)
        try:
            await self._manager.submit(replica_spec(service.record, version, number))
        except CnetError as error:
            service.memory = refused(
                service.memory, version.revision, error.message, now=anyio.current_time()
            )
            log.warning("replica_refused", service=service.record.name, why=error.message)
        self._soon()

    async def _remove(self, workload_id: str) -> None:
        try:
            await self._manager.delete(workload_id)
        except NotFoundError:
            log.debug("replica_gone", workload_id=workload_id)
        self._soon()

    async def _forget(self, service: Service) -> float:
        await self._manager.journal.delete_service(service.record.name)
        del self._owned[service.record.name]
        service.gone.set()
        service.look(())
        return math.inf

    def _heard(self, event: AgentEvent) -> None:
        if event.event == "workload" and event.data["name"] in self._owned:
            self._soon()

    def _soon(self) -> None:
        self._due.set()


def _woken(service: Service, now: float) -> ServiceRecord:
    """With a replica of each version, where a request waits for one and there is to be none."""
    record = service.record
    if record.autoscale is not None and now - service.waited_for_at < WAITED_S:
        for version in record.serving():
            if version.weight and not record.wanted(version):
                record = changes.by_load(record, version.name, 1)
    return record


def _same(known: ServiceRecord, asked: ServiceRecord) -> bool:
    """Whether a service stands as it was made, and was made as is asked for now."""

    def shape(record: ServiceRecord) -> object:
        versions = [version.model_copy(update={"created_at": 0.0}) for version in record.versions]
        fixed: dict[str, object] = {"created_at": 0.0, "updated_at": 0.0, "issued": 0}
        return record.model_copy(update={**fixed, "id": asked.id, "versions": tuple(versions)})

    return shape(known) == shape(asked)
