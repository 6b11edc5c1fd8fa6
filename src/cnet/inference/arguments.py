"""Types for command line options, with errors that name what is allowed."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable


def fraction(text: str) -> float:
    """A number above 0, at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise ArgumentTypeError(f"must be a number above 0 and at most 1, not {text!r}")
    return value


def whole(minimum: int, maximum: int) -> Callable[[str], int]:
    """A whole number from `minimum` to `maximum`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= maximum:
            raise ArgumentTypeError(
                f"must be a whole number from {minimum} to {maximum}, not {text!r}"
            )
        return value

    return parse


def device(text: str) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:N`; `cuda` is `cuda:0`."""
    kind, colon, number = text.partition(":")
    if text in ("auto", "cpu"):
        return text
    if kind == "cuda" and (not colon or (number.isascii() and number.isdigit())):
        return f"cuda:{int(number or 0)}"
    raise ArgumentTypeError(f"must be auto, cpu or cuda:N, not {text!r}")
