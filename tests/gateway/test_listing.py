"""ListObjects in both versions, ListObjectVersions, and what clients make of the pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.gateway.gateways import Gateway

KEYS = [
    "a",
    "a/",
    "a/b",
    "a/b/c",
    "a/d",
    "ab",
    "b/c d+e",
    "b/é",
    "b//x",
    "c&<>\"'",
    "d/../e",
    "z",
    "日本/語",
]
KEYS.sort(key=str.encode)
STRANGE = sorted(
    ["\t", " lead", "trail ", "a\nb", "a\rb", "%41", "a%2Fb", "+", "?q=1", "#f", "\u0301e", "é"],
    key=str.encode,
)


@pytest.fixture(scope="module")
def filled(gateway: Gateway) -> str:
    """A bucket with KEYS."""
    assert gateway.ask("PUT", "/listing").status == 200
    for key in KEYS:
        gateway.put("/listing/" + quote(key), key.encode())
    return "listing"


def expected(prefix: str = "", delimiter: str = "", after: str = "") -> tuple[list[str], list[str]]:
    """Files and common prefixes, by the naive rule."""
    files, groups = [], []
    for key in KEYS:
        if not key.startswith(prefix) or key.encode() <= after.encode():
            continue
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            group = prefix + rest.split(delimiter)[0] + delimiter
            if group not in groups:
                groups.append(group)
        else:
            files.append(key)
    return files, groups


def _encoded(text: str) -> str:
    return quote(text, safe="")


CASES = [
    ("", ""),
    ("", "/"),
    ("a", ""),
    ("a", "/"),
    ("a/", "/"),
    ("a/b", "/"),
    ("a/b/", "/"),
    ("b", "/"),
    ("b/", "/"),
    ("b//", "/"),
    ("nothing", ""),
    ("nothing", "/"),
    ("", "b"),
    ("", "//"),
    ("日", "/"),
    ("d/../", "/"),
    ("c&", ""),
]


@pytest.mark.parametrize(("prefix", "delimiter"), CASES)
@pytest.mark.parametrize("limit", [1, 2, 5, 1000])
@pytest.mark.parametrize("version", [1, 2])
def test_pages_together_are_the_listing(
    gateway: Gateway, filled: str, prefix: str, delimiter: str, limit: int, version: int
) -> None:
    files: list[str] = []
    groups: list[str] = []
    following = ""
    while True:
        query = f"prefix={_encoded(prefix)}&delimiter={_encoded(delimiter)}&max-keys={limit}"
        query += ("&list-type=2" if version == 2 else "") + following
        answer = gateway.ask("GET", f"/{filled}?{query}")
        assert answer.status == 200
        shown, common = answer.texts("Contents/Key"), answer.texts("CommonPrefixes/Prefix")
        assert len(shown) + len(common) <= limit
        if version == 2:
            assert answer.texts("KeyCount") == [str(len(shown) + len(common))]
        files += shown
        groups += common
        if answer.texts("IsTruncated") == ["false"]:
            break
        assert shown or common
        if version == 2:
            token = answer.texts("NextContinuationToken")[0]
            following = f"&continuation-token={_encoded(token)}"
        else:
            last = (answer.texts("NextMarker") if delimiter else shown[-1:])[0]
            following = f"&marker={_encoded(last)}"
    assert (files, groups) == expected(prefix, delimiter)


@pytest.mark.parametrize("after", ["", "a", "a/", "a/b", "aa", "b/", "zz", "日本"])
@pytest.mark.parametrize("parameter", ["start-after", "marker", "key-marker"])
def test_begins_behind_a_key(gateway: Gateway, filled: str, after: str, parameter: str) -> None:
    kind = {"start-after": "list-type=2&", "marker": "", "key-marker": "versions&"}[parameter]
    answer = gateway.ask("GET", f"/{filled}?{kind}{parameter}={_encoded(after)}")
    path = "Version/Key" if parameter == "key-marker" else "Contents/Key"
    assert answer.texts(path) == expected(after=after)[0]


def test_start_after_inside_a_group_shows_the_group(gateway: Gateway, filled: str) -> None:
    answer = gateway.ask("GET", f"/{filled}?list-type=2&delimiter=%2F&start-after=a%2Fb")
    assert answer.texts("CommonPrefixes/Prefix")[0] == "a/"


@pytest.mark.parametrize("kind", ["list-type=2", "x", "versions"])
def test_names_can_be_percent_encoded(gateway: Gateway, filled: str, kind: str) -> None:
    answer = gateway.ask("GET", f"/{filled}?{kind}&encoding-type=url")
    path = "Version/Key" if kind == "versions" else "Contents/Key"
    assert answer.texts("EncodingType") == ["url"]
    assert [unquote(key) for key in answer.texts(path)] == KEYS
    assert all(key.isascii() and " " not in key for key in answer.texts(path))


def test_strange_names_come_back_exactly(gateway: Gateway, s3: Any, bucket: str) -> None:
    for key in STRANGE:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [entry["Key"] for entry in listed] == STRANGE
    for key in STRANGE:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    plain = gateway.ask("GET", f"/{bucket}?list-type=2")
    assert plain.texts("Contents/Key") == STRANGE


def test_entries_say_what_is_stored(gateway: Gateway, bucket: str) -> None:
    etag = gateway.put(f"/{bucket}/file", b"12345").headers["etag"]
    entry = gateway.ask("GET", f"/{bucket}?list-type=2").xml.find("Contents")
    assert entry is not None
    assert entry.findtext("Size") == "5"
    assert entry.findtext("ETag") == etag == '"827ccb0eea8a706c4c34a16891f84e7b"'
    assert entry.findtext("StorageClass") == "STANDARD"
    assert entry.find("Owner") is None
    modified = entry.findtext("LastModified") or ""
    assert modified.endswith("Z")
    assert "T" in modified


def test_owner_is_told_where_it_is_asked_for(gateway: Gateway, filled: str) -> None:
    assert gateway.ask("GET", f"/{filled}?list-type=2&fetch-owner=true").texts("Contents/Owner/ID")
    assert gateway.ask("GET", f"/{filled}").texts("Contents/Owner/ID")


def test_versions_are_called_null(gateway: Gateway, filled: str) -> None:
    answer = gateway.ask("GET", f"/{filled}?versions&max-keys=2")
    assert answer.xml.tag == "ListVersionsResult"
    assert answer.texts("Version/VersionId") == ["null", "null"]
    assert answer.texts("Version/IsLatest") == ["true", "true"]
    assert answer.texts("NextKeyMarker") == [KEYS[1]]
    assert answer.texts("NextVersionIdMarker") == ["null"]
    following = gateway.ask(
        "GET", f"/{filled}?versions&key-marker={_encoded(KEYS[1])}&version-id-marker=null"
    )
    assert following.texts("Version/Key") == KEYS[2:]


@pytest.mark.parametrize("kind", ["list-type=2", "x", "versions"])
def test_no_keys_at_all(gateway: Gateway, filled: str, kind: str) -> None:
    answer = gateway.ask("GET", f"/{filled}?{kind}&max-keys=0")
    assert answer.texts("IsTruncated") == ["false"]
    assert not answer.texts("Contents/Key")
    assert not answer.texts("Version/Key")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("list-type=2&max-keys=-1", "InvalidArgument"),
        ("list-type=2&max-keys=x", "InvalidArgument"),
        ("list-type=2&max-keys=99999999999", "InvalidArgument"),
        ("list-type=2&max-keys=%D9%A1", "InvalidArgument"),
        ("list-type=3", "InvalidArgument"),
        ("list-type=2&encoding-type=base64", "InvalidArgument"),
        ("list-type=2&continuation-token=", "InvalidArgument"),
        ("list-type=2&continuation-token=nonsense", "InvalidArgument"),
        ("list-type=2&continuation-token=Mf8%3D", "InvalidArgument"),
        ("versions&version-id-marker=null", "InvalidArgument"),
        ("versions&key-marker=a&version-id-marker=other", "InvalidArgument"),
        ("prefix=%FF", "InvalidURI"),
    ],
)
def test_wrong_parameters(gateway: Gateway, filled: str, query: str, code: str) -> None:
    answer = gateway.ask("GET", f"/{filled}?{query}")
    assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize("query", ["list-type=2&max-keys=1001", "max-keys=2000", "max-keys="])
def test_at_most_a_thousand_are_promised(gateway: Gateway, filled: str, query: str) -> None:
    assert gateway.ask("GET", f"/{filled}?{query}").texts("MaxKeys") == ["1000"]


@pytest.mark.parametrize("query", ["", "list-type=2", "versions", "uploads", "max-keys=0"])
def test_bucket_that_is_not_there(gateway: Gateway, query: str) -> None:
    answer = gateway.ask("GET", f"/no-such-bucket?{query}")
    assert (answer.status, answer.code) == (404, "NoSuchBucket")


def test_paginators_of_a_client(s3: Any, bucket: str) -> None:
    names = [f"{number:05}" for number in range(25)]
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=b"")
    for operation, part in (
        ("list_objects_v2", "Contents"),
        ("list_objects", "Contents"),
        ("list_object_versions", "Versions"),
    ):
        pages = s3.get_paginator(operation).paginate(
            Bucket=bucket, PaginationConfig={"PageSize": 7}
        )
        assert [entry["Key"] for page in pages for entry in page[part]] == names
