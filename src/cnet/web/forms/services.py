"""What a form has beyond a workload to make a service of it, or a new version of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from cnet.services.record import ServiceSpec, ServiceUpdate
from cnet.web.forms.fields import FormField
from cnet.web.forms.schema import Hint, fields_of

PREFIX: Final = "service."
MODE: Final = f"{PREFIX}mode"
ALONE, BY_HAND, BY_LOAD = "workload", "replicas", "load"
SCALING: Final = f"{PREFIX}autoscale."
ONLY_ALONE: Final = frozenset({"queue", "reservation", "config.service_port"})
"""What replicas cannot have: they wait by themselves, and stand beside each other."""
_OF_UPDATE: Final = ("version", "weight", "replicas")
_HINTS: Final = {
    f"{PREFIX}{name}": Hint(unit="s")
    for name in (
        "hold_s",
        "update.progress_timeout_s",
        "autoscale.stabilization_s",
        "autoscale.idle_s",
    )
}


def creation_fields() -> Iterable[FormField]:
    """Whether it is to be a service, and then all that the API takes for one."""
    yield FormField(
        name=MODE,
        widget="choice",
        group="service",
        initial=ALONE,
        default_value=ALONE,
        choices=(ALONE, BY_HAND, BY_LOAD),
    )
    fields = fields_of(ServiceSpec, group="service", prefix=PREFIX, hints=_HINTS)
    wanted = [each for each in fields if not _is_of_template(each.name)]
    for each in sorted(wanted, key=lambda field: not field.name.startswith(SCALING)):
        modes: tuple[str, ...] = (BY_HAND, BY_LOAD)
        if each.name == f"{PREFIX}replicas":
            modes = (BY_HAND,)
        elif each.name.startswith(SCALING):
            modes = (BY_LOAD,)
        yield replace(each, when=(MODE, modes))


def update_fields() -> Iterable[FormField]:
    """What is said of a new version beside its template."""
    fields = fields_of(ServiceUpdate, group="service", prefix=PREFIX, hints=_HINTS)
    for name in _OF_UPDATE:
        yield from (each for each in fields if each.name == f"{PREFIX}{name}")


def alone(fields: Iterable[FormField]) -> Iterable[FormField]:
    """The same, those that replicas cannot have only without a service."""
    for each in fields:
        only = each.name in ONLY_ALONE and each.when is None
        yield replace(each, when=(MODE, (ALONE,))) if only else each


def _is_of_template(name: str) -> bool:
    return name == f"{PREFIX}name" or name.startswith(f"{PREFIX}template.")
