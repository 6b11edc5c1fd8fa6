"""Workload specs out of flags and out of JSON or YAML files.

Checks only what the wire cannot say (sizes with units, K=V pairs); the agent checks the rest, so
that there is one place which knows the fields.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from cnet.client import JsonObject
from cnet.errors import SpecError
from cnet.model.notation import pairs, parse_size

SIZES = ("memory", "storage")

MODEL_TYPES = {
    ".onnx": "yolo",
    ".skops": "sklearn",
    ".joblib": "sklearn",
    ".pkl": "sklearn",
    ".pickle": "sklearn",
    ".pt": "pytorch",
    ".pt2": "pytorch",
    ".pth": "pytorch",
    ".keras": "tensorflow",
    ".tflite": "tensorflow",
    "": "tensorflow",  # the folder of a SavedModel
    ".py": "custom",
}
"""What `--model` takes a file to be by the ending of its name."""


def read_file(path: str) -> list[JsonObject]:
    """Every spec of a JSON or YAML file (`-`: stdin), in order.

    Several YAML documents and lists of specs are taken; sizes in `requirements` may carry units.
    Raises SpecError naming the file and, where there are several, the document.
    """
    text = _read(path)
    try:
        documents = list(yaml.safe_load_all(text))  # JSON is YAML
    except yaml.YAMLError as error:
        raise SpecError(f"{path}: neither JSON nor YAML: {error}", field="file") from error
    found = [
        spec
        for document in documents
        if document is not None
        for spec in (document if isinstance(document, list) else [document])
    ]
    if not found:
        raise SpecError(f"{path}: holds no workload", field="file")
    return [_with_bytes(spec, f"{path}, workload {n}") for n, spec in enumerate(found, start=1)]


def _read(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}", field="file") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8 text: {error}", field="file") from error


def _with_bytes(spec: object, where: str) -> JsonObject:
    if not isinstance(spec, dict):
        raise SpecError(f"{where}: must be a mapping with name, type, config …", field="file")
    requirements = spec.get("requirements")
    if not isinstance(requirements, dict):
        return spec
    in_bytes = {
        name: parse_size(value, field=f"requirements.{name}")
        for name, value in requirements.items()
        if name in SIZES and isinstance(value, str)
    }
    return spec | {"requirements": requirements | in_bytes}


def config_values(items: Iterable[str]) -> dict[str, Any]:
    """`K=V` items whose values are JSON where they can be (`0.4`, `true`, `["a"]`), else text."""
    return {name: _json_or_text(text) for name, text in pairs(items, option="--config").items()}


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def environment(items: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """`K=V`, or `K` alone to hand on the caller's own value. SpecError when it has none."""
    return dict(
        (name, value) if equals else (name, _own(name, environ, "--env"))
        for name, equals, value in (item.partition("=") for item in items)
    )


def secrets(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's own values of `names`. A value on the command line is refused.

    Everybody on a machine can read everybody's command lines.
    """
    for name in names:
        if "=" in name:
            raise SpecError(
                "--secret-env takes names only, because others can read command lines; "
                f"export {name.partition('=')[0]} and give its name",
                field="--secret-env",
            )
    return {name: _own(name, environ, "--secret-env") for name in names}


def _own(name: str, environ: Mapping[str, str], option: str) -> str:
    if name not in environ:
        raise SpecError(f"{option}: {name!r} is not set in this environment", field=option)
    return environ[name]


def without_blanks(spec: Mapping[str, Any]) -> JsonObject:
    """`spec` without what was not given (None, empty mappings), at every depth."""
    trimmed = {
        name: without_blanks(value) if isinstance(value, Mapping) else value
        for name, value in spec.items()
    }
    return {name: value for name, value in trimmed.items() if value not in (None, {})}


def workloads(
    flags: dict[str, Any],
    *,
    command: list[str],
    file: str | None,
    model: Path | None,
    cascade: str | None,
    image: str | None,
) -> list[JsonObject]:
    """The specs to submit; exactly one source of them must have been given."""
    given = without_blanks(flags)
    if file is not None:
        if given or command or model or cascade or image:
            raise SpecError("--file stands alone: the workload is what the file says", field="file")
        return read_file(file)
    sources = [bool(command) and image is None, model is not None, cascade is not None]
    sources.append(image is not None)  # a command is what runs in it
    if sum(sources) > 1 or not (any(sources) or flags["type"]):
        raise SpecError(
            "give one of: a command, --model, --cascade, --image, --type with --config, --file",
            field="command",
        )
    kind, config, base = _kind(
        flags["type"], command=command, model=model, cascade=cascade, image=image
    )
    spec = given | {"type": kind, "config": config | given.get("config", {})}
    spec.setdefault("id", str(uuid.uuid4()))
    spec.setdefault("name", f"{base}-{spec['id'][:6]}")
    return [spec]


def _kind(
    kind: str | None,
    *,
    command: list[str],
    model: Path | None,
    cascade: str | None,
    image: str | None,
) -> tuple[str, JsonObject, str]:
    """Type, config and the root of a name for what the flags ask for."""
    if model is not None:
        # Absolute, because the agent's working directory is another one.
        config: JsonObject = {"model_path": str(model.expanduser().absolute())}
        if (model_type := MODEL_TYPES.get(model.suffix.lower())) is not None:
            config["model_type"] = model_type
        return _same(kind, "mlmodel"), config, model.stem
    if cascade is not None:
        return _same(kind, "opencv"), {"cascade_type": cascade}, cascade
    if image is not None:
        config = {"image": image} | ({"command": command} if command else {})
        return _same(kind, "container"), config, _last_name(image)
    if command:
        config = {"command": command[0], "args": command[1:]}
        return kind or "process", config, Path(command[0]).name
    return str(kind), {}, str(kind)


def _last_name(image: str) -> str:
    """Of `[registry/]name[:tag][@digest]`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _same(given: str | None, meant: str) -> str:
    if given not in (None, meant):
        raise SpecError(f"--type {given} does not go with a {meant} option", field="--type")
    return meant
