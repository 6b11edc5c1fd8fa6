"""The built-in runtime `script`: one JSON object for `predict <model> <input>`."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson

from cnet.errors import ConfigError, ExecutionError, SpecError, TooLargeError
from cnet.inference.bodies import request_fields
from cnet.inference.runtime import ModelRuntime, PredictRequest
from cnet.inference.script.calls import Calls, Outcome, calls_of

VARIABLES = "CNET_SCRIPT_ENV"
"""A JSON object with the script's variables: they must not change how this program runs."""
MAX_INPUT_BYTES = 131_071
"""Of one argument; the kernel takes no longer ones."""
BAD_INPUT = 2
"""Exit status by which a program says that it was called with something it cannot take."""
VERSION = "1.0"
_LONGEST_QUOTE = 300
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Program:
    """What is called, over which file, and for how long."""

    command: str
    script: Path | None
    model: Path
    folder: Path
    timeout_s: float


def load(program: Program, *, threads: int) -> ModelRuntime:
    """Raises ConfigError with one sentence where something of it is missing."""
    folder = program.folder.absolute()
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder")
    for what, path in (("model file", program.model), ("script", program.script)):
        if path is not None and not (folder / path).is_file():
            raise ConfigError(f"{what} {path} does not exist, or is no regular file")
    env = {name: value for name, value in os.environ.items() if name != VARIABLES}
    env |= json.loads(os.environ.get(VARIABLES, "{}"))
    if shutil.which(program.command, path=env.get("PATH")) is None:
        raise ConfigError(f"{program.command} is no program that can be run here")
    argv = [program.command]
    if program.script is not None:
        argv.append(str(folder / program.script))
    return ScriptRuntime(program, calls_of(argv, folder, env), threads=threads)


class ScriptRuntime:
    """Asks the program; what it prints is the answer, and its errors are in the log."""

    def __init__(self, program: Program, calls: Calls, *, threads: int) -> None:
        self._program = program
        self._calls = calls
        self._threads = threads

    def health(self) -> Mapping[str, Any]:
        """Which file it is about."""
        return {"model": str(self._program.model)}

    def info(self) -> Mapping[str, Any]:
        """The file, and what answers for it."""
        script = self._program.script
        return {
            "model_type": "script",
            "model_path": str(self._program.model),
            "version": VERSION,
            "loaded": True,
            "threads": self._threads,
            "command": self._program.command,
            "script_path": None if script is None else str(script),
            "served_by": self._calls.how,
        }

    def predict(self, request: PredictRequest, *, threads: int) -> Mapping[str, Any]:
        """`{"inputs": …}` as one argument, the printed object as `{"outputs": …}`."""
        fields = request_fields(request, ("inputs",))
        if "inputs" not in fields:
            raise SpecError("inputs is missing: what predict is called with", field="inputs")
        text = _argument(fields["inputs"])
        started = perf_counter()
        outcome = self._calls.call(
            ["predict", str(self._program.model), text], self._program.timeout_s
        )
        took = perf_counter() - started
        for line in outcome.err.splitlines():
            _LOGGER.info("script: %s", line)
        return {"outputs": _printed(outcome), "timings_ms": {"inference": round(took * 1000, 3)}}

    def unload(self) -> None:
        """End what was kept warm."""
        self._calls.close()


def _argument(value: object) -> str:
    """Text as it is, everything else as JSON."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    if "\0" in text:
        raise SpecError("inputs: must not contain a NUL character", field="inputs")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise SpecError("inputs: must be valid Unicode", field="inputs") from None
    if size > MAX_INPUT_BYTES:
        raise TooLargeError(
            f"inputs: {size} bytes are more than a script can be given ({MAX_INPUT_BYTES})",
            field="inputs",
        )
    return text


def _printed(outcome: Outcome) -> Mapping[str, Any]:
    """The object that it printed, by itself or as the last line."""
    text = outcome.out.strip()
    found = _object(text) or _object(text.rpartition("\n")[2])
    if outcome.code == 0 and found is not None:
        return found
    said = str(found["error"]) if found and "error" in found else ""
    said = said or outcome.err.strip().rpartition("\n")[2] or text
    said = said if len(said) <= _LONGEST_QUOTE else f"{said[:_LONGEST_QUOTE]}…"
    if outcome.code == BAD_INPUT:
        raise SpecError(
            f"the script refuses the input: {said}", field="inputs", code="model_failed"
        )
    if outcome.code == 0:
        raise ExecutionError(f"the script printed no JSON object: {said!r}", code="model_failed")
    raise ExecutionError(f"the script ended with {outcome.code}: {said}", code="model_failed")


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text)  # takes NaN, which Python programs print
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
