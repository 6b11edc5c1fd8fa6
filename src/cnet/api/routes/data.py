"""`/api/data`: what is stored on this node, and by way of it on others."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from cnet._support.clock import rfc3339
from cnet.api import contents, schemas
from cnet.api.context import SEARCH_HEADER, SEARCH_NONE, ApiContext, Context, DataService
from cnet.api.document import answer, errors
from cnet.api.errors import json_response
from cnet.api.relay import Relayed, answer_of
from cnet.errors import ConflictError, NotFoundError, SpecError, UnreachableError
from cnet.executors.data_config import KIND
from cnet.executors.data_objects import describe, describe_file
from cnet.manager import Workload
from cnet.storage.base import Expected
from cnet.storage.objects import Contents, DataObject
from cnet.storage.staging import bounded, guess_type

router = APIRouter(prefix="/api/data", tags=["data"])

MAX_PAGE = 1_000
DataKey = Annotated[
    str, Path(max_length=255, description="key of a data object, or id of its workload")
]
FilePath = Annotated[str, Path(max_length=1024, description="path of a file in the object")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str, Query(max_length=1024, description="`next_cursor` of the page before")]
Scope = Annotated[
    Literal["node", "tree"],
    Query(description="`tree`: of this node and all that it knows; a key may be there twice"),
]
BYTES: dict[str, Any] = {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}


@router.get(
    "",
    summary="List data objects",
    responses={200: answer(schemas.DataList), **errors(422)},
)
async def list_data(
    context: Context, limit: Limit = 100, cursor: Cursor = "", scope: Scope = "node"
) -> Response:
    """Those of this very node, or of all nodes it knows, by key, a page at a time."""
    if scope == "tree":
        return await _list_tree(context, _text("cursor", cursor), limit)
    found = await context.the_data.objects.page(after=_text("cursor", cursor), limit=limit + 1)
    page = [_shown(context, item) for item in found[:limit]]
    more = len(found) > limit
    body = {
        "data": page,
        "count": len(page),
        "next_cursor": page[-1]["data_key"] if more else None,
    }
    return json_response(body)


@router.get(
    "/{data_key}",
    summary="Look at a data object",
    responses={200: answer(schemas.DataDetails), **errors(404, 422, 503)},
)
async def get_data(
    data_key: DataKey,
    request: Request,
    context: Context,
    limit: Limit = MAX_PAGE,
    cursor: Cursor = "",
) -> Response:
    """It and its files, in the order of their paths, a page at a time."""
    item = await _seek(context, request, data_key)
    if isinstance(item, Response):
        return item
    held, files = await context.the_data.objects.view(
        item, after=_text("cursor", cursor), limit=limit + 1
    )
    shown = [describe_file(item, file) for file in files[:limit]]
    more = len(files) > limit
    body = _shown(context, held) | {
        "file_list": shown,
        "next_cursor": shown[-1]["path"] if more else None,
    }
    return json_response(body)


@router.head("/{data_key}/{path:path}", include_in_schema=False)
@router.get(
    "/{data_key}/{path:path}",
    summary="Read a file",
    responses={
        200: BYTES,
        206: BYTES | {"description": "The range that was asked for"},
        304: {"description": "It is what the client has"},
        412: answer(schemas.ErrorBody),
        416: answer(schemas.ErrorBody),
        **errors(404, 409, 422, 503),
    },
)
async def get_file(
    data_key: DataKey, path: FilePath, request: Request, context: Context
) -> Response:
    """Its bytes: `Range` and the conditional headers are heeded."""
    item = await _seek(context, request, data_key)
    if isinstance(item, Response):
        return item
    data = context.the_data
    file = await data.objects.file(item, path)
    reply = contents.answer(data.objects.store, file, request.headers, method=request.method)
    if item.access_mode != "exclusive":
        return reply
    _hold(data, item)
    return contents.Holding(reply, lambda: data.in_use.discard(item.data_key))


@router.put(
    "/{data_key}/{path:path}",
    summary="Write a file",
    openapi_extra={"requestBody": {"required": True, **BYTES}},
    responses={
        200: answer(schemas.DataFile),
        **errors(400, 403, 404, 409, 413, 422, 503, 507),
    },
)
async def put_file(
    data_key: DataKey, path: FilePath, request: Request, context: Context
) -> Response:
    """Store or replace a file of an object that is not readonly; durable when it is answered."""
    item = await _seek(context, request, data_key)
    if isinstance(item, Response):
        return item
    data = context.the_data
    length = request.headers.get("content-length", "")
    _hold(data, item)
    try:
        file = await data.objects.put(
            item,
            path,
            bounded(request.stream(), data.max_object_bytes),
            content_type=request.headers.get("content-type") or guess_type(path),
            expected=Expected(size=int(length) if length.isdigit() else None),
        )
    finally:
        _let_go(data, item)
    return json_response(describe_file(item, file))


@router.delete(
    "/{data_key}/{path:path}",
    summary="Delete a file",
    responses={200: answer(schemas.MessageBody), **errors(403, 404, 409, 422, 503, 507)},
)
async def delete_file(
    data_key: DataKey, path: FilePath, request: Request, context: Context
) -> Response:
    """One file of an object that is not readonly."""
    item = await _seek(context, request, data_key)
    if isinstance(item, Response):
        return item
    data = context.the_data
    _hold(data, item)
    try:
        await data.objects.file(item, path)
        await data.objects.delete_file(item, path)
    finally:
        _let_go(data, item)
    return json_response({"message": f"data://{item.data_key}/{path} deleted"})


@router.delete(
    "/{data_key}",
    summary="Delete a data object",
    responses={
        200: answer(schemas.MessageBody),
        202: answer(schemas.MessageBody) | {"description": "Its node cannot be reached now"},
        **errors(404, 409, 422, 503, 507),
    },
)
async def delete_data(data_key: DataKey, request: Request, context: Context) -> Response:
    """The same as stopping its workload: the data go, the workload's record stays."""
    try:
        workload = _workload_of(context, data_key)
    except NotFoundError:
        elsewhere = await _seek(context, request, data_key)
        if not isinstance(elsewhere, Response):
            raise
        return elsewhere
    owner = workload.status.owner
    if owner is not None and context.exchange.next_hop(owner) is not None:
        there = await answer_of(context.links.app_for(owner), request)
        if there is not None:
            return there
    await context.manager.stop(workload.id)
    await workload.until(lambda status: not status.result or status.reason == "node_unreachable")
    if workload.status.result:
        host = workload.status.host
        message = f"data://{data_key} is deleted when {host} can be reached again"
        return json_response({"message": message}, status=202)
    return json_response({"message": f"data://{data_key} deleted"})


async def _list_tree(context: ApiContext, after: str, limit: int) -> Response:
    listing = await context.the_data.remote.page(after=after, limit=limit)
    body = {
        "data": listing.data,
        "count": len(listing.data),
        "next_cursor": listing.data[-1]["data_key"] if listing.more and listing.data else None,
        "unreachable": listing.silent,
    }
    return json_response(body)


# --- where it is -------------------------------------------------------------------------------


def _locate(context: ApiContext, data_key: str) -> DataObject | Response:
    """The object on this node, or the answer of the node that has it. Raises NotFoundError."""
    objects = context.the_data.objects
    item = objects.find(data_key) or objects.of_workload(data_key)
    if item is not None:
        return item
    host = _workload_of(context, data_key).status.host
    if host is None:
        raise _unknown(context, data_key)
    return Relayed(context.links.app_for(host))


async def _seek(context: ApiContext, request: Request, data_key: str) -> DataObject | Response:
    """The same, wherever it is among the nodes known here. Raises UnreachableError, too."""
    try:
        return _locate(context, data_key)
    except NotFoundError:
        if request.headers.get(SEARCH_HEADER) == SEARCH_NONE:
            raise
    found = await context.the_data.remote.find(data_key)
    if found.node_id is None:
        if found.silent:
            silent = ", ".join(sorted(found.silent)[:5])
            raise UnreachableError(
                f"{data_key!r} may be on a node that does not answer: {silent}",
                code="node_unreachable",
            )
        raise _unknown(context, data_key)
    if not found.passes_on:
        # Two agents that each take the other for the holder would send it to and fro.
        no_further = (SEARCH_HEADER.encode(), SEARCH_NONE.encode())
        request.scope["headers"] = [*request.scope["headers"], no_further]
    return Relayed(context.links.app_for(found.node_id))


def _workload_of(context: ApiContext, data_key: str) -> Workload:
    """The workload that has stored it, as far as this agent knows. Raises NotFoundError."""
    item = context.the_data.objects.find(data_key)
    wanted = data_key if item is None else item.workload_id
    for workload in context.manager.workloads():
        result = workload.status.result if workload.spec.type == KIND else {}
        if result and (workload.id == wanted or result.get("data_key") == data_key):
            return workload
    raise _unknown(context, data_key)


def _unknown(context: ApiContext, data_key: str) -> NotFoundError:
    return NotFoundError(
        f"no data object {data_key!r} is known to {context.manager.node_id}", code="no_such_data"
    )


def _shown(context: ApiContext, item: Contents) -> dict[str, Any]:
    about = describe(item)
    about.pop("file_list")
    return about | {
        "name": item.object.name,
        "workload_id": item.object.workload_id,
        "node_id": context.manager.node_id,
        "created_at": rfc3339(item.object.created_at),
        "updated_at": rfc3339(item.object.updated_at),
    }


def _hold(data: DataService, item: DataObject) -> None:
    """One request at a time has an exclusive object. Raises ConflictError."""
    if item.access_mode != "exclusive":
        return
    if item.data_key in data.in_use:
        raise ConflictError(
            f"data object {item.data_key!r} is exclusive, and in use by another request",
            code="in_use",
        )
    data.in_use.add(item.data_key)


def _let_go(data: DataService, item: DataObject) -> None:
    if item.access_mode == "exclusive":
        data.in_use.discard(item.data_key)


def _text(field: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SpecError(f"{field}: is not Unicode text", field=field) from None
    return text
