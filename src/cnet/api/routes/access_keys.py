"""`/api/access-keys`: what clients of this node's data gateways sign their requests with."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.responses import Response

from cnet._support.clock import rfc3339
from cnet.api import schemas
from cnet.api.bodies import described, read_body
from cnet.api.context import Context
from cnet.api.document import answer, errors
from cnet.api.errors import json_response
from cnet.errors import SpecError
from cnet.storage.keys import AccessKey, create_key, read_keys, remove_key
from cnet.storage.names import check_bucket

router = APIRouter(prefix="/api/access-keys", tags=["data"])

KeyId = Annotated[str, Path(max_length=128, description="id of an access key")]


class AccessKeyRequest(BaseModel):
    """What the holder of a new key may do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    buckets: list[str] | None = Field(None, min_length=1, max_length=100, description="null: all")
    read_only: bool = False

    @field_validator("buckets")
    @classmethod
    def _sound(cls, buckets: list[str] | None) -> list[str] | None:
        for bucket in buckets or ():
            try:
                check_bucket(bucket)
            except SpecError as error:
                sentence = error.message.removeprefix("bucket: ")
                raise ValueError(f"{bucket!r} {sentence}") from None
        return buckets


@router.get(
    "",
    summary="List access keys",
    responses={200: answer(schemas.AccessKeyList), **errors()},
)
async def list_keys(context: Context) -> Response:
    """Those of this node's gateways, without their secrets."""
    path = context.the_data.keys_file
    keys = await anyio.to_thread.run_sync(lambda: read_keys(path) if path.exists() else {})
    shown = [_shown(key) for _, key in sorted(keys.items())]
    return json_response({"access_keys": shown, "count": len(shown)})


@router.post(
    "",
    status_code=201,
    summary="Create an access key",
    openapi_extra=described(AccessKeyRequest, buckets=["cnet"], read_only=True),
    responses={201: answer(schemas.NewAccessKey), **errors(400, 409, 413, 415, 422)},
)
async def create(request: Request, context: Context) -> Response:
    """Gateways take it within a second. Its secret is told here and never again."""
    wanted = await read_body(request, AccessKeyRequest)
    key = await anyio.to_thread.run_sync(
        partial(
            create_key,
            context.the_data.keys_file,
            buckets=wanted.buckets,
            read_only=wanted.read_only,
        )
    )
    body = {**_shown(key), "secret_access_key": key.secret}
    return json_response(body, status=201, headers={"cache-control": "no-store"})


@router.delete(
    "/{access_key_id}",
    summary="Revoke an access key",
    responses={200: answer(schemas.MessageBody), **errors(404, 409, 422)},
)
async def revoke(access_key_id: KeyId, context: Context) -> Response:
    """Gateways refuse it within a second."""
    await anyio.to_thread.run_sync(remove_key, context.the_data.keys_file, access_key_id)
    return json_response({"message": f"access key {access_key_id} revoked"})


def _shown(key: AccessKey) -> dict[str, Any]:
    return {
        "access_key_id": key.key_id,
        "buckets": None if key.buckets is None else sorted(key.buckets),
        "read_only": key.read_only,
        "created_at": None if key.created_at is None else rfc3339(key.created_at),
    }
