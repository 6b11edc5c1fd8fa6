"""`/docs`: the description of the API by Swagger UI, which is shipped along."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from cnet.web.rendering import page

router = APIRouter()


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Every route, with a form to try it."""
    return page(request, "docs.html")
