"""What the pages tell people to type exists: sub-commands, their options, make targets, bodies."""

from __future__ import annotations

import json
import re

import pytest
import typer.core

from cnet.cli.exit_codes import ExitCode
from cnet.cli.main import COMMANDS
from cnet.model.workload import WorkloadSpec
from tests.docs import commands, pages

_TARGET = re.compile(r"^([a-z0-9-]+):", re.MULTILINE)
_BODY = re.compile(r"/api/workloads .*?-d '(\{.*?\})'", re.DOTALL)
_OPTION = re.compile(r"--?[a-z][a-z-]*")


def test_commands_are_found_in_the_readme() -> None:
    named = {words[0] for words in commands.calls_of("cnet", "README.md") if words}
    assert {"agent", "run", "predict", "ps", "logs", "top", "stop", "rm", "init"} <= named


@pytest.mark.parametrize("page", pages.PAGES)
def test_commands_and_their_options_exist(page: str) -> None:
    for words in commands.calls_of("cnet", page):
        name = _require_known(words, page)
        if name is not None:
            _require_options(name, words[words.index(name) + 1 :], page)


def _require_known(words: list[str], page: str) -> str | None:
    """The sub-command of a call, None where there are only global options."""
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        assert option in commands.global_options(), f"{page}: cnet {' '.join(words)}"
        if option == "--agent":
            rest.pop(0)
    if not rest or not rest[0].isascii() or not rest[0].islower():
        return None  # `cnet COMMAND --help`, `cnet …`
    assert rest[0] in COMMANDS, f"{page}: there is no command `cnet {rest[0]}`"
    return rest[0]


def _require_options(name: str, arguments: list[str], page: str) -> None:
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    reached, own = commands.innermost(name, own)
    assert not own or not isinstance(reached, typer.core.TyperGroup), (
        f"{page}: cnet {name} has no command {own[0]}"
    )
    taken = commands.options(reached)
    for word in own:
        for option in _options_in(word):
            assert option in taken, f"{page}: cnet {name} takes no {option}"


def _options_in(word: str) -> list[str]:
    """`--a=b` is `--a`, `-ab` is `-a` and `-b`, anything else is none."""
    option = word.partition("=")[0]
    if not _OPTION.fullmatch(option):
        return []
    return [option] if option.startswith("--") else [f"-{letter}" for letter in option[1:]]


def test_every_command_has_a_row() -> None:
    listed = {
        pages.codes(row[0])[0].removeprefix("cnet ")
        for row in pages.rows(pages.read("docs/cli.md").split("\n## ")[0])
    }
    assert listed == set(COMMANDS)


def test_exit_codes_are_those_of_the_program() -> None:
    listed = {int(row[0]) for row in pages.rows(pages.section("docs/cli.md", "Exit codes"))}
    assert listed == {code.value for code in ExitCode}


@pytest.mark.parametrize("page", pages.PAGES)
def test_make_targets_exist(page: str) -> None:
    targets = set(_TARGET.findall((pages.ROOT / "Makefile").read_text(encoding="utf-8")))
    for words in commands.calls_of("make", page):
        for word in words:
            assert "=" in word or word in targets, f"{page}: make has no target {word}"


@pytest.mark.parametrize("page", [*pages.READMES, "docs/api.md"])
def test_bodies_for_curl_are_taken(page: str) -> None:
    bodies = [body for block in pages.blocks(page, "sh") for body in _BODY.findall(block)]
    assert bodies
    for body in bodies:
        WorkloadSpec.model_validate(json.loads(body))


@pytest.mark.parametrize("page", pages.PAGES)
def test_json_is_json(page: str) -> None:
    for block in pages.blocks(page, "json"):
        json.loads(block)
