"""Which operation a request asks for: by its path, its method, and a word in its query."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from cnet.gateway.errors import S3Error
from cnet.gateway.operations import bucket, listing, multipart, reading, uploads, writing
from cnet.gateway.replies import Reply
from cnet.gateway.service import Call
from cnet.gateway.wire import WireRequest

Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Operation:
    """What answers, and whether it changes something or reads the body of the request."""

    handler: Handler
    writes: bool = False
    takes_body: bool = False


def _read(handler: Handler) -> Operation:
    return Operation(handler)


def _write(handler: Handler) -> Operation:
    return Operation(handler, writes=True, takes_body=True)


async def _not_implemented(call: Call) -> Reply:
    raise S3Error("NotImplemented")


async def _put_object(call: Call) -> Reply:
    if b"x-amz-copy-source" in call.request.headers:
        return await writing.copy_object(call)
    return await writing.put_object(call)


async def _put_part(call: Call) -> Reply:
    if b"x-amz-copy-source" in call.request.headers:
        return await multipart.copy_part(call)
    return await multipart.put_part(call)


async def _list_objects(call: Call) -> Reply:
    if call.parameter("list-type") == "2":
        return await listing.list_objects_v2(call)
    raise S3Error("InvalidArgument", "list-type must be 2.")


# The first word that the query has decides; "" stands last and is for a query without any.
_Words = Mapping[str, Operation]

_NONE_READ = dict.fromkeys(
    ("analytics", "inventory", "metrics", "intelligent-tiering", "metadataTable", "session"),
    _read(_not_implemented),
)
_NONE_WRITE = _write(_not_implemented)

_SERVICE: Mapping[str, _Words] = {"GET": {"": _read(bucket.list_buckets)}}

_BUCKET: Mapping[str, _Words] = {
    "GET": {
        "location": _read(bucket.get_location),
        "uploads": _read(uploads.list_uploads),
        "versions": _read(listing.list_versions),
        "acl": _read(bucket.get_acl),
        "requestPayment": _read(bucket.get_payment),
        **dict.fromkeys(bucket.ABSENT, _read(bucket.get_absent)),
        **dict.fromkeys(bucket.EMPTY, _read(bucket.get_empty)),
        **_NONE_READ,
        "list-type": _read(_list_objects),
        "": _read(listing.list_objects_v1),
    },
    "HEAD": {"": _read(bucket.head_bucket)},
    "PUT": {
        "acl": _write(bucket.put_acl),
        **dict.fromkeys(
            [*bucket.ABSENT, *bucket.EMPTY, *_NONE_READ, "requestPayment"], _NONE_WRITE
        ),
        "": _write(bucket.create_bucket),
    },
    "POST": {"delete": _write(writing.delete_objects), "": _NONE_WRITE},
    "DELETE": {
        **dict.fromkeys(bucket.ABSENT, Operation(bucket.delete_setting, writes=True)),
        **dict.fromkeys(_NONE_READ, _NONE_WRITE),
        "": Operation(bucket.delete_bucket, writes=True),
    },
}

_OBJECT: Mapping[str, _Words] = {
    "GET": {
        "uploadId": _read(uploads.list_parts),
        "acl": _read(reading.get_object_acl),
        "tagging": _read(reading.get_object_tagging),
        "attributes": _read(reading.get_attributes),
        "retention": _read(reading.get_no_lock),
        "legal-hold": _read(reading.get_no_lock),
        "torrent": _read(_not_implemented),
        "": _read(reading.get_object),
    },
    "HEAD": {"": _read(reading.get_object)},
    "PUT": {
        "uploadId": _write(_put_part),
        "acl": _write(bucket.put_acl),
        **dict.fromkeys(("tagging", "retention", "legal-hold", "renameObject"), _NONE_WRITE),
        "": _write(_put_object),
    },
    "POST": {
        "uploads": _write(multipart.create_upload),
        "uploadId": _write(multipart.complete_upload),
        **dict.fromkeys(("restore", "select"), _NONE_WRITE),
    },
    "DELETE": {
        "uploadId": _write(multipart.abort_upload),
        "tagging": Operation(bucket.delete_setting, writes=True),
        "": _write(writing.delete_object),
    },
}


def find(request: WireRequest, *, has_bucket: bool, has_key: bool) -> Operation:
    """The operation; raises S3Error MethodNotAllowed where there is none."""
    table = _OBJECT if has_key else _BUCKET if has_bucket else _SERVICE
    words = table.get(request.method)
    if words is not None:
        if request.query:
            parameters = request.parameters
            for word, operation in words.items():
                if word in parameters:
                    return operation
        if "" in words:
            return words[""]
    allowed = ", ".join(table).encode()
    raise S3Error(
        "MethodNotAllowed", extra={"Method": request.method}, headers=((b"allow", allowed),)
    )
