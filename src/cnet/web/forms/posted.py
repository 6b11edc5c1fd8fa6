"""From what a browser sends to a spec, and from what is wrong with it to the fields at fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from cnet.executors.data_config import UploadConfig
from cnet.model.workload import WorkloadSpec
from cnet.services.record import ServiceSpec, ServiceUpdate
from cnet.web.forms.fields import FormField
from cnet.web.forms.kinds import CONFIG, POLICY, PREFERENCES, UPLOADS, KindForm
from cnet.web.forms.services import ALONE, MODE, PREFIX

WHOLE = ""
"""Name under which stands what no field is to blame for."""


@dataclass(slots=True, kw_only=True)
class Problem:
    """What is wrong: a sentence, and where pydantic found it its type with the bounds."""

    message: str
    type: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Posted:
    """A form that was sent."""

    form: KindForm
    texts: dict[str, str]
    """what stands in each field"""
    spec: dict[str, Any]
    """the workload that they make, without what is default anyway"""
    service: dict[str, Any] = field(default_factory=dict)
    """what is said of a service beside the template of its replicas"""
    problems: dict[str, Problem] = field(default_factory=dict)
    """by name of the field; WHOLE for the form as such"""

    @property
    def is_upload(self) -> bool:
        """The browser is to send files along."""
        return self.texts.get(f"{CONFIG}upload_method") in UPLOADS

    @property
    def is_service(self) -> bool:
        """Replicas under one name are asked for, not a workload."""
        return self.form.of_update or self.texts.get(MODE, ALONE) != ALONE

    def blame(self, path: str | None, message: str, *, code: str) -> None:
        """Note what the agent says to the spec, at the field if one is named."""
        if path is None and code == "port_taken":  # a conflict, which names no field
            path, message = f"{CONFIG}service_port", message.removeprefix("service_port: ")
        name = field_of(self.form, path or "")
        if path and self.is_service:
            name = field_of(self.form, path.removeprefix("template.")) or field_of(
                self.form, f"{PREFIX}{path}"
            )
        if path and name:
            message = message.removeprefix(f"{path}: ")
        self.problems[name or WHOLE] = Problem(message=message, type=code)


def read(form: KindForm, sent: Mapping[str, str], **fixed: str) -> Posted:
    """Make a spec of the fields and check it by the models of the API.

    `fixed` are fields of the spec that the form does not have.
    """
    texts = {each.name: sent.get(each.name, "") for each in form.fields}
    posted = Posted(form=form, texts=texts, spec={"type": form.kind, **fixed})
    for each in form.fields:
        if each.counts(texts):
            take(posted, each)
    posted.service = posted.spec.pop("service", {})
    posted.service.pop("mode", None)
    restart = posted.spec.get("restart")
    if restart is not None:
        restart.setdefault("policy", texts[POLICY])
    _check(posted)
    return posted


_TYPES: Final = {
    "must be a number": "no_number",
    "must be a whole number": "no_integer",
    "No closing quotation": "quotation",
}
"""Names of what `FormField.read` finds, for `texts`."""


def take(posted: Posted, each: FormField) -> None:
    """Put the value of a field into the spec, or note why it has none."""
    try:
        value = each.read(posted.texts[each.name])
    except ValueError as error:
        message = str(error)
        posted.problems[each.name] = Problem(message=message, type=_TYPES.get(message, ""))
        return
    if value is None:
        if each.required:
            posted.problems[each.name] = Problem(message="is required", type="missing")
        return
    if value == each.default_value and type(value) is type(each.default_value):
        return
    if each.name in PREFERENCES:
        terms = posted.spec.setdefault(PREFERENCES[each.name], [])
        terms += [term | {"required": False} for term in value]
        return
    *path, last = each.name.split(".")
    place = posted.spec
    for step in path:
        place = place.setdefault(step, {})
    place[last] = value


def _check(posted: Posted) -> None:
    """By the models alone: what the node itself knows better is seen when it is submitted."""
    spec = dict(posted.spec)
    config = spec.setdefault("config", {})
    if posted.is_upload:
        tree = config["upload_method"] == UPLOADS[1]
        as_sent = config | {"upload_method": "directory" if tree else "path"}
        validate(posted, UploadConfig, as_sent, prefix=("config",))
    else:
        validate(posted, posted.form.config_model, config, prefix=("config",))
    validate(posted, WorkloadSpec, spec)
    if posted.is_service:
        wish = {"template": {"type": posted.form.kind}, **posted.service}  # seen to be sound
        if posted.form.of_update:
            validate(posted, ServiceUpdate, wish, prefix=("service",))
        else:
            validate(posted, ServiceSpec, {"name": "_", **wish}, prefix=("service",))


def validate(
    posted: Posted, model: type[BaseModel], values: Mapping[str, Any], prefix: tuple[str, ...] = ()
) -> None:
    """Note what a model of the API finds wrong; `prefix` is where `values` are in the form."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            path = ".".join(str(part) for part in (*prefix, *problem["loc"]))
            message = problem["msg"].removeprefix("Value error, ")
            name = (
                field_of(posted.form, path)
                or _named_first(posted.form, prefix, message)
                or _first_below(posted.form, path)
            )
            posted.problems.setdefault(
                name or WHOLE,
                Problem(message=message, type=problem["type"], context=problem.get("ctx", {})),
            )


def field_of(form: KindForm, path: str) -> str | None:
    """The field for a place in the spec: `config.args.0` is in `config.args`."""
    while path:
        if form.field(path) is not None:
            return path
        path = path.rpartition(".")[0]
    return None


def _first_below(form: KindForm, path: str) -> str | None:
    """The first field of a part of the spec that is wrong as a whole: bounds in disorder."""
    if "." not in path or path.startswith(CONFIG):
        return None
    return next((each.name for each in form.fields if each.name.startswith(f"{path}.")), None)


def _named_first(form: KindForm, prefix: tuple[str, ...], message: str) -> str | None:
    """The field of `ports: one host_port is given twice`, which a model says of itself."""
    word = message.partition(":")[0]
    return field_of(form, ".".join((*prefix, word))) if word.isidentifier() else None
