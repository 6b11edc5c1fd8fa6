"""The signature check, against the examples AWS published and against botocore's signer."""

from __future__ import annotations

import string
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from cnet.gateway import claims, sigv4
from cnet.gateway.errors import S3Error
from cnet.gateway.wire import WireRequest

KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
STAMP = "20130524T000000Z"
MOMENT = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
HOST = "examplebucket.s3.amazonaws.com"


def secret_of(key_id: str) -> str | None:
    return SECRET if key_id == KEY else None


def wire(method: str, path: str, query: str, headers: Mapping[str, str]) -> WireRequest:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return WireRequest(method, path.encode(), query.encode(), pairs)


def authorization(names: str, signature: str, *, date: str = "20130524") -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential={KEY}/{date}/us-east-1/s3/aws4_request,"
        f"SignedHeaders={names},Signature={signature}"
    )


def verify(request: WireRequest, at: float = MOMENT) -> sigv4.Signed:
    return sigv4.verify(request, secret_of, clock=lambda: at)


def code_of(request: WireRequest, at: float = MOMENT) -> str:
    with pytest.raises(S3Error) as raised:
        verify(request, at)
    return raised.value.code


# Section "Authenticating Requests: Using the Authorization Header" of the S3 API reference.
PUBLISHED = {
    "get_object": (
        "GET",
        "/test.txt",
        "",
        {"range": "bytes=0-9", "x-amz-content-sha256": EMPTY},
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "put_object": (
        "PUT",
        "/test%24file.text",
        "",
        {
            "date": "Fri, 24 May 2013 00:00:00 GMT",
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
            "x-amz-content-sha256": (
                "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
            ),
        },
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    "lifecycle": (
        "GET",
        "/",
        "lifecycle",
        {"x-amz-content-sha256": EMPTY},
        "host;x-amz-content-sha256;x-amz-date",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "list": (
        "GET",
        "/",
        "max-keys=2&prefix=J",
        {"x-amz-content-sha256": EMPTY},
        "host;x-amz-content-sha256;x-amz-date",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_examples_verify(name: str) -> None:
    method, path, query, headers, names, signature = PUBLISHED[name]
    headers = {"host": HOST, "x-amz-date": STAMP, **headers}
    headers["authorization"] = authorization(names, signature)
    signed = verify(wire(method, path, query, headers))
    assert (signed.access_key, signed.signature) == (KEY, signature)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_examples_with_one_digit_changed_do_not(name: str) -> None:
    method, path, query, headers, names, signature = PUBLISHED[name]
    wrong = ("0" if signature[0] != "0" else "1") + signature[1:]
    headers = {"host": HOST, "x-amz-date": STAMP, **headers}
    headers["authorization"] = authorization(names, wrong)
    assert code_of(wire(method, path, query, headers)) == "SignatureDoesNotMatch"


PRESIGNED = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1"
    "%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
)


@pytest.mark.parametrize("after_s", [-claims.SKEW_S, 0, 86_400])
def test_published_presigned_example_verifies_while_it_lasts(after_s: int) -> None:
    request = wire("GET", "/test.txt", PRESIGNED, {"host": HOST})
    assert verify(request, MOMENT + after_s).payload == claims.UNSIGNED


@pytest.mark.parametrize("after_s", [-claims.SKEW_S - 1, 86_401])
def test_presigned_is_refused_before_and_after(after_s: int) -> None:
    assert code_of(wire("GET", "/test.txt", PRESIGNED, {"host": HOST}), MOMENT + after_s) == (
        "AccessDenied"
    )


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("X-Amz-Expires=86400", "X-Amz-Expires=604801", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=-1", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=%D9%A1", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=86400&", "", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=86399", "SignatureDoesNotMatch"),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", "AuthorizationQueryParametersError"),
        ("20130524T000000Z", "20130524", "AuthorizationQueryParametersError"),
        ("20130524T000000Z", "20131324T000000Z", "AuthorizationQueryParametersError"),
        ("%2F20130524%2F", "%2F20130525%2F", "AuthorizationQueryParametersError"),
        ("%2Fs3%2F", "%2Fiam%2F", "AuthorizationQueryParametersError"),
        ("%2Faws4_request", "%2Faws5_request", "AuthorizationQueryParametersError"),
        ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLF", "InvalidAccessKeyId"),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=", "AuthorizationHeaderMalformed"),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=host%3Brange", "SignatureDoesNotMatch"),
        ("X-Amz-Signature=aeeed9", "X-Amz-Signature=AEEED9", "SignatureDoesNotMatch"),
        ("X-Amz-Signature=aeeed9", "X-Amz-Signature=%C3%A9eed9", "SignatureDoesNotMatch"),
        ("&X-Amz-Date", "&X-Amz-Date=1&X-Amz-Date", "AuthorizationQueryParametersError"),
        ("&X-Amz-Date", "&X-Amz-Security-Token=a&X-Amz-Date", "InvalidToken"),
        ("&X-Amz-Date", "&extra=1&X-Amz-Date", "SignatureDoesNotMatch"),
    ],
)
def test_wrong_presigned(old: str, new: str, code: str) -> None:
    assert old in PRESIGNED
    query = PRESIGNED.replace(old, new)
    assert code_of(wire("GET", "/test.txt", query, {"host": HOST})) == code


def _get(**changes: str | None) -> WireRequest:
    method, path, query, headers, names, signature = PUBLISHED["get_object"]
    fields: dict[str, str | None] = {"host": HOST, "x-amz-date": STAMP, **headers}
    fields["authorization"] = authorization(names, signature)
    fields.update({name.replace("_", "-"): value for name, value in changes.items()})
    return wire(method, path, query, {k: v for k, v in fields.items() if v is not None})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"authorization": "AWS AKIA:abc="}, "InvalidRequest"),
        ({"authorization": "Basic YTpi"}, "InvalidRequest"),
        ({"authorization": "AWS4-HMAC-SHA256"}, "AuthorizationHeaderMalformed"),
        (
            {"authorization": authorization("host", "0" * 64) + ",Signature=" + "0" * 64},
            "AuthorizationHeaderMalformed",
        ),
        (
            {"authorization": authorization("host", "0" * 64).replace(",Sig", " Sig")},
            "AuthorizationHeaderMalformed",
        ),
        ({"authorization": authorization("host", "")}, "AuthorizationHeaderMalformed"),
        ({"authorization": "AWS4-HMAC-SHA256 a,b"}, "AuthorizationHeaderMalformed"),
        (
            {"authorization": "AWS4-HMAC-SHA256 Credential=a/b,SignedHeaders=host,Signature=1"},
            "AuthorizationHeaderMalformed",
        ),
        (
            {"authorization": authorization("host", "0" * 64, date="20130525")},
            "AuthorizationHeaderMalformed",
        ),
        ({"authorization": authorization("Host", "0" * 64)}, "AuthorizationHeaderMalformed"),
        ({"authorization": authorization("range;host", "0" * 64)}, "AuthorizationHeaderMalformed"),
        ({"authorization": authorization("range", "0" * 64)}, "AuthorizationHeaderMalformed"),
        ({"authorization": authorization("host;range", "0" * 64)}, "AccessDenied"),
        ({"x_amz_date": "yesterday"}, "AccessDenied"),
        ({"x_amz_date": None}, "AccessDenied"),
        ({"x_amz_content_sha256": None}, "InvalidRequest"),
        ({"x_amz_content_sha256": "UNSIGNED-PAYLOAD"}, "SignatureDoesNotMatch"),
        ({"range": "bytes=0-8"}, "SignatureDoesNotMatch"),
        ({"range": None}, "SignatureDoesNotMatch"),
        ({"host": "other.s3.amazonaws.com"}, "SignatureDoesNotMatch"),
        ({"x_amz_meta_more": "1"}, "AccessDenied"),
        ({"x_amz_security_token": "a"}, "InvalidToken"),
    ],
)
def test_wrong_headers(changes: dict[str, str | None], code: str) -> None:
    assert code_of(_get(**changes)) == code


@pytest.mark.parametrize("off_s", [-claims.SKEW_S - 1, claims.SKEW_S + 1])
def test_clock_too_far_off(off_s: int) -> None:
    assert code_of(_get(), MOMENT + off_s) == "RequestTimeTooSkewed"


@pytest.mark.parametrize("off_s", [-claims.SKEW_S, claims.SKEW_S])
def test_clock_a_little_off(off_s: int) -> None:
    assert verify(_get(), MOMENT + off_s).access_key == KEY


def test_space_around_and_inside_a_signed_header_does_not_count() -> None:
    assert verify(_get(range="  bytes=0-9 ")).access_key == KEY


def test_fields_may_stand_in_any_order() -> None:
    _, _, _, _, names, signature = PUBLISHED["get_object"]
    text = authorization(names, signature)
    word, _, rest = text.partition(" ")
    turned = ", ".join(reversed(rest.split(",")))
    assert verify(_get(authorization=f"{word} {turned}")).signature == signature


def test_header_and_query_together_are_refused() -> None:
    _, _, _, headers, names, signature = PUBLISHED["get_object"]
    both = {"host": HOST, **headers, "authorization": authorization(names, signature)}
    assert code_of(wire("GET", "/test.txt", PRESIGNED, both)) == "InvalidArgument"


_names = st.text(string.ascii_lowercase, min_size=1, max_size=8)
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_values = st.text(string.ascii_letters + string.digits + " ;=,:/~", max_size=20)


@given(
    key=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40),
    query=st.dictionaries(_names, _texts, max_size=4),
    headers=st.dictionaries(_names.map("x-amz-meta-{}".format), _values, max_size=4),
    method=st.sampled_from(["GET", "PUT", "DELETE", "HEAD", "POST"]),
    presigned=st.booleans(),
)
def test_agrees_with_botocore(
    key: str, query: dict[str, str], headers: dict[str, str], method: str, presigned: bool
) -> None:
    url = "http://localhost:9/bucket/" + quote(key, safe="/-_.~")
    if query:
        pairs = [f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items()]
        url += "?" + "&".join(pairs)
    request = AWSRequest(method, url, headers={"host": "localhost:9", **headers})
    credentials = Credentials(KEY, SECRET)
    signer = S3SigV4QueryAuth if presigned else S3SigV4Auth
    signer(credentials, "s3", "us-east-1").add_auth(request)
    parts = urlsplit(request.url)
    sent = wire(method, parts.path, parts.query, dict(request.headers.items()))
    signed = sigv4.verify(sent, secret_of)
    assert signed.access_key == KEY


def test_encoding_of_the_path_may_differ_from_what_was_signed() -> None:
    """The AWS SDK for C++ leaves `=` and `:` as they are on the wire, and signs them encoded."""
    request = AWSRequest("GET", "http://h/bucket/year%3D2024/a%3Ab", headers={"host": "h"})
    S3SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(request)
    sent = wire("GET", "/bucket/year=2024/a:b", "", dict(request.headers.items()))
    assert sigv4.verify(sent, secret_of).access_key == KEY
