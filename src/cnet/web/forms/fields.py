"""A field of a form: how it is shown, and how its text becomes a value and back."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from cnet.errors import SpecError
from cnet.model.notation import affinities, pairs, parse_size
from cnet.model.resources import MIB

Widget = Literal[
    "text",  # one line
    "secret",  # one line that is not shown
    "number",
    "size",  # bytes; a bare number is MiB
    "check",
    "choice",
    "words",  # texts in one line, quoted as for a shell
    "lines",  # texts, one a line
    "pairs",  # NAME=VALUE, one a line
    "terms",  # affinity terms, one a line
    "json",
    "area",  # text of several lines
]
Group = Literal["basic", "room", "service", "options", "placement", "restart", "health"]
Unit = Literal["cores", "devices", "MiB", "s"]

_YES, _NO = "true", "false"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One field. `name` is that of the input and, with dots, the place in the spec."""

    name: str
    widget: Widget
    group: Group
    initial: str = ""
    """what stands in a new form"""
    default: str = ""
    """what holds where nothing is given, to be shown in the empty field"""
    default_value: Any = None
    """the same as a value: it is left out of specs"""
    description: str = ""
    """of the API, for what `texts` has no words for"""
    choices: tuple[str, ...] = ()
    """an empty one: nothing said"""
    required: bool = False
    integer: bool = False
    minimum: float | None = None
    maximum: float | None = None
    unit: Unit | None = None
    when: tuple[str, tuple[str, ...]] | None = None
    """(name of another field, its values with which this one counts)"""

    def counts(self, texts: Mapping[str, str]) -> bool:
        """Whether it is looked at, given the texts of the whole form."""
        return self.when is None or texts.get(self.when[0], "") in self.when[1]

    def read(self, text: str) -> Any:
        """The value that the text stands for; None where it says nothing.

        Raises ValueError with a sentence that does not name the field.
        """
        if self.widget == "check":
            return text == _YES
        if not text.strip():
            return None
        try:
            return _READERS[self.widget](self, text)
        except SpecError as error:
            raise ValueError(error.message.removeprefix(f"{self.name}: ")) from None

    def show(self, value: Any) -> str:
        """The inverse of `read`."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return _YES if value else _NO
        if self.widget == "size":
            return f"{value / MIB:.10g}"
        if self.widget == "words":
            return value if isinstance(value, str) else shlex.join(value)
        if self.widget == "lines":
            return "\n".join(value)
        if self.widget == "pairs":
            return "\n".join(f"{name}={text}" for name, text in value.items())
        if self.widget in {"json", "terms"}:
            return orjson.dumps(value).decode()
        return f"{value:.10g}" if isinstance(value, float) else str(value)


def _number(field: FormField, text: str) -> int | float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError("must be a number") from None
    if field.integer:
        if not number.is_integer():
            raise ValueError("must be a whole number")
        return int(number)
    return int(number) if number.is_integer() else number


def _choice(field: FormField, text: str) -> Any:
    if text not in field.choices:
        allowed = ", ".join(filter(None, field.choices))
        raise ValueError(f"must be one of {allowed}")
    return {_YES: True, _NO: False}.get(text, text)


def _json(field: FormField, text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}") from None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


_READERS: dict[Widget, Callable[[FormField, str], Any]] = {
    "text": lambda field, text: text.strip(),
    "secret": lambda field, text: text,
    "area": lambda field, text: text,
    "number": _number,
    "size": lambda field, text: parse_size(text, field=field.name, unit="MiB"),
    "choice": _choice,
    "words": lambda field, text: shlex.split(text),
    "lines": lambda field, text: _lines(text),
    "pairs": lambda field, text: pairs(_lines(text), option=field.name),
    "terms": lambda field, text: affinities(_lines(text), option=field.name),
    "json": _json,
}
