"""Operations on buckets, and the settings of a bucket that are asked for but not had."""

from __future__ import annotations

from cnet.errors import SpecError
from cnet.gateway import xml
from cnet.gateway.errors import S3Error
from cnet.gateway.replies import Header, Reply, xml_reply
from cnet.gateway.service import OWNER, OWNER_ID, Call
from cnet.gateway.xml import Element, Node, iso_time
from cnet.storage.names import check_bucket

_RESERVED = frozenset({"health"})
_SMALL_BODY = 64 * 1024
_CANNED = frozenset(
    (
        b"private",
        b"public-read",
        b"public-read-write",
        b"authenticated-read",
        b"aws-exec-read",
        b"bucket-owner-read",
        b"bucket-owner-full-control",
        b"log-delivery-write",
    )
)

# Of a setting nobody can make here: what a bucket without it answers.
ABSENT = {
    "policy": "NoSuchBucketPolicy",
    "policyStatus": "NoSuchBucketPolicy",
    "cors": "NoSuchCORSConfiguration",
    "tagging": "NoSuchTagSet",
    "lifecycle": "NoSuchLifecycleConfiguration",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "website": "NoSuchWebsiteConfiguration",
    "replication": "ReplicationConfigurationNotFoundError",
    "object-lock": "ObjectLockConfigurationNotFoundError",
    "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
    "ownershipControls": "OwnershipControlsNotFoundError",
}
# The same for settings whose absence is an empty document.
EMPTY = {
    "versioning": "VersioningConfiguration",
    "notification": "NotificationConfiguration",
    "logging": "BucketLoggingStatus",
    "accelerate": "AccelerateConfiguration",
}


async def list_buckets(call: Call) -> Reply:
    """ListBuckets: those that this gateway shows to this caller."""
    prefix = call.parameter("prefix") or ""
    after = call.parameter("continuation-token") or ""
    limit = call.number("max-buckets", default=10_000, low=1, high=10_000)
    found = [
        (name, created_at)
        for name, created_at in await call.store.buckets()
        if name.startswith(prefix) and name > after and call.gateway.may_see(call.caller, name)
    ]
    entries: list[Element] = [
        ("Bucket", [("Name", name), ("CreationDate", iso_time(created_at))])
        for name, created_at in found[:limit]
    ]
    content: list[Element] = [("Owner", OWNER), ("Buckets", entries)]
    if len(found) > limit:
        content.append(("ContinuationToken", found[limit - 1][0]))
    if prefix:
        content.append(("Prefix", prefix))
    return xml_reply("ListAllMyBucketsResult", content)


async def head_bucket(call: Call) -> Reply:
    """HeadBucket."""
    await _must_exist(call)
    return Reply(200, [_region(call)])


async def get_location(call: Call) -> Reply:
    """GetBucketLocation; the first region of S3 is told as nothing."""
    await _must_exist(call)
    region = "" if call.gateway.region == "us-east-1" else call.gateway.region
    return xml_reply("LocationConstraint", region)


async def create_bucket(call: Call) -> Reply:
    """CreateBucket; any region is taken, and all are this one."""
    body = await call.payload.read(_SMALL_BODY)
    if body.strip():
        xml.parse(body, "CreateBucketConfiguration")
    if call.request.headers.get(b"x-amz-bucket-object-lock-enabled", b"false").lower() == b"true":
        raise S3Error("NotImplemented", "Object lock is not implemented.")
    refuse_acl(call)
    try:
        check_bucket(call.bucket)
    except SpecError as error:
        raise S3Error("InvalidBucketName", error.message) from None
    if call.bucket in _RESERVED:
        raise S3Error("InvalidBucketName", f"{call.bucket} is the name of a route of this gateway.")
    if not await call.store.create_bucket(call.bucket):
        raise S3Error("BucketAlreadyOwnedByYou", extra={"BucketName": call.bucket})
    return Reply(200, [(b"location", b"/" + call.bucket.encode())])


async def delete_bucket(call: Call) -> Reply:
    """DeleteBucket, which must be empty."""
    await call.store.delete_bucket(call.bucket)
    return Reply(204)


async def get_absent(call: Call) -> Reply:
    """A setting that no bucket here has."""
    await _must_exist(call)
    name = next(name for name in ABSENT if name in call.request.parameters)
    raise S3Error(ABSENT[name], extra={"BucketName": call.bucket})


async def get_empty(call: Call) -> Reply:
    """A setting whose absence is an empty document."""
    await _must_exist(call)
    name = next(name for name in EMPTY if name in call.request.parameters)
    return xml_reply(EMPTY[name], [])


async def get_payment(call: Call) -> Reply:
    """GetBucketRequestPayment."""
    await _must_exist(call)
    return xml_reply("RequestPaymentConfiguration", [("Payer", "BucketOwner")])


async def get_acl(call: Call) -> Reply:
    """GetBucketAcl: the owner may do everything, nobody else anything."""
    await _must_exist(call)
    return acl_reply()


async def delete_setting(call: Call) -> Reply:
    """Removing a setting that is not there."""
    await _must_exist(call)
    return Reply(204)


async def put_acl(call: Call) -> Reply:
    """PutBucketAcl and PutObjectAcl: only what is the case already, that all is the owner's."""
    body = await call.payload.read(_SMALL_BODY)
    refuse_acl(call)
    if body.strip():
        grants = xml.parse(body, "AccessControlPolicy").one("AccessControlList")
        for grant in grants.all("Grant") if grants else ():
            grantee, permission = grant.one("Grantee"), grant.one("Permission")
            owner = grantee.one("ID") if grantee else None
            if owner is None or owner.text != OWNER_ID or _text(permission) != "FULL_CONTROL":
                raise S3Error("AccessControlListNotSupported")
    elif b"x-amz-acl" not in call.request.headers:
        raise S3Error("MissingRequestBodyError")
    return Reply(200)


def acl_reply() -> Reply:
    """The one access control list there is."""
    namespace = "http://www.w3.org/2001/XMLSchema-instance"
    owner = f"<ID>{OWNER_ID}</ID><DisplayName>{OWNER_ID}</DisplayName>"
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<AccessControlPolicy xmlns="{xml.NAMESPACE}">'
        f"<Owner>{owner}</Owner><AccessControlList><Grant>"
        f'<Grantee xmlns:xsi="{namespace}" xsi:type="CanonicalUser">{owner}</Grantee>'
        "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"
    )
    return Reply(200, [(b"content-type", b"application/xml")], body.encode())


def refuse_acl(call: Call) -> None:
    """Raises S3Error for access lists that would mean anything."""
    word = call.request.headers.get(b"x-amz-acl")
    if word is not None and word not in _CANNED:
        raise S3Error("InvalidArgument", "x-amz-acl: there is no such canned access list.")
    grants = any(name.startswith(b"x-amz-grant-") for name in call.request.headers)
    if grants or word not in (None, b"private", b"bucket-owner-full-control"):
        raise S3Error("AccessControlListNotSupported", "The bucket does not allow ACLs")


def _region(call: Call) -> Header:
    return b"x-amz-bucket-region", call.gateway.region.encode()


async def _must_exist(call: Call) -> None:
    await call.store.list(call.bucket, limit=1)


def _text(node: Node | None) -> str | None:
    return None if node is None else node.text
