"""The parameters of a prediction: their names, defaults and ranges, and the check of sent values.

The same declaration judges JSON values (numbers) and form or query values (text), so the three
request forms cannot differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnet.errors import SpecError

_LONGEST_NUMBER = 64  # characters; int() of a megabyte of digits would take seconds


@dataclass(frozen=True, slots=True)
class Number:
    """A parameter that is a number within `minimum`..`maximum`, both allowed.

    `whole` asks for an integer. With `zero_is_default` a zero means "not given", as in the
    original services.
    """

    name: str
    default: float | None
    minimum: float
    maximum: float
    whole: bool = False
    zero_is_default: bool = False

    def parse(self, value: object) -> float | None:
        """The number `value` stands for; SpecError naming this field otherwise."""
        number = self._to_number(value)
        if number == 0 and self.zero_is_default:
            return self.default
        if not self.minimum <= number <= self.maximum:
            raise self._refusal(value)
        return number

    def schema(self) -> Mapping[str, Any]:
        """As JSON schema."""
        kind = "integer" if self.whole else "number"
        told: dict[str, Any] = {"type": kind, "minimum": self.minimum, "maximum": self.maximum}
        if self.zero_is_default and self.minimum > 0:
            told = {"anyOf": [told, {"const": 0}]}
        return told if self.default is None else {**told, "default": self.default}

    def _to_number(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self._refusal(value)
        try:
            number = float(value) if len(str(value)) <= _LONGEST_NUMBER else math.nan
        except (ValueError, OverflowError):
            raise self._refusal(value) from None
        if not math.isfinite(number) or (self.whole and not number.is_integer()):
            raise self._refusal(value)
        return int(number) if self.whole else number

    def _refusal(self, value: object) -> SpecError:
        kind = "a whole number" if self.whole else "a number"
        allowed = f"{kind} from {self.minimum:g} to {self.maximum:g}"
        if self.zero_is_default:
            default = "the default" if self.default is None else f"the default {self.default:g}"
            allowed += f" (0 means {default})"
        return SpecError(f"{self.name} must be {allowed}, not {shown(value)}", field=self.name)


@dataclass(frozen=True, slots=True)
class Choice:
    """A parameter that is one of a few words."""

    name: str
    default: str
    choices: tuple[str, ...]

    def parse(self, value: object) -> str:
        """`value` if it is one of the words; SpecError naming this field otherwise."""
        if isinstance(value, str) and value in self.choices:
            return value
        allowed = " or ".join(f'"{choice}"' for choice in self.choices)
        raise SpecError(f"{self.name} must be {allowed}, not {shown(value)}", field=self.name)

    def schema(self) -> Mapping[str, Any]:
        """As JSON schema."""
        return {"enum": list(self.choices), "default": self.default}


Parameter = Number | Choice


def check(sent: Mapping[str, object], parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Values for all `parameters`: those sent, checked, and the defaults of the others.

    A JSON null counts as not sent. Raises SpecError naming the field that is unknown or wrong.
    """
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {p.name: p.default for p in parameters}
    for name, value in sent.items():
        if name not in known:
            allowed = ", ".join(("image", *known))
            raise SpecError(f"unknown field {shown(name)}; allowed are: {allowed}", field=name)
        if value is not None:
            values[name] = known[name].parse(value)
    return values


def shown(value: object) -> str:
    """A sent value as it is quoted in an error: never longer than 80 characters."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
