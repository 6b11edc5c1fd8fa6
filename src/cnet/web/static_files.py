"""Styles, scripts and icons: `/static/<version>/<path>`, kept by browsers for ever.

The version is a digest of all of them, so a new CNET has new addresses, and scripts import each
other by relative paths.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from functools import cache, lru_cache
from pathlib import Path

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

FOLDER = Path(__file__).parent / "static"
FOREVER = "public, max-age=31536000, immutable"
COMPRESSED = frozenset({".css", ".js", ".svg", ".json"})

router = APIRouter()


@cache
def version() -> str:
    """Digest of all files."""
    digest = hashlib.sha256()
    for name in sorted(known_files()):
        digest.update(name.encode())
        digest.update(known_files()[name].read_bytes())
    return digest.hexdigest()[:12]


@cache
def known_files() -> dict[str, Path]:
    """Relative path → file; nothing else is ever opened."""
    return {
        path.relative_to(FOLDER).as_posix(): path for path in FOLDER.rglob("*") if path.is_file()
    }


def address(name: str) -> str:
    """Where a file is to be had; raises KeyError for one that is not there."""
    if name not in known_files():
        raise KeyError(name)
    return f"/static/{version()}/{name}"


@lru_cache(maxsize=32)
def _compressed(name: str) -> bytes:
    return gzip.compress(known_files()[name].read_bytes(), mtime=0)


@router.get("/static/{wanted}/{name:path}")
async def static(wanted: str, name: str, request: Request) -> Response:
    """One file; an address of an older version leads to nothing that could be stale."""
    path = known_files().get(name)
    if path is None:
        raise HTTPException(404)
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {
        "cache-control": FOREVER if wanted == version() else "no-cache",
        "x-content-type-options": "nosniff",
        "vary": "accept-encoding",
    }
    if path.suffix in COMPRESSED and "gzip" in request.headers.get("accept-encoding", ""):
        body = await anyio.to_thread.run_sync(_compressed, name)
        headers["content-encoding"] = "gzip"
    else:
        body = await anyio.to_thread.run_sync(path.read_bytes)
    return Response(body, media_type=media_type, headers=headers)


@router.get("/favicon.ico")
async def favicon() -> Response:
    """Where browsers look by themselves."""
    return RedirectResponse(address("favicon.svg"), 307)
