"""Which executors there are: the built-in ones and those of the entry points `cnet.executors`.

An entry point names a callable `(ExecutorContext) -> Executor`. Two executors of one kind are an
error at start, not a silent choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from cnet.errors import ConfigError
from cnet.executors.base import Executor
from cnet.executors.commands import LogLimits
from cnet.executors.container.executor import ContainerExecutor, ContainerSettings
from cnet.executors.data import DataExecutor, FetchLimits
from cnet.executors.gateway import DataGatewayExecutor
from cnet.executors.inference import MlModelExecutor, OpenCvExecutor
from cnet.executors.inputs import Inputs
from cnet.executors.process import ProcessExecutor
from cnet.executors.reservation import ReservationExecutor
from cnet.executors.roots import DataPlaces
from cnet.executors.training import TrainingExecutor
from cnet.storage.objects import DataObjects
from cnet.supervision import Supervisor

GROUP = "cnet.executors"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorContext:
    """What an agent offers to its executors."""

    supervisor: Supervisor
    logs: LogLimits
    containers: ContainerSettings | None = None
    """None where the agent is to run none"""
    data: DataContext | None = None
    """None where the agent stores nothing: then there are no kinds of data"""

    @property
    def inputs(self) -> Inputs | None:
        """Brings stored data to runs."""
        return None if self.data is None else self.data.inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class DataContext:
    """What executors of data work with."""

    objects: DataObjects
    places: DataPlaces
    limits: FetchLimits
    inputs: Inputs


ExecutorFactory = Callable[[ExecutorContext], Executor]

BUILT_IN: tuple[ExecutorFactory, ...] = (
    lambda context: ProcessExecutor(context.supervisor, context.logs, context.inputs),
    lambda context: TrainingExecutor(context.supervisor, context.logs, context.inputs),
    lambda context: MlModelExecutor(context.supervisor, context.logs, context.inputs),
    lambda context: OpenCvExecutor(context.supervisor, context.logs, context.inputs),
    lambda context: ReservationExecutor(context.supervisor, context.logs),
)


def _of_containers(context: ExecutorContext) -> Iterable[Executor]:
    if context.containers is None:
        return ()
    return (ContainerExecutor(context.containers, context.logs, context.inputs),)


def _of_data(context: ExecutorContext) -> Iterable[Executor]:
    if (data := context.data) is None:
        return ()
    return (
        DataExecutor(
            context.supervisor,
            context.logs,
            objects=data.objects,
            places=data.places,
            limits=data.limits,
        ),
        DataGatewayExecutor(context.supervisor, context.logs, data.places),
    )


def load_executors(
    context: ExecutorContext, plugins: Iterable[EntryPoint] | None = None
) -> Mapping[str, Executor]:
    """Executors by kind. Raises ConfigError naming the plug-in that clashes or does not load."""
    executors: dict[str, Executor] = {}
    built_in = (factory(context) for factory in BUILT_IN)
    for executor in (*built_in, *_of_containers(context), *_of_data(context)):
        executors[executor.kind] = executor
    for plugin in entry_points(group=GROUP) if plugins is None else plugins:
        try:
            executor = plugin.load()(context)
        except Exception as error:
            raise ConfigError(f"executor plug-in {plugin.value} does not load: {error}") from error
        if executor.kind in executors:
            raise ConfigError(
                f"executor plug-in {plugin.value}: there is an executor of kind "
                f"{executor.kind!r} already"
            )
        executors[executor.kind] = executor
    return executors
