"""The form of each kind of workload: what its models declare, in an order that reads well.

What begins filled in is what the original's page began with (contract 10).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import BaseModel

from cnet.executors.base import Executor, ServesEndpoint
from cnet.executors.container.config import ContainerConfig
from cnet.executors.data_config import DataConfig
from cnet.executors.gateway import DataGatewayConfig
from cnet.executors.inference import FIELDS_OF_TYPES, MODEL_TYPES, MlModelConfig, OpenCvConfig
from cnet.executors.process import ProcessConfig
from cnet.executors.reservation import ReservationConfig
from cnet.executors.training import ALLOWED_TYPES, TrainingConfig
from cnet.manager.admission import DEFAULT_RESTART
from cnet.model.workload import WorkloadSpec
from cnet.web.forms.fields import FormField, Group
from cnet.web.forms.schema import Hint, fields_of
from cnet.web.forms.services import MODE, ONLY_ALONE, alone, creation_fields, update_fields

CONFIG: Final = "config."
UPLOADS: Final = ("upload", "upload_tree")
"""Ways to bring data that no request in JSON has: the browser sends a form with the files."""
FETCHES: Final = ("url", "file", "path", "directory")
"""The others, which are requests like any other."""
_BRINGS: Final = "config.upload_method"
POLICY: Final = "restart.policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a form of a kind looks like beyond its schema."""

    basic: tuple[str, ...] = ()
    """fields of its config that come first, in this order"""
    hidden: frozenset[str] = frozenset()
    """names of fields that make no sense here"""
    initial: Mapping[str, str] = field(default_factory=dict)
    hints: Mapping[str, Hint] = field(default_factory=dict)
    when: Mapping[Group, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """for whole groups: with which values of another field they count"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindForm:
    """All fields of a kind's form, in order."""

    kind: str
    config_model: type[BaseModel]
    fields: tuple[FormField, ...]
    of_update: bool = False
    """of a new version of a service, not of a workload or a service"""

    @property
    def groups(self) -> Mapping[Group, tuple[FormField, ...]]:
        """Fields by group, groups in the order in which they are shown; none is empty."""
        order: tuple[Group, ...] = (
            *("basic", "room", "service", "options", "placement", "restart", "health"),
        )
        found = {each: tuple(it for it in self.fields if it.group == each) for each in order}
        return {name: fields for name, fields in found.items() if fields}

    def condition(self, group: Group) -> tuple[str, tuple[str, ...]] | None:
        """With which values of another field a whole group counts; None: always, or in part."""
        conditions = {each.when for each in self.groups[group]}
        return conditions.pop() if len(conditions) == 1 else None

    def field(self, name: str) -> FormField | None:
        """The one of that name."""
        return next((each for each in self.fields if each.name == name), None)

    def blank(self) -> dict[str, str]:
        """The texts of a new form."""
        return {each.name: each.initial for each in self.fields}


_PLACEMENT: Final = ("node", "strategy", "priority", "preemptible", "queue", "on_node_loss")
_GROUPS: Final[Mapping[str, Group]] = {
    "name": "basic",
    **dict.fromkeys((*_PLACEMENT, "reservation", "affinity", "anti_affinity"), "placement"),
    "restart": "restart",
    "stop_grace_s": "restart",
    "health": "health",
    "requirements": "room",
}
_OF_SPEC: Final[Mapping[str, Hint]] = {
    "requirements.cpu": Hint(unit="cores"),
    "requirements.gpu": Hint(unit="devices"),
    "requirements.memory": Hint(widget="size", unit="MiB"),
    "requirements.storage": Hint(widget="size", unit="MiB"),
    "limits.cpu": Hint(unit="cores"),
    "affinity": Hint(widget="terms"),
    "anti_affinity": Hint(widget="terms"),
    "stop_grace_s": Hint(unit="s"),
    "restart.window_s": Hint(unit="s"),
    "restart.backoff_s": Hint(unit="s"),
    "health.ready_timeout_s": Hint(unit="s"),
    "health.interval_s": Hint(unit="s"),
    "health.timeout_s": Hint(unit="s"),
}
_NEVER: Final = frozenset({"type", "id", "config"})
"""Of the spec itself; the config has fields of its own."""
_NOT_OF_DATA: Final = frozenset(
    {"run_as", "limits", "restart", "health", "stop_grace_s", "reservation", "on_node_loss"}
)
_WORDS: Final = Hint(widget="words")
_ROOM_1: Final = {"requirements.cpu": "1", "requirements.memory": "512"}


def _room(cpu: str, memory: str) -> dict[str, str]:
    return {"requirements.cpu": cpu, "requirements.memory": memory}


def _of_methods(*methods: str, **more: object) -> Hint:
    return replace(Hint(when=(_BRINGS, methods)), **more)  # type: ignore[arg-type]


LAYOUTS: Final[Mapping[str, Layout]] = {
    "process": Layout(
        basic=("command", "args", "env", "working_dir"),
        hidden=frozenset({"health"}),
        initial={"config.command": "sleep", "config.args": "60", **_ROOM_1},
        hints={"config.args": _WORDS},
    ),
    "container": Layout(
        basic=("image", "command", "ports", "env", "volumes"),
        hidden=frozenset({"run_as"}),
        initial={"config.image": "nginx:alpine", "config.ports": "80", **_ROOM_1},
        hints={
            "config.command": _WORDS,
            "config.args": _WORDS,
            "config.entrypoint": _WORDS,
            "config.ports": Hint(widget="lines"),
            "config.volumes": Hint(widget="lines"),
        },
    ),
    "mlmodel": Layout(
        basic=("model_type", "service_port", "model_path"),
        initial={
            "config.model_type": "yolo",
            "config.service_port": "9001",
            **_room("2", "2048"),
        },
        hints={
            "config.model_type": Hint(choices=MODEL_TYPES, required=True),
            **{
                f"{CONFIG}{name}": Hint(when=("config.model_type", types))
                for name, types in FIELDS_OF_TYPES.items()
            },
        },
        hidden=frozenset({"config.framework"}),
    ),
    "opencv": Layout(
        basic=("cascade_type", "service_port", "cascade_path"),
        initial={"config.service_port": "9000", **_room("0.5", "512")},
    ),
    "data": Layout(
        basic=(
            "upload_method",
            "source_url",
            "source_path",
            "content",
            "filename",
            "data_key",
            "access_mode",
        ),
        hidden=_NOT_OF_DATA
        | {"config.content_base64", "config.storage_type", "config.storage_backend"},
        when={"placement": (_BRINGS, FETCHES)},  # an upload stays on the node it is sent to
        initial={_BRINGS: UPLOADS[0], **_room("0.1", "128")},
        hints={
            _BRINGS: Hint(choices=(*UPLOADS, *FETCHES)),
            "labels": _of_methods(*FETCHES),
            "config.source_url": _of_methods("url"),
            "config.source_path": _of_methods("path", "directory"),
            "config.content": _of_methods("file", widget="area"),
            "config.filename": _of_methods("file", "url", "path"),
            "config.sha256": _of_methods("file", "url", "path"),
            "config.data_type": Hint(
                choices=("", "file", "directory", "dataset", "model", "config", "stream")
            ),
        },
    ),
    "datagateway": Layout(
        basic=("service_port", "bucket", "read_only", "auth_token", "anonymous"),
        hidden=frozenset({"run_as"}),
        initial={"config.service_port": "9091", **_room("0.2", "128")},
    ),
    "ml": Layout(
        basic=("model_type", "model_path", "script_path", "args", "env"),
        hidden=frozenset({"health"}),
        initial=_ROOM_1,
        hints={
            "config.model_type": Hint(choices=ALLOWED_TYPES),
            "config.args": _WORDS,
            "config.idle_s": Hint(unit="s"),
        },
    ),
    "reservation": Layout(
        basic=("seconds",),
        hidden=_NOT_OF_DATA,
        initial=_ROOM_1,
        hints={"config.seconds": Hint(unit="s")},
    ),
}
KINDS: Final[Mapping[str, tuple[type[BaseModel], bool]]] = {
    "process": (ProcessConfig, False),
    "container": (ContainerConfig, False),
    "mlmodel": (MlModelConfig, True),
    "opencv": (OpenCvConfig, True),
    "ml": (TrainingConfig, False),
    "data": (DataConfig, False),
    "datagateway": (DataGatewayConfig, True),
    "reservation": (ReservationConfig, False),
}
"""Those that any agent can be asked for, even if only other nodes run them: the model of the config
and whether its runs answer HTTP. In the order in which they are offered."""
PUBLISHING: Final = frozenset({"container"})
"""Kinds that answer HTTP, too, where their config names a port."""
_PLAIN: Final = Layout(initial=_ROOM_1)


def form_for(kind: str, executors: Mapping[str, Executor]) -> KindForm | None:
    """The form of a kind that this agent can check; None for others."""
    executor = executors.get(kind)
    if executor is not None:
        return form_of(kind, executor.config_model, serves=isinstance(executor, ServesEndpoint))
    if kind not in KINDS:
        return None
    model, serves = KINDS[kind]
    return form_of(kind, model, serves=serves)


def form_of(kind: str, config_model: type[BaseModel], *, serves: bool) -> KindForm:
    """The form of a kind; one that a plug-in brings is shown as its schema has it.

    `serves`: its runs answer HTTP, so their health is watched.
    """
    layout = LAYOUTS.get(kind, _PLAIN)
    hidden = layout.hidden | (frozenset() if serves else {"health"})
    of_spec = [each for each in _of_spec(layout.hints, serves=serves) if each.name not in _NEVER]
    of_config = fields_of(config_model, group="options", prefix=CONFIG, hints=layout.hints)
    basic = tuple(f"{CONFIG}{name}" for name in layout.basic) or _all_required(of_config)
    fields = (
        *(each for each in of_spec if each.name == "name"),
        *(replace(each, group="basic") for each in _in_order(of_config, basic)),
        *(each for each in of_config if each.name not in basic),
        *(each for each in _with_preferences(of_spec) if each.name != "name"),
    )
    if serves or kind in PUBLISHING:
        fields = (*alone(fields), *creation_fields())
    shown = (each for each in fields if not _is_hidden(each.name, hidden))
    return KindForm(
        kind=kind,
        config_model=config_model,
        fields=tuple(
            replace(
                each,
                initial=layout.initial.get(each.name, each.initial),
                when=layout.when.get(each.group, each.when),
            )
            for each in shown
        ),
    )


def update_form(form: KindForm) -> KindForm:
    """The form of a new version of a service whose replicas `form` describes."""
    kept = (
        each
        for each in form.fields
        if each.group != "service" and each.name not in {"name", MODE, *ONLY_ALONE}
    )
    return replace(form, fields=(*kept, *update_fields()), of_update=True)


def _all_required(fields: Iterable[FormField]) -> tuple[str, ...]:
    return tuple(each.name for each in fields if each.required)


def _in_order(fields: Iterable[FormField], names: Iterable[str]) -> list[FormField]:
    by_name = {each.name: each for each in fields}
    return [by_name[name] for name in names if name in by_name]


def _is_hidden(name: str, hidden: frozenset[str]) -> bool:
    return name in hidden or name.partition(".")[0] in hidden


def _of_spec(hints: Mapping[str, Hint], *, serves: bool) -> list[FormField]:
    fields = [
        replace(each, group=_GROUPS.get(each.name.partition(".")[0], each.group))
        for each in fields_of(WorkloadSpec, group="options", hints={**_OF_SPEC, **hints})
    ]
    policy = DEFAULT_RESTART[serves].policy  # no policy at all means this one
    return [
        replace(each, initial=policy, default_value=policy) if each.name == POLICY else each
        for each in fields
    ]


PREFERENCES: Final[Mapping[str, str]] = {"prefer": "affinity", "avoid": "anti_affinity"}
"""Fields for terms that do not rule nodes out, and where in the spec they go."""


def _with_preferences(fields: Iterable[FormField]) -> Iterable[FormField]:
    for each in fields:
        yield each
        for name, target in PREFERENCES.items():
            if each.name == target:
                yield replace(each, name=name, description="")


def offered(kinds: Iterable[str]) -> list[str]:
    """The kinds of a node in the order in which the page offers them, those of plug-ins last."""
    known = set(kinds)
    return [kind for kind in KINDS if kind in known] + sorted(known - set(KINDS))
