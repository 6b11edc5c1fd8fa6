"""Operations on buckets, and the settings that clients ask for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.gateways import Gateway


def test_made_listed_and_deleted(gateway: Gateway) -> None:
    made = gateway.ask("PUT", "/a-new-bucket")
    assert (made.status, made.headers["location"]) == (200, "/a-new-bucket")
    assert "a-new-bucket" in gateway.ask("GET", "/").texts("Buckets/Bucket/Name")
    assert gateway.ask("HEAD", "/a-new-bucket").status == 200
    again = gateway.ask("PUT", "/a-new-bucket")
    assert (again.status, again.code) == (409, "BucketAlreadyOwnedByYou")
    gateway.put("/a-new-bucket/file")
    full = gateway.ask("DELETE", "/a-new-bucket")
    assert (full.status, full.code) == (409, "BucketNotEmpty")
    assert gateway.ask("DELETE", "/a-new-bucket/file").status == 204
    assert gateway.ask("DELETE", "/a-new-bucket").status == 204
    assert gateway.ask("HEAD", "/a-new-bucket").status == 404
    gone = gateway.ask("DELETE", "/a-new-bucket")
    assert (gone.status, gone.code) == (404, "NoSuchBucket")


@pytest.mark.parametrize("path", ["/", "/s3", "/s3/", "/?x=y"])
def test_listing_buckets(gateway: Gateway, path: str) -> None:
    answer = gateway.ask("GET", path)
    assert answer.xml.tag == "ListAllMyBucketsResult"
    names = answer.texts("Buckets/Bucket/Name")
    assert "cnet" in names
    assert names == sorted(names)
    assert answer.texts("Owner/ID") == ["cnet"]
    assert answer.headers["content-type"] == "application/xml"


def test_listing_buckets_by_page(gateway: Gateway) -> None:
    for name in ("page-1", "page-2", "page-3"):
        gateway.ask("PUT", f"/{name}")
    first = gateway.ask("GET", "/?max-buckets=2&prefix=page-")
    assert first.texts("Buckets/Bucket/Name") == ["page-1", "page-2"]
    token = first.texts("ContinuationToken")[0]
    second = gateway.ask("GET", f"/?prefix=page-&continuation-token={token}")
    assert second.texts("Buckets/Bucket/Name") == ["page-3"]
    assert second.texts("ContinuationToken") == []


@pytest.mark.parametrize(
    "name",
    [
        "ab",
        "x" * 64,
        "UPPER",
        "under_score",
        "-dash",
        "dash-",
        "a..b",
        "1.2.3.4",
        "xn--a",
        "health",
    ],
)
def test_names_that_are_none(gateway: Gateway, name: str) -> None:
    answer = gateway.ask("PUT", f"/{name}")
    assert (answer.status, answer.code) == (400, "InvalidBucketName")


@pytest.mark.parametrize("name", ["abc", "x" * 63, "a.b-c.1", "123"])
def test_names_that_are_some(gateway: Gateway, name: str) -> None:
    assert gateway.ask("PUT", f"/{name}").status == 200
    assert gateway.ask("DELETE", f"/{name}").status == 204


@pytest.mark.parametrize("name", ["%00", "%FF", "..", "a%2Fb", "%2e%2e", "x" * 300, ".secret"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_hostile_names(gateway: Gateway, method: str, name: str) -> None:
    assert gateway.ask(method, f"/{name}").status in (400, 404)
    assert gateway.ask(method, f"/{name}/key").status in (400, 404, 411)


@pytest.mark.parametrize("region", ["eu-west-1", "us-east-1"])
def test_region_of_a_new_bucket_does_not_matter(gateway: Gateway, region: str) -> None:
    body = (
        '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
    ).encode()
    assert gateway.ask("PUT", "/of-a-region", {}, body).status == 200
    assert gateway.ask("DELETE", "/of-a-region").status == 204
    broken = gateway.ask("PUT", "/of-a-region", {}, b"<Create")
    assert (broken.status, broken.code) == (400, "MalformedXML")


def test_location(gateway: Gateway, s3: Any) -> None:
    answer = gateway.ask("GET", "/cnet?location")
    assert (answer.xml.tag, answer.xml.text) == ("LocationConstraint", None)
    assert s3.get_bucket_location(Bucket="cnet")["LocationConstraint"] is None
    assert gateway.ask("HEAD", "/cnet").headers["x-amz-bucket-region"] == "us-east-1"


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


@pytest.mark.parametrize("word", ABSENT)
def test_settings_no_bucket_has(gateway: Gateway, word: str) -> None:
    answer = gateway.ask("GET", f"/cnet?{word}")
    assert (answer.status, answer.code) == (404, ABSENT[word])
    assert gateway.ask("GET", f"/no-such-bucket?{word}").code == "NoSuchBucket"
    assert gateway.ask("DELETE", f"/cnet?{word}").status == 204
    put = gateway.ask("PUT", f"/cnet?{word}", {}, b"<X/>")
    assert (put.status, put.code) == (501, "NotImplemented")


@pytest.mark.parametrize(
    ("word", "root"),
    [
        ("versioning", "VersioningConfiguration"),
        ("notification", "NotificationConfiguration"),
        ("logging", "BucketLoggingStatus"),
        ("accelerate", "AccelerateConfiguration"),
        ("requestPayment", "RequestPaymentConfiguration"),
        ("acl", "AccessControlPolicy"),
    ],
)
def test_settings_every_bucket_has(gateway: Gateway, word: str, root: str) -> None:
    answer = gateway.ask("GET", f"/cnet?{word}")
    assert (answer.status, answer.xml.tag) == (200, root)
    assert gateway.ask("GET", f"/no-such-bucket?{word}").code == "NoSuchBucket"


@pytest.mark.parametrize("word", ["analytics", "inventory", "metrics", "intelligent-tiering"])
def test_settings_there_are_none_of(gateway: Gateway, word: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = gateway.ask(method, f"/cnet?{word}", {}, b"")
        assert (answer.status, answer.code) == (501, "NotImplemented")


def test_access_list_of_a_bucket(gateway: Gateway, s3: Any) -> None:
    assert s3.get_bucket_acl(Bucket="cnet")["Grants"][0]["Permission"] == "FULL_CONTROL"
    assert gateway.ask("PUT", "/cnet?acl", {"x-amz-acl": "private"}).status == 200
    public = gateway.ask("PUT", "/cnet?acl", {"x-amz-acl": "public-read"})
    assert (public.status, public.code) == (400, "AccessControlListNotSupported")
    same = gateway.ask("GET", "/cnet?acl").body
    assert gateway.ask("PUT", "/cnet?acl", {}, same).status == 200
    other = gateway.ask("PUT", "/cnet?acl", {}, same.replace(b"<ID>cnet", b"<ID>else"))
    assert (other.status, other.code) == (400, "AccessControlListNotSupported")
    made = gateway.ask("PUT", "/public-bucket", {"x-amz-acl": "public-read"})
    assert (made.status, made.code) == (400, "AccessControlListNotSupported")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/"), ("PUT", "/"), ("DELETE", "/"), ("HEAD", "/")]
)
def test_methods_on_the_service(gateway: Gateway, method: str, path: str) -> None:
    assert gateway.ask(method, path).status == 405


def test_form_posts_are_not_implemented(gateway: Gateway) -> None:
    answer = gateway.ask("POST", "/cnet", {}, b"x")
    assert (answer.status, answer.code) == (501, "NotImplemented")


@pytest.mark.parametrize("path", ["//key", "///", "/s3//key"])
def test_path_without_a_bucket(gateway: Gateway, path: str) -> None:
    answer = gateway.send("GET", path, gateway.sign("GET", path)[1])
    assert answer.status in (400, 403)
