"""The options that describe a workload, for every command that takes one (`run`, `plan`).

`WorkloadOptions` lists them once; `takes_workload` gives them to a command.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from cnet.cli import specs
from cnet.client import JsonObject
from cnet.model.notation import affinities, pairs, parse_size
from cnet.model.workload import Strategy

_WORK = "What to run"
_ROOM = "Room and limits"
_PLACE = "Where to run"

_Items = list[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadOptions:
    """What was given on the command line; None where nothing was."""

    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[--] COMMAND ARGS…", help="A process to run.", show_default=False),
    ] = None
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="Workloads from JSON or YAML; - is stdin."),
    ] = None
    name: Annotated[str | None, typer.Option(help="Name; made up when absent.")] = None
    kind: Annotated[
        str | None,
        typer.Option("--type", help="process, mlmodel, opencv, …", rich_help_panel=_WORK),
    ] = None
    config: Annotated[
        _Items,
        typer.Option(metavar="K=V", help="A config field of the type.", rich_help_panel=_WORK),
    ] = None
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Serve this model. What it is goes by its ending (.onnx: YOLO); "
            "--config model_type=… says otherwise.",
            rich_help_panel=_WORK,
        ),
    ] = None
    cascade: Annotated[
        Literal["face", "eye", "smile"] | None,
        typer.Option(help="Serve this OpenCV detector.", rich_help_panel=_WORK),
    ] = None
    image: Annotated[
        str | None,
        typer.Option(
            help="Run a container of it; COMMAND in the place of its own.", rich_help_panel=_WORK
        ),
    ] = None
    publish: Annotated[
        _Items,
        typer.Option(
            metavar="[HOST:]PORT", help="Port of a container to publish.", rich_help_panel=_WORK
        ),
    ] = None
    volume: Annotated[
        _Items,
        typer.Option(
            metavar="SOURCE:PATH[:ro]",
            help="Folder of the node, volume or data://… in a container.",
            rich_help_panel=_WORK,
        ),
    ] = None
    port: Annotated[
        int | None, typer.Option(help="Port of a service; 0 is any.", rich_help_panel=_WORK)
    ] = None
    env: Annotated[
        _Items,
        typer.Option(metavar="K[=V]", help="Environment variable.", rich_help_panel=_WORK),
    ] = None
    secret_env: Annotated[
        _Items,
        typer.Option(metavar="K", help="One whose value is never shown.", rich_help_panel=_WORK),
    ] = None
    workdir: Annotated[
        str | None, typer.Option(help="Working directory.", rich_help_panel=_WORK)
    ] = None
    run_as: Annotated[str | None, typer.Option(help="User name.", rich_help_panel=_WORK)] = None
    label: Annotated[_Items, typer.Option(metavar="K=V", help="Label.")] = None
    cpu: Annotated[float | None, typer.Option(help="Cores held.", rich_help_panel=_ROOM)] = None
    memory: Annotated[
        str | None, typer.Option(help="As in 512MiB; a limit, too.", rich_help_panel=_ROOM)
    ] = None
    storage: Annotated[str | None, typer.Option(help="As in 2GB.", rich_help_panel=_ROOM)] = None
    gpu: Annotated[int | None, typer.Option(help="Whole devices.", rich_help_panel=_ROOM)] = None
    cpu_limit: Annotated[
        float | None, typer.Option(help="Cores it may use at most.", rich_help_panel=_ROOM)
    ] = None
    pids_limit: Annotated[
        int | None, typer.Option(help="Processes at most.", rich_help_panel=_ROOM)
    ] = None
    queue: Annotated[
        bool, typer.Option("--queue/--no-queue", help="Wait for room.", rich_help_panel=_ROOM)
    ] = True
    reservation: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Claim the room it holds.", rich_help_panel=_ROOM),
    ] = None
    node: Annotated[
        str | None,
        typer.Option(help="On this node and no other.", rich_help_panel=_PLACE),
    ] = None
    strategy: Annotated[
        Strategy | None,
        typer.Option(help="How to choose among nodes that fit.", rich_help_panel=_PLACE),
    ] = None
    affinity: Annotated[
        _Items,
        typer.Option(
            metavar="K[=V]",
            help="Only on nodes with this label; with workload:K=V, on nodes that hold a workload "
            "with that label. Without V: any value.",
            rich_help_panel=_PLACE,
        ),
    ] = None
    anti_affinity: Annotated[
        _Items,
        typer.Option(metavar="K[=V]", help="Only on nodes without it.", rich_help_panel=_PLACE),
    ] = None
    prefer: Annotated[
        _Items,
        typer.Option(metavar="K[=V]", help="Rather on nodes with it.", rich_help_panel=_PLACE),
    ] = None
    avoid: Annotated[
        _Items,
        typer.Option(metavar="K[=V]", help="Rather on nodes without it.", rich_help_panel=_PLACE),
    ] = None
    priority: Annotated[
        int | None,
        typer.Option(help="-1000 to 1000; higher ones are placed first.", rich_help_panel=_PLACE),
    ] = None
    preemptible: Annotated[
        bool,
        typer.Option(
            "--preemptible",
            help="May be ended and queued again for a higher priority.",
            rich_help_panel=_PLACE,
        ),
    ] = False
    on_node_loss: Annotated[
        Literal["wait", "reschedule"] | None,
        typer.Option(help="When its node cannot be reached.", rich_help_panel=_PLACE),
    ] = None
    restart: Annotated[
        Literal["never", "on_failure", "always"] | None, typer.Option(help="When to start again.")
    ] = None
    attempts: Annotated[int | None, typer.Option(help="Restarts at most.")] = None
    ready_timeout: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds a service may take to be ready.")
    ] = None
    stop_grace: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds from SIGTERM to SIGKILL.")
    ] = None

    def specs(self) -> list[JsonObject]:
        """The workloads they describe; several out of a file. Raises SpecError."""
        flags: dict[str, Any] = {
            "name": self.name,
            "type": self.kind,
            "requirements": {
                "cpu": self.cpu,
                "gpu": self.gpu,
                "memory": _size(self.memory, "--memory"),
                "storage": _size(self.storage, "--storage"),
            },
            "limits": {"cpu": self.cpu_limit, "pids": self.pids_limit},
            "restart": {"policy": self.restart, "attempts": self.attempts},
            "health": {"ready_timeout_s": self.ready_timeout},
            "labels": pairs(self.label or (), option="--label"),
            "queue": None if self.queue else False,
            "stop_grace_s": self.stop_grace,
            "run_as": self.run_as,
            "config": self._config(),
            **self._placement(),
        }
        return specs.workloads(
            flags,
            command=self.command or [],
            file=self.file,
            model=self.model,
            cascade=self.cascade,
            image=self.image,
        )

    def _config(self) -> JsonObject:
        """`--config`, and over it what has an option of its own, where that is given."""
        options = {
            "env": specs.environment(self.env or (), os.environ) or None,
            "secret_env": specs.secrets(self.secret_env or (), os.environ) or None,
            "working_dir": self.workdir,
            "service_port": self.port,
            "ports": self.publish,
            "volumes": self.volume,
        }
        given = {name: value for name, value in options.items() if value is not None}
        return specs.config_values(self.config or ()) | given

    def _placement(self) -> JsonObject:
        wanted = affinities(self.affinity or (), option="--affinity")
        wanted += affinities(self.prefer or (), option="--prefer", required=False)
        unwanted = affinities(self.anti_affinity or (), option="--anti-affinity")
        unwanted += affinities(self.avoid or (), option="--avoid", required=False)
        return {
            "node": self.node,
            "strategy": self.strategy,
            "affinity": wanted or None,
            "anti_affinity": unwanted or None,
            "priority": self.priority,
            "preemptible": self.preemptible or None,
            "on_node_loss": self.on_node_loss,
            "reservation": self.reservation,
        }


def takes_workload(command: Callable[..., Any]) -> Callable[..., Any]:
    """Replace the parameter `workload` of a Typer command by the options of `WorkloadOptions`."""
    hints = get_type_hints(WorkloadOptions, include_extras=True)
    names = [each.name for each in fields(WorkloadOptions)]
    options = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=hints[each.name],
        )
        for each in fields(WorkloadOptions)
    ]

    @functools.wraps(command)
    def with_options(**given: Any) -> Any:
        described = {name: given.pop(name) for name in names}
        return command(workload=WorkloadOptions(**described), **given)

    own = inspect.signature(command, eval_str=True).parameters.values()
    first, *rest = (
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own if each.name != "workload"
    )
    parameters = [first, *options, *rest]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


def _size(text: str | None, option: str) -> int | None:
    return None if text is None else parse_size(text, field=option)
