"""Data in a form (contract 2): streamed into the store while the form is still coming in.

Parts may come in any order, so the files are staged under a name of their own; what the object is
to be is known at the end.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import orjson
from anyio.streams.memory import MemoryObjectSendStream
from fastapi import Request
from pydantic import ValidationError

from cnet._support import clock
from cnet.api.context import ApiContext, DataService
from cnet.api.forms import FormReader, PartBegins, PartEnds
from cnet.errors import CapacityError, MalformedError, SpecError, TooLargeError
from cnet.executors.data_config import KIND, UploadConfig
from cnet.executors.data_objects import describe, object_of, require_free
from cnet.manager import Workload
from cnet.manager.admission import field_error
from cnet.model.workload import WorkloadSpec
from cnet.storage.objects import Contents
from cnet.storage.staging import Stager, staging

FIELDS: Final = ("type", "name", "requirements", "config")
MAX_FIELD_BYTES: Final = 1024 * 1024
"""All fields together."""
CHUNKS_AHEAD: Final = 8
"""Pieces of a file that may wait for the disk; each is what the server reads at once."""


FORM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": [KIND]},
        "name": {"type": "string"},
        "requirements": {"type": "string", "description": "JSON"},
        "config": {"type": "string", "description": "JSON: data_key, access_mode, tags, …"},
        "file": {"type": "string", "format": "binary"},
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
    },
}
"""Schema of the form, for the OpenAPI document."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What an upload has become."""

    workload: Workload
    contents: Contents


@dataclass(slots=True)
class _Form:
    """What is known of a form so far."""

    fields: dict[str, bytearray] = field(default_factory=dict)
    field_bytes: int = 0
    single: str | None = None
    """the file name of the part `file`"""
    sha256: str | None = None
    tree: bool = False
    """there is a part `files`"""


async def receive(request: Request, context: ApiContext) -> Uploaded:
    """Store the files of a form and accept a workload that stands for them; durable on return.

    Nothing is kept when this raises: MalformedError, SpecError, ConflictError, StorageFullError.
    """
    if context.manager.own_node.draining:
        why = f"{context.manager.node_id} is draining"
        raise CapacityError(f"{why}: it takes no new data", reasons=[why])
    data = context.the_data
    workload_id = str(uuid.uuid4())
    run = f"{workload_id}.1"
    form = _Form()
    async with staging(
        data.objects, run, max_bytes=data.max_object_bytes, max_files=data.max_files
    ) as stager:
        await _read(request, form, stager)
        spec, config = _understood(form)
    return await _enter(context, data, form, spec, config, run)


async def _enter(
    context: ApiContext,
    data: DataService,
    form: _Form,
    spec: WorkloadSpec,
    config: UploadConfig,
    run: str,
) -> Uploaded:
    """Publish what is staged, then take the workload into the books."""
    workload_id = run.rpartition(".")[0]
    item = object_of(config, workload_id=workload_id, run=run, name=spec.name)
    try:
        require_free(data.objects, item.data_key)
        item = await data.objects.publish(run, item)
    except BaseException:
        await data.objects.unstage(run)
        raise
    try:
        # An agent that dies in here leaves an object of no workload: the next start removes it.
        contents = await data.objects.contents(item)
        workload = await context.manager.enter_done(
            spec, workload_id=workload_id, result=describe(contents)
        )
    except BaseException:
        with anyio.CancelScope(shield=True):
            await data.objects.delete(item.data_key)
        raise
    return Uploaded(workload, contents)


# --- reading -----------------------------------------------------------------------------------


async def _read(request: Request, form: _Form, stager: Stager) -> None:
    reader = FormReader(request.headers["content-type"])
    part = _Part(form, stager)
    try:
        async for chunk in request.stream():
            for event in reader.feed(chunk):
                if isinstance(event, PartBegins):
                    await part.begin(event)
                elif isinstance(event, PartEnds):
                    part.end()
                else:
                    await part.take(event)
    finally:
        part.end()
    reader.finish()
    if form.single is None and not form.tree:
        raise SpecError("file: the form holds no `file` and no `files`", field="file")


class _Part:
    """Where the content of the present part goes."""

    def __init__(self, form: _Form, stager: Stager) -> None:
        self._form = form
        self._stager = stager
        self._file: MemoryObjectSendStream[bytes] | None = None
        self._text: bytearray | None = None

    async def begin(self, head: PartBegins) -> None:
        if head.name in {"file", "files"}:
            path = _path_of(head, self._form)
            send, take = anyio.create_memory_object_stream[bytes](CHUNKS_AHEAD)
            self._file = send
            content_type = head.content_type if head.name == "file" else None
            await self._stager.add(path, _received(take), content_type=content_type)
        elif head.name in FIELDS:
            if head.name in self._form.fields:
                raise SpecError(f"{head.name}: is in the form twice", field=head.name)
            self._text = self._form.fields[head.name] = bytearray()
        else:
            allowed = ", ".join((*FIELDS, "file", "files"))
            raise SpecError(
                f"{head.name}: unknown part; a form of data takes {allowed}", field=head.name
            )

    async def take(self, content: bytes) -> None:
        if self._file is not None:
            await self._file.send(content)
        elif self._text is not None:
            self._form.field_bytes += len(content)
            if self._form.field_bytes > MAX_FIELD_BYTES:
                raise TooLargeError(f"body: the fields of the form exceed {MAX_FIELD_BYTES} bytes")
            self._text += content

    def end(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._text = None


def _path_of(head: PartBegins, form: _Form) -> str:
    if head.filename is None or not head.filename:
        raise SpecError(f"{head.name}: must be a file with a name", field=head.name)
    if head.name == "files":
        form.tree = True
    elif form.single is None:
        form.single = head.filename
    else:
        raise SpecError("file: is in the form twice; several files go as `files`", field="file")
    if form.tree and form.single is not None:
        raise SpecError("files: give either one `file` or several `files`", field="files")
    return head.filename


async def _received(take: Any) -> AsyncIterator[bytes]:
    async with take:
        async for chunk in take:
            yield chunk


# --- understanding -----------------------------------------------------------------------------


def _understood(form: _Form) -> tuple[WorkloadSpec, UploadConfig]:
    """The request that the fields make. Raises SpecError, MalformedError."""
    config = _json_object(form, "config")
    if config.get("filename") is not None or config.get("sha256") is not None:
        raise SpecError(
            "config: filename and sha256 are not for uploads; the form's own names count",
            field="config.filename",
        )
    config["upload_method"] = "directory" if form.tree else "path"
    config.setdefault("data_type", "dataset" if form.tree else "file")
    if form.single is not None:
        config["filename"] = form.single
    kind = _text(form, "type") or KIND
    if kind != KIND:
        raise SpecError(f"type: a form is for {KIND!r}, not {kind!r}", field="type")
    name = _text(form, "name") or f"data-{clock.compact(clock.now())}"
    document = {
        "name": name,
        "type": KIND,
        "requirements": _json_object(form, "requirements"),
        "config": config,
    }
    try:
        return WorkloadSpec.model_validate(document), UploadConfig.model_validate(config)
    except ValidationError as error:
        prefix = ("config",) if error.title == UploadConfig.__name__ else ()
        raise field_error(error, prefix=prefix) from None


def _text(form: _Form, name: str) -> str:
    try:
        return form.fields.get(name, bytearray()).decode()
    except UnicodeDecodeError:
        raise MalformedError(f"{name}: is not UTF-8") from None


def _json_object(form: _Form, name: str) -> dict[str, Any]:
    text = _text(form, name)
    if not text.strip():
        return {}
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"{name}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise SpecError(f"{name}: must be a JSON object", field=name)
    return document
