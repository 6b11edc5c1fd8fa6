"""The inverse of `posted.read`: the texts of a form for a template that is there already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from cnet.model.workload import WorkloadTemplate
from cnet.web.forms.fields import FormField
from cnet.web.forms.kinds import CONFIG, PREFERENCES, KindForm

MASK: Final = "***"
"""What the API shows in the place of a secret."""
Template = Mapping[str, Any]


def texts_of(form: KindForm, template: Template) -> dict[str, str]:
    """What stands in each field; secrets, which nobody is shown, are empty."""
    return {each.name: _text(each, _value(each.name, template)) for each in form.fields}


def left_out(form: KindForm, template: Template, made: Template) -> list[str]:
    """Fields of a template that a form does not say: `made` is what its texts have made.

    Raises nothing: what cannot be compared is not said to be left out.
    """
    try:
        wanted, given = (
            WorkloadTemplate.model_validate(each).model_dump(mode="json")
            for each in (template, made)
        )
    except ValidationError:
        return []
    names = [name for name in wanted if name != "config" and wanted[name] != given[name]]
    defaults = {each.name: each.default_value for each in form.fields}
    return names + [
        name
        for key, value in wanted["config"].items()
        if value and key not in given["config"] and value != defaults.get(name := CONFIG + key)
    ]


def _value(name: str, template: Template) -> Any:
    if name in PREFERENCES:
        return _terms(template.get(PREFERENCES[name]), required=False)
    if name in PREFERENCES.values():
        return _terms(template.get(name), required=True)
    found: Any = template
    for step in name.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _text(field: FormField, value: Any) -> str:
    if field.widget in {"check", "choice"}:
        return field.show(field.default_value if value is None else value)
    if field.widget == "terms":
        return "\n".join(value or ())
    is_masked = value == MASK or (isinstance(value, Mapping) and MASK in value.values())
    if is_masked or value is None or value == field.default_value:
        return ""
    if field.widget == "lines":
        lines = value if isinstance(value, list) else [value]
        plain = all(isinstance(line, str | int | float) for line in lines)
        return "\n".join(map(str, lines)) if plain else ""
    try:
        return field.show(value)
    except (TypeError, AttributeError):  # a config may say the same in another shape
        return ""


def _terms(terms: Any, *, required: bool) -> list[str]:
    """Lines as in `cnet.model.notation.affinities`; terms that have none are left out."""
    return [
        line
        for term in terms or ()
        if term.get("required", True) == required and (line := _line(term)) is not None
    ]


def _line(term: Mapping[str, Any]) -> str | None:
    labels = term.get("node_labels") or term.get("workload_labels") or {}
    if len(labels) != 1 or term.get("weight", 1) != 1:
        return None
    ((name, value),) = labels.items()
    prefix = "" if term.get("node_labels") else "workload:"
    return f"{prefix}{name}" if value == "*" else f"{prefix}{name}={value}"
