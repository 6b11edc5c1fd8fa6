"""`/data`: what is stored here and elsewhere, its files, gateways and their access keys."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Form, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cnet.errors import ConflictError, NotFoundError, SpecError, UnreachableError
from cnet.model.lifecycle import wire_status
from cnet.web.asking import Answer, path_of
from cnet.web.rendering import page, see_other
from cnet.web.state import RequireWrite, Web, WebState

router = APIRouter()

PAGE: Final = 50
FILES: Final = 200
IMAGES: Final = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml", "image/bmp"}
)
TEXTS: Final = frozenset(
    {"application/json", "application/yaml", "application/x-yaml", "application/xml",
     "application/toml", "application/javascript", "application/x-sh"}
)  # fmt: skip
TEXT_ENDINGS: Final = frozenset(
    {".py", ".toml", ".yaml", ".yml", ".md", ".cfg", ".ini", ".log", ".sh", ".csv", ".json"}
)
GATEWAY: Final = "datagateway"
Cursor = Annotated[str, Query(max_length=1_024)]


@router.get("/data")
async def data(
    request: Request,
    web: Web,
    cursor: Cursor = "",
    scope: Literal["node", "tree"] = "node",
) -> Response:
    """Objects, gateways, keys."""
    return await _overview(request, web, cursor=cursor, scope=scope)


async def _overview(
    request: Request,
    web: WebState,
    *,
    cursor: str = "",
    scope: str = "node",
    new_key: dict[str, Any] | None = None,
) -> Response:
    query = {"limit": str(PAGE), "scope": scope, "cursor": cursor}
    listed = await web.api.ask(request, "GET", path_of("data"), query=query)
    keys = await web.api.ask(request, "GET", path_of("access-keys"))
    found = listed.json if listed.ok else {"data": [], "next_cursor": None}
    values = {
        "address": "/data",  # also where it is the answer to a form
        "objects": found["data"],
        "next_cursor": found["next_cursor"],
        "silent": found.get("unreachable") or [],
        "fault": None if listed.ok else listed.details,
        "scope": scope,
        "gateways": _gateways(web),
        "keys": keys.json["access_keys"] if keys.ok else [],
        "new_key": new_key,
        "stores": web.context.data is not None,
    }
    return page(request, "data/list.html", values)


@router.get("/data/objects/{key}")
async def data_object(
    request: Request, web: Web, key: str, cursor: Cursor = "", file: Cursor = ""
) -> Response:
    """An object and its files; `file` is the one to look at."""
    query = {"limit": str(FILES), "cursor": cursor}
    found = _sound(await web.api.ask(request, "GET", path_of("data", key), query=query))
    files = found["file_list"]
    looked_at = next((each for each in files if each["path"] == file), None)
    if looked_at is None and found["file_count"] == 1 and files:
        looked_at = files[0]
    values = {
        "object": found,
        "files": files,
        "next_cursor": found["next_cursor"],
        "looked_at": looked_at,
        "preview": None if looked_at is None else _preview(looked_at),
        "base_url": str(request.base_url).rstrip("/"),
    }
    return page(request, "data/object.html", values)


@router.get("/data/objects/{key}/delete", dependencies=[RequireWrite])
async def ask_delete(request: Request, web: Web, key: str) -> Response:
    """Whether one is sure."""
    found = _sound(await web.api.ask(request, "GET", path_of("data", key), query={"limit": "1"}))
    return page(request, "data/delete.html", {"object": found})


@router.post("/data/objects/{key}/delete", dependencies=[RequireWrite])
async def delete(request: Request, web: Web, key: str) -> Response:
    """The data go; the workload's record stays."""
    _sound(await web.api.ask(request, "DELETE", path_of("data", key)))
    return see_other(request, "/data")


@router.post("/data/keys", dependencies=[RequireWrite])
async def new_key(
    request: Request,
    web: Web,
    buckets: Annotated[str, Form(max_length=4_096)] = "",
    read_only: Annotated[str, Form(max_length=8)] = "",
) -> Response:
    """A new access key; its secret is on this one page and never again."""
    names = buckets.replace(",", " ").split()
    body: dict[str, Any] = {"buckets": names or None, "read_only": read_only == "true"}
    made = _sound(await web.api.ask(request, "POST", path_of("access-keys"), json=body))
    return await _overview(request, web, new_key=made)


@router.get("/data/keys/{key_id}/delete", dependencies=[RequireWrite])
async def ask_delete_key(request: Request, key_id: str) -> Response:
    """Whether one is sure."""
    return page(request, "data/delete_key.html", {"key_id": key_id})


@router.post("/data/keys/{key_id}/delete", dependencies=[RequireWrite])
async def delete_key(request: Request, web: Web, key_id: str) -> Response:
    """Whoever has it is refused from now on."""
    _sound(await web.api.ask(request, "DELETE", path_of("access-keys", key_id)))
    return see_other(request, "/data")


def _gateways(web: WebState) -> list[dict[str, Any]]:
    """Those that are not over, newest first."""
    manager = web.context.manager
    return [
        {
            "id": item.id,
            "name": item.spec.name,
            "status": wire_status(item.status.phase),
            "node_id": item.status.host or manager.node_id,
            "bucket": item.spec.config.get("bucket", "cnet"),
            "read_only": item.spec.config.get("read_only", True),
            "endpoint": item.status.endpoint,
        }
        for item in reversed(list(manager.workloads()))
        if item.spec.type == GATEWAY and not item.status.is_terminal
    ][:PAGE]


def _preview(file: dict[str, Any]) -> Literal["image", "text"] | None:
    """How a file can be shown; the browser fetches it itself, at most its beginning."""
    media_type = str(file["content_type"]).partition(";")[0].strip().lower()
    if media_type in IMAGES:
        return "image"
    ending = PurePosixPath(file["path"]).suffix.lower()
    is_text = media_type.startswith("text/") or media_type in TEXTS or ending in TEXT_ENDINGS
    return "text" if is_text else None


_ERRORS: Final = {404: NotFoundError, 409: ConflictError, 422: SpecError, 503: UnreachableError}


def _sound(answer: Answer) -> dict[str, Any]:
    """The JSON of an answer. Raises the error that it tells of."""
    if not answer.ok:
        error = _ERRORS.get(answer.status)
        if error is None:
            raise HTTPException(answer.status)
        raise error(answer.details)
    body: dict[str, Any] = answer.json
    return body
