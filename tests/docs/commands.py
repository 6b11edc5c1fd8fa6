"""Commands as the pages show them, and what the programs take."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import typer.core
import typer.main

from cnet.cli.main import COMMANDS
from cnet.cli.main import app as cnet_app
from tests.docs import pages

_CONTINUED = re.compile(r"\\\n\s*")
_COMMENT = re.compile(r"\s+# .*$", re.MULTILINE)
_SEPARATORS = "|&;\n"


def shell_lines(page: str) -> Iterator[list[str]]:
    """Every command of the shell blocks as words, comments left out; a pipe makes two of one."""
    for block in pages.blocks(page, "sh"):
        text = _COMMENT.sub("", _CONTINUED.sub(" ", block))
        lexer = shlex.shlex(text, posix=True, punctuation_chars=_SEPARATORS)
        lexer.commenters = ""
        lexer.whitespace = " \t"
        lexer.whitespace_split = True
        line: list[str] = []
        for word in lexer:
            if set(word) <= set(_SEPARATORS):
                yield line
                line = []
            else:
                line.append(word)
        yield line


def calls_of(program: str, page: str) -> Iterator[list[str]]:
    """The arguments of each call of `program` in shell blocks and between back-ticks."""
    inline = (text.split() for text in pages.inline_code(page))
    substituted = (
        text.split()
        for block in pages.blocks(page, "sh")
        for text in re.findall(r"\$\((.*?)\)", block)
    )
    for words in (*shell_lines(page), *inline, *substituted):
        if words and words[0] == program:
            yield words[1:]


def command(name: str) -> Any:
    """The `cnet` sub-command of that name."""
    module = import_module(f"cnet.cli.{COMMANDS[name]}")
    found = typer.main.get_command(module.app)
    return found.commands[name] if isinstance(found, typer.core.TyperGroup) else found


def innermost(name: str, arguments: list[str]) -> tuple[Any, list[str]]:
    """The command that a call reaches, through groups (`cnet node drain`), and what it is given."""
    found = command(name)
    while isinstance(found, typer.core.TyperGroup) and arguments[:1]:
        if arguments[0] not in found.commands:
            break
        found, arguments = found.commands[arguments[0]], arguments[1:]
    return found, arguments


def options(of: Any) -> set[str]:
    """The options a command takes, `--help` included."""
    taken = {"--help"}
    for parameter in of.params:
        if parameter.param_type_name == "option":
            taken |= {*parameter.opts, *parameter.secondary_opts}
    return taken


def global_options() -> set[str]:
    """Those that may stand before the sub-command."""
    return options(typer.main.get_command(cnet_app)) | {"--install-completion", "--show-completion"}
