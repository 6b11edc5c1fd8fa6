"""The error codes of S3 with their status, and how the store's errors become them."""

from __future__ import annotations

from cnet import errors

# code → (status, sentence where no better one is given)
_CODES: dict[str, tuple[int, str]] = {
    "AccessControlListNotSupported": (400, "There are no access control lists here."),
    "AccessDenied": (403, "Access Denied"),
    "AccessForbidden": (403, "CORS is not enabled for this bucket."),
    "AuthorizationHeaderMalformed": (400, "The authorization header is malformed."),
    "AuthorizationQueryParametersError": (400, "The query parameters of the signature are wrong."),
    "BadDigest": (400, "The content does not have the digest you gave."),
    "BadRequest": (400, "An error occurred when parsing the HTTP request."),
    "BucketAlreadyExists": (409, "The requested bucket name is not available."),
    "BucketAlreadyOwnedByYou": (409, "The bucket exists already and is yours."),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty."),
    "ConditionalRequestConflict": (409, "Another request came in between."),
    "EntityTooLarge": (400, "The upload exceeds the maximum allowed size."),
    "EntityTooSmall": (400, "A part other than the last is smaller than 5 MiB."),
    "IncompleteBody": (400, "The body has not as many bytes as were announced."),
    "InsufficientStorage": (507, "The disk or the quota of this store is full."),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": (403, "The access key id you provided does not exist in our records."),
    "InvalidArgument": (400, "Invalid Argument"),
    "InvalidBearerToken": (401, "This gateway asks for its bearer token."),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidDigest": (400, "The Content-MD5 or checksum value you gave is not valid."),
    "InvalidPart": (400, "A part was not found, or its ETag does not match."),
    "InvalidPartNumber": (416, "The requested part number is not satisfiable."),
    "InvalidPartOrder": (400, "The list of parts was not in ascending order."),
    "InvalidRange": (416, "The requested range is not satisfiable."),
    "InvalidRequest": (400, "Invalid Request"),
    "InvalidStorageClass": (400, "There is the storage class STANDARD only."),
    "InvalidToken": (400, "The provided token is malformed or otherwise invalid."),
    "InvalidURI": (400, "Couldn't parse the specified URI."),
    "KeyTooLongError": (400, "Your key is too long: at most 1,024 bytes of UTF-8."),
    "MalformedXML": (400, "The XML you provided is not well-formed or has a wrong form."),
    "MetadataTooLarge": (400, "Your metadata headers exceed the maximum of 2,048 bytes."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
    "MissingRequestBodyError": (400, "Request body is empty."),
    "NoSuchBucket": (404, "The specified bucket does not exist."),
    "NoSuchBucketPolicy": (404, "The bucket policy does not exist."),
    "NoSuchCORSConfiguration": (404, "The CORS configuration does not exist."),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchLifecycleConfiguration": (404, "The lifecycle configuration does not exist."),
    "NoSuchPublicAccessBlockConfiguration": (404, "There is no public access block here."),
    "NoSuchTagSet": (404, "There is no tag set associated with the bucket."),
    "NoSuchUpload": (404, "The specified multipart upload does not exist."),
    "NoSuchVersion": (404, "The specified version does not exist."),
    "NoSuchWebsiteConfiguration": (404, "The bucket has no website configuration."),
    "NotImplemented": (501, "The header or request you provided is not implemented."),
    "ObjectLockConfigurationNotFoundError": (404, "There is no object lock configuration."),
    "OwnershipControlsNotFoundError": (404, "The bucket ownership controls were not found."),
    "PreconditionFailed": (412, "At least one of the preconditions you gave did not hold."),
    "ReplicationConfigurationNotFoundError": (404, "There is no replication configuration."),
    "RequestTimeTooSkewed": (403, "Your clock and the server's differ too much."),
    "RequestTimeout": (400, "No byte of the body came for too long."),
    "ServerSideEncryptionConfigurationNotFoundError": (404, "There is no encryption here."),
    "ServiceUnavailable": (503, "What holds the bytes does not answer. Please try again."),
    "SignatureDoesNotMatch": (
        403,
        "The request signature we calculated does not match the signature you provided.",
    ),
    "SlowDown": (503, "Please reduce your request rate."),
    "TooManyBuckets": (400, "You have attempted to create more buckets than allowed."),
    "XAmzContentSHA256Mismatch": (400, "The content is not what x-amz-content-sha256 says."),
}

# code of a CnetError → code of S3
_BY_CODE = {
    "no_such_bucket": "NoSuchBucket",
    "no_such_key": "NoSuchKey",
    "no_such_upload": "NoSuchUpload",
    "precondition_failed": "PreconditionFailed",
    "bucket_not_empty": "BucketNotEmpty",
    "invalid_part": "InvalidPart",
    "invalid_part_order": "InvalidPartOrder",
    "part_too_small": "EntityTooSmall",
    "digest_mismatch": "BadDigest",
    "storage_full": "InsufficientStorage",
}


class S3Error(Exception):
    """An answer with an error code of S3; `extra` becomes further elements of the XML."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        extra: dict[str, str] | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.status, sentence = _CODES[code]
        self.code = code
        self.message = message or sentence
        self.extra = extra or {}
        self.headers = headers
        super().__init__(f"{code}: {self.message}")


def from_store(error: errors.CnetError) -> S3Error:
    """What S3 calls an error of the store."""
    code = _BY_CODE.get(error.code)
    if code is not None:
        return S3Error(code, error.message)
    match error:
        case errors.AuthError():
            return S3Error("AccessDenied", error.message)
        case errors.SpecError(code="key_too_long"):
            return S3Error("KeyTooLongError")
        case errors.TooLargeError():
            return S3Error("EntityTooLarge", error.message)
        case errors.NotFoundError():
            return S3Error("NoSuchKey", error.message)
        case errors.SpecError(field="bucket"):
            return S3Error("InvalidBucketName", error.message)
        case errors.SpecError():
            return S3Error("InvalidArgument", error.message)
        case errors.ConflictError():
            return S3Error("ConditionalRequestConflict", error.message)
        case errors.StorageFullError():
            return S3Error("InsufficientStorage", error.message)
        case errors.UnreachableError():
            headers = ((b"retry-after", b"1"),)
            return S3Error("ServiceUnavailable", error.message, headers=headers)
        case errors.TransientError():
            return S3Error("SlowDown", error.message, headers=((b"retry-after", b"1"),))
        case _:
            return S3Error("InternalError")
