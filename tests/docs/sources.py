"""Stable words as they stand in the source: status reasons and error codes, collected literally."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from cnet import errors
from tests.docs.pages import ROOT

SOURCE = ROOT / "src" / "cnet"
ENDS_THE_AGENT = {"spawner_failed"}
"""Codes of supervision that come about when the agent cannot work at all: no workload's fault."""


def error_classes() -> list[type[errors.CnetError]]:
    """Every class of the error tree."""
    return [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.CnetError)
    ]


def error_codes(*folders: str) -> set[str]:
    """Codes written down in `folders` of the package: `code="…"`, and `problem(status, "…")`."""
    found: set[str] = set()
    for call in _calls(folders):
        found |= _keyword(call, "code")
        if _name(call.func) == "problem" and len(call.args) > 1:
            found |= _texts(call.args[1])
    return found


def status_reasons() -> set[str]:
    """Every word that can become a status reason.

    Those the manager gives, those that supervision records for a run, and the codes of errors with
    which a start fails.
    """
    found: set[str] = set()
    for call in _calls(("manager", "delegation")):
        if _name(call.func) not in {"Refuse", "Refused"}:  # those say a sentence
            found |= _keyword(call, "reason")
        if _name(call.func) == "give_back":
            found |= _texts(call.args[1])
        if _name(call.func) == "Verdict":
            found |= _texts(call.args[0])
    for call in _calls(("supervision",)):
        if _name(call.func) == "write_lost":
            found |= _texts(call.args[0])
        if _name(call.func) == "ExecutionError":
            found |= _keyword(call, "code")
    for node in _nodes(("manager", "delegation", "supervision")):
        if isinstance(node, ast.Assign):
            found |= _assigned(node)
        elif isinstance(node, ast.Dict):
            found |= _entry(node, "reason")
    return (found - ENDS_THE_AGENT) | {errors.ExecutionError.code, errors.StorageFullError.code}


def _assigned(node: ast.Assign) -> set[str]:
    """`reason = "…"`, `reason, detail = "…", …` and `self.failure = ("…", …)`."""
    found: set[str] = set()
    for target in node.targets:
        if _name(target) == "reason":
            found |= _texts(node.value)
        elif _name(target) == "failure" and isinstance(node.value, ast.Tuple):
            found |= _texts(node.value.elts[0])
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = zip(target.elts, node.value.elts, strict=True)
            found |= {
                word for one, value in pairs if _name(one) == "reason" for word in _texts(value)
            }
    return found


def _entry(node: ast.Dict, name: str) -> set[str]:
    """The texts that a literal mapping has under `name`."""
    return {
        word
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == name
        for word in _texts(value)
    }


def _keyword(call: ast.Call, name: str) -> set[str]:
    return {word for each in call.keywords if each.arg == name for word in _texts(each.value)}


def _texts(value: ast.expr) -> set[str]:
    """The texts an expression can be: a constant, or the branches of `a if b else c` and `or`."""
    if isinstance(value, ast.Constant):
        return {value.value} if isinstance(value.value, str) else set()
    if isinstance(value, ast.IfExp):
        return _texts(value.body) | _texts(value.orelse)
    if isinstance(value, ast.BoolOp):
        return {word for each in value.values for word in _texts(each)}
    return set()


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _calls(folders: tuple[str, ...]) -> Iterator[ast.Call]:
    return (node for node in _nodes(folders) if isinstance(node, ast.Call))


def _nodes(folders: tuple[str, ...]) -> Iterator[ast.AST]:
    for folder in folders:
        files = sorted((SOURCE / folder).rglob("*.py"))
        assert files, f"no source in {folder}"
        for file in files:
            yield from ast.walk(_tree(file))


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
