"""Fields out of the JSON schema of a pydantic model: types, bounds, defaults, allowed values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from cnet.web.forms.fields import FormField, Group, Unit, Widget

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What a schema does not tell."""

    widget: Widget | None = None
    choices: tuple[str, ...] = ()
    group: Group | None = None
    unit: Unit | None = None
    when: tuple[str, tuple[str, ...]] | None = None
    required: bool = False


NO_HINT = Hint()


def fields_of(
    model: type[BaseModel], *, group: Group, prefix: str = "", hints: Mapping[str, Hint]
) -> list[FormField]:
    """The fields of a model in its order, those of models inside it with dots in their names.

    `hints` are by the whole name.
    """
    schema = model.model_json_schema()
    return list(_walk(schema, schema.get("$defs", {}), group, prefix, hints))


def _walk(
    schema: Schema, defs: Schema, group: Group, prefix: str, hints: Mapping[str, Hint]
) -> Iterator[FormField]:
    required = schema.get("required", ())
    for key, about in schema.get("properties", {}).items():
        name = f"{prefix}{key}"
        inner, nullable = _resolved(about, defs)
        if "properties" in inner:
            yield from _walk(inner, defs, group, f"{name}.", hints)
        else:
            hint = hints.get(name, NO_HINT)
            yield _field(
                name, about, inner, hint, group, key in required or hint.required, nullable
            )


def _resolved(about: Schema, defs: Schema) -> tuple[Schema, bool]:
    """What the schema of a property comes to, and whether it may be null."""
    options = [about]
    while "anyOf" in options[0]:
        options = list(options[0]["anyOf"])
    nullable = any(option.get("type") == "null" for option in options)
    options = [option for option in options if option.get("type") != "null"]
    if len(options) != 1:
        return {}, nullable  # one of several types: a matter for JSON
    inner = options[0]
    if "$ref" in inner:
        inner = defs[inner["$ref"].rpartition("/")[2]]
    return inner, nullable


def _field(
    name: str,
    about: Schema,
    inner: Schema,
    hint: Hint,
    group: Group,
    required: bool,
    nullable: bool,
) -> FormField:
    widget = hint.widget or ("choice" if hint.choices else _widget(inner, nullable))
    choices = (hint.choices or _choices(inner)) if widget == "choice" else ()
    has_default = about.get("default") is not None
    if widget == "choice" and not (has_default or required):
        choices = ("", *choices)
    field = FormField(
        name=name,
        widget=widget,
        group=hint.group or group,
        default_value=about.get("default"),
        description=about.get("description", ""),
        choices=choices,
        required=required,
        integer=inner.get("type") == "integer",
        minimum=inner.get("minimum", inner.get("exclusiveMinimum")),
        maximum=inner.get("maximum", inner.get("exclusiveMaximum")),
        unit=hint.unit,
        when=hint.when,
    )
    return _with_default(field)


def _with_default(field: FormField) -> FormField:
    """Boxes and choices begin with their default, other fields show it while they are empty."""
    shown = field.show(field.default_value)
    if field.widget in {"check", "choice"}:
        return replace(field, initial=shown)
    return replace(field, default=shown)


def _widget(inner: Schema, nullable: bool) -> Widget:
    kind = inner.get("type")
    if "enum" in inner or "const" in inner or (kind == "boolean" and nullable):
        return "choice"
    if kind == "string":
        return "secret" if inner.get("format") == "password" else "text"
    if kind == "array" and inner.get("items", {}).get("type") == "string":
        return "lines"
    if kind == "object" and _of_texts(inner.get("additionalProperties")):
        return "pairs"
    simple: dict[Any, Widget] = {"boolean": "check", "integer": "number", "number": "number"}
    return simple.get(kind, "json")


def _of_texts(values: Any) -> bool:
    return isinstance(values, Mapping) and values.get("type") == "string"


def _choices(inner: Schema) -> tuple[str, ...]:
    if inner.get("type") == "boolean":
        return ("true", "false")
    if "const" in inner:
        return (str(inner["const"]),)
    return tuple(str(value) for value in inner.get("enum", ()))
