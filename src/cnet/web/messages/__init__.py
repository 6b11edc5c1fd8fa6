"""The words of the pages, in both languages: `messages/<page>.toml` has the keys `<page>.…`."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from cnet.web.preferences import Language


@cache
def catalogue() -> dict[str, dict[str, str]]:
    """Key → language → text. Read once."""
    found: dict[str, dict[str, str]] = {}
    for file in files(__package__).iterdir():
        name, _, ending = file.name.rpartition(".")
        if ending == "toml":
            _enter(found, name, tomllib.loads(file.read_text(encoding="utf-8")))
    return found


def _enter(into: dict[str, dict[str, str]], prefix: str, tree: dict[str, Any]) -> None:
    if "en" in tree and isinstance(tree["en"], str):
        into[prefix] = tree
        return
    for key, value in tree.items():
        _enter(into, f"{prefix}.{key}", value)


def text(language: Language, key: str, **values: object) -> str:
    """A text with its values put in; raises KeyError for a key that is not there."""
    return catalogue()[key][language].format(**values) if values else catalogue()[key][language]


def word(language: Language, prefix: str, value: str) -> str:
    """What a stable word of the agent is called; the word itself where it has no translation."""
    found = catalogue().get(f"{prefix}.{value}")
    return value.replace("_", " ") if found is None else found[language]
