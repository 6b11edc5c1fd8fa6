"""`cnet predict`: send pictures to a service and show, draw or print what it found."""

from __future__ import annotations

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
from cnet.errors import ConflictError, SpecError
from cnet.model.notation import pairs

app = typer.Typer(add_completion=False)


@app.command()
def predict(
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="WORKLOAD", help="Name or id, or a service's URL.", autocompletion=complete
        ),
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Pictures.")],
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
    """Find things in pictures with a running service."""
    session = session_of(ctx, agent=agent, as_json=as_json)
    parameters: dict[str, Any] = {"confidence": confidence, "iou_threshold": iou}
    parameters |= pairs(parameter or (), option="--set")
    endpoint = _endpoint(session, target)
    token = find_token() if services.is_below(session.url, endpoint) else None
    for image, copy in zip(images, _copies(images, save), strict=True):
        content = _read(image)
        begun = time.perf_counter()
        found = services.predict(endpoint, content, token=token, timeout_s=timeout, **parameters)
        elapsed_ms = 1000 * (time.perf_counter() - begun)
        if copy is not None:
            save_annotated(content, found["detections"], copy)
        if session.as_json:
            about = {"file": str(image), "endpoint": endpoint, "ms": round(elapsed_ms, 2)}
            emit_json_line(about | ({"saved": str(copy)} if copy else {}) | found)
        else:
            _show(image, found, elapsed_ms=elapsed_ms, copy=copy)


def _endpoint(session: Session, target: str) -> str:
    if target.startswith(("http://", "https://")):
        return target
    with session.connect() as client:
        workload = resolve(client, target)
    endpoint = workload.get("endpoint")
    if workload["status"] != "running" or not endpoint:
        raise ConflictError(
            f"{workload['name']!r} ({workload['type']}) is {workload['status']} and serves "
            "no endpoint; pictures can be sent to a running mlmodel or opencv service",
            code="wrong_state",
        )
    return str(endpoint)


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


def _show(image: Path, found: JsonObject, *, elapsed_ms: float, copy: Path | None) -> None:
    detections = found["detections"]
    saved = f", drawn in {copy}" if copy else ""
    emit(printable(f"{image}: {len(detections)} found in {elapsed_ms:.0f} ms{saved}"))
    for detection in detections:
        x, y, width, height = detection["bbox"]
        emit(f"  {printable(caption(detection)):<20} at {x},{y} size {width}x{height}")
