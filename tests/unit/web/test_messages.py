"""Every text in both languages; templates name keys that are there, and no key is left over."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnet.web.messages import catalogue, text, word

WEB = Path(__file__).parents[3] / "src" / "cnet" / "web"
LITERAL = re.compile(r"""\bt\(\s*"([a-z0-9_.]+)"\s*[,)]""")
PREFIX = re.compile(r"""\bt\(\s*"([a-z0-9_.]+\.)"\s*~""")
WORDS = re.compile(r"""\bword\(\s*"([a-z0-9_.]+)"\s*,""")
KEYS = re.compile(r"""\bmessage:([a-z0-9_.]+)""")
"""Keys that code puts together are named in a comment `message:<key>`; a trailing dot: a prefix."""


def sources() -> Iterator[str]:
    for pattern in ("templates/**/*.html", "**/*.py"):
        for path in WEB.glob(pattern):
            yield path.read_text(encoding="utf-8")


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("key", sorted(catalogue()))
def test_both_languages_say_the_same(key: str) -> None:
    entry = catalogue()[key]
    assert set(entry) == {"en", "zh"}
    assert all(said.strip() for said in entry.values())
    assert placeholders(entry["en"]) == placeholders(entry["zh"])


def test_templates_name_keys_that_are_there() -> None:
    named = {key for source in sources() for key in LITERAL.findall(source)}
    assert named, "nothing found: has the way of naming keys changed?"
    assert sorted(named - set(catalogue())) == []


def test_no_key_is_left_over() -> None:
    found = list(sources())
    named = {key for source in found for key in LITERAL.findall(source)}
    prefixes = {prefix for source in found for prefix in PREFIX.findall(source)}
    prefixes |= {f"{prefix}." for source in found for prefix in WORDS.findall(source)}
    for key in (key for source in found for key in KEYS.findall(source)):
        (prefixes if key.endswith(".") else named).add(key)
    left = [key for key in catalogue() if key not in named and not key.startswith(tuple(prefixes))]
    assert left == []
    assert [
        prefix for prefix in prefixes if not any(k.startswith(prefix) for k in catalogue())
    ] == []


def test_values_are_put_in() -> None:
    assert "nanjing" in text("zh", "layout.lost", node="nanjing")
    with pytest.raises(KeyError):
        text("en", "layout.nothing")


def test_words_without_a_translation_are_shown_as_they_are() -> None:
    assert word("zh", "status", "running") == "运行中"
    assert word("zh", "reason", "some_plugin_word") == "some plugin word"
