"""`cnet predict`: send pictures or rows to a service and show, draw or print what it answers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cnet.cli.drawing import caption, save_annotated
from cnet.cli.output import emit, emit_json_line, printable
from cnet.cli.session import AgentOption, JsonOption, Session, session_of
from cnet.cli.targets import complete, resolve
from cnet.client import JsonObject, find_token, services
from cnet.errors import ConflictError, NotFoundError, SpecError
from cnet.model.notation import pairs

app = typer.Typer(add_completion=False)


@app.command()
def predict(
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="SERVICE",
            help="Name of a service or workload, its id, or a URL.",
            autocompletion=complete,
        ),
    ],
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE…]", help="Pictures.", show_default=False),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="Instead of pictures: rows as in [[5.1, 3.5]], or arrays by the name of each "
            "input. @FILE reads them from a file, - from stdin.",
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Write the picture with boxes; a folder for several."),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least confidence.")
    ] = None,
    iou: Annotated[
        float | None, typer.Option(min=0, max=1, help="Overlap at which boxes count as one.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="K=V", help="Another parameter of the service."),
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="S", help="Seconds per picture.")] = 30.0,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a running service: what is in these pictures, or what follows from these inputs."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    if bool(images) == (inputs is not None):
        raise SpecError("give pictures, or --inputs in their place", field="IMAGE")
    body = None if inputs is None else _body(inputs)
    parameters: dict[str, Any] = {"confidence": confidence, "iou_threshold": iou}
    parameters |= pairs(parameter or (), option="--set")
    if body is not None and (save or any(value is not None for value in parameters.values())):
        raise SpecError("--save, --confidence, --iou and --set go with pictures", field="--inputs")
    endpoint = _endpoint(session, target)
    token = find_token() if services.is_below(session.url, endpoint) else None
    if body is not None:
        begun = time.perf_counter()
        answer = services.infer(endpoint, body, token=token, timeout_s=timeout)
        _show_answer(session, endpoint, answer, elapsed_ms=_since(begun))
    for image, copy in zip(images or (), _copies(images or (), save), strict=True):
        content = _read(image)
        begun = time.perf_counter()
        found = services.predict(endpoint, content, token=token, timeout_s=timeout, **parameters)
        elapsed_ms = _since(begun)
        if "detections" not in found:
            raise SpecError(f"{target!r} answers, but with no detections; it has {sorted(found)}")
        if copy is not None:
            save_annotated(content, found["detections"], copy)
        if session.as_json:
            about = {"file": str(image), "endpoint": endpoint, "ms": round(elapsed_ms, 2)}
            emit_json_line(about | ({"saved": str(copy)} if copy else {}) | found)
        else:
            _show(image, found, elapsed_ms=elapsed_ms, copy=copy)


def _since(begun: float) -> float:
    return 1000 * (time.perf_counter() - begun)


def _endpoint(session: Session, target: str) -> str:
    """Of the service of that name, through the agent; else of the workload that is meant."""
    if target.startswith(("http://", "https://")):
        return target
    with session.connect() as client:
        try:
            return f"{session.url.rstrip('/')}{client.services.get(target)['path']}"
        except NotFoundError:
            workload = resolve(client, target)
    endpoint = workload.get("endpoint")
    if workload["status"] != "running" or not endpoint:
        raise ConflictError(
            f"{workload['name']!r} ({workload['type']}) is {workload['status']} and serves "
            "no endpoint; only a running mlmodel or opencv service can be asked",
            code="wrong_state",
        )
    return str(endpoint)


def _body(given: str) -> JsonObject:
    """What is posted for `--inputs`. Raises SpecError."""
    try:
        if given == "-":
            given = sys.stdin.read()
        elif given.startswith("@"):
            given = Path(given[1:]).read_text(encoding="utf-8")
        inputs = json.loads(given)
    except OSError as error:
        raise SpecError(f"--inputs: {given[1:]}: {error.strerror}", field="--inputs") from error
    except ValueError as error:
        raise SpecError(f"--inputs: not JSON: {error}", field="--inputs") from error
    return inputs if isinstance(inputs, dict) and "inputs" in inputs else {"inputs": inputs}


def _read(image: Path) -> bytes:
    try:
        return image.read_bytes()
    except OSError as error:
        raise SpecError(f"{image}: {error.strerror}", field="IMAGE") from error


def _copies(images: Sequence[Path], save: Path | None) -> list[Path | None]:
    """Where each annotated picture goes. Raises SpecError when two would go to one place."""
    if save is None:
        return [None] * len(images)
    if len(images) == 1 and not save.is_dir():
        return [save]
    if not save.is_dir():
        raise SpecError(f"--save: {save} must be an existing folder for several pictures")
    # PNG, so that the boxes stay sharp and every input format can be written.
    copies: list[Path | None] = [save / f"{image.stem}.png" for image in images]
    if len(set(copies)) < len(copies):
        raise SpecError("--save: two pictures have the same name; send them one by one")
    return copies


def _show_answer(session: Session, endpoint: str, answer: JsonObject, *, elapsed_ms: float) -> None:
    if session.as_json:
        emit_json_line({"endpoint": endpoint, "ms": round(elapsed_ms, 2)} | answer)
        return
    outputs = answer.get("outputs", answer)  # a program of one's own may answer with anything
    emit(f"answered in {elapsed_ms:.0f} ms")
    for name, value in outputs.items() if isinstance(outputs, dict) else [("outputs", outputs)]:
        emit(printable(f"  {name}: {json.dumps(value, ensure_ascii=False)}"))


def _show(image: Path, found: JsonObject, *, elapsed_ms: float, copy: Path | None) -> None:
    detections = found["detections"]
    saved = f", drawn in {copy}" if copy else ""
    emit(printable(f"{image}: {len(detections)} found in {elapsed_ms:.0f} ms{saved}"))
    for detection in detections:
        x, y, width, height = detection["bbox"]
        emit(f"  {printable(caption(detection)):<20} at {x},{y} size {width}x{height}")
