"""What every operation works with: the store, the limits of this gateway, and one request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cnet.gateway.authentication import Caller
from cnet.gateway.errors import S3Error
from cnet.gateway.payload import Payload
from cnet.gateway.wire import WireRequest
from cnet.storage.base import Store

OWNER_ID = "cnet"
OWNER = (("ID", OWNER_ID), ("DisplayName", OWNER_ID))


@dataclass(frozen=True, slots=True)
class Gateway:
    """The store behind it, and what may be seen and done through it."""

    store: Store
    read_only: bool = True
    region: str = "us-east-1"

    def may_see(self, caller: Caller, bucket: str) -> bool:
        """Whether a bucket is there for this caller."""
        return caller.buckets is None or bucket in caller.buckets

    def check_bucket(self, caller: Caller, bucket: str) -> None:
        """Raises S3Error for a bucket that this caller has nothing to do with."""
        if self.may_see(caller, bucket):
            return
        if not caller.has_key:
            raise S3Error("NoSuchBucket", extra={"BucketName": bucket})
        raise S3Error("AccessDenied", "This access key is not for that bucket.")

    def check_write(self, caller: Caller) -> None:
        """Raises S3Error AccessDenied where nothing may be changed."""
        if self.read_only:
            raise S3Error("AccessDenied", "This gateway is read_only: nothing is changed by it.")
        if caller.read_only:
            raise S3Error("AccessDenied", "This access key is read_only.")


def check_owner(request: WireRequest, name: bytes = b"x-amz-expected-bucket-owner") -> None:
    """Raises S3Error AccessDenied where the client expects the bucket to be somebody else's."""
    if name in request.headers and request.header(name) != OWNER_ID:
        raise S3Error("AccessDenied")


@dataclass(slots=True)
class Call:
    """A request whose sender is known and may do this."""

    gateway: Gateway
    request: WireRequest
    caller: Caller
    payload: Payload
    target_bucket: str | None
    target_key: str | None

    @property
    def store(self) -> Store:
        """The store behind the gateway."""
        return self.gateway.store

    @property
    def bucket(self) -> str:
        """The bucket of the path, for operations that have one."""
        if self.target_bucket is None:
            raise S3Error("InvalidBucketName")
        return self.target_bucket

    @property
    def key(self) -> str:
        """The key of the path, for operations that have one."""
        if self.target_key is None:
            raise S3Error("InvalidURI")
        return self.target_key

    def parameter(self, name: str) -> str | None:
        """A parameter of the query; None where it is absent."""
        return self.request.parameters.get(name)

    def number(self, name: str, *, default: int, low: int = 0, high: int = 2**31 - 1) -> int:
        """A whole number of the query; empty counts as absent."""
        text = self.parameter(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit()) or not low <= int(text[:12]) <= high:
            raise S3Error(
                "InvalidArgument",
                f"Argument {name} must be an integer between {low} and {high}",
                extra={"ArgumentName": name, "ArgumentValue": text},
            )
        return int(text)

    def refuse(self, headers: Iterable[bytes]) -> None:
        """Raises S3Error NotImplemented when one of these headers is there."""
        for name in headers:
            if name in self.request.headers:
                raise S3Error(
                    "NotImplemented",
                    "A header you provided implies functionality that is not implemented",
                    extra={"Header": name.decode()},
                )
