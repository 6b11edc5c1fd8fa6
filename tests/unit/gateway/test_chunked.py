"""aws-chunked bodies: AWS's own examples, cut at every place, and damaged ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.gateway import chunked, claims, sigv4
from cnet.gateway.errors import S3Error

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SCOPE = claims.Scope("20130524", "us-east-1", "s3")


def signed(form: str, signature: str) -> sigv4.Signed:
    return sigv4.Signed(
        "AKIAIOSFODNN7EXAMPLE",
        form,
        signature,
        "20130524T000000Z",
        SCOPE,
        sigv4.signing_key(SECRET, SCOPE),
    )


def chunk(content: bytes, signature: str, end: bytes = b"\r\n") -> bytes:
    head = f"{len(content):x};chunk-signature={signature}\r\n"
    return head.encode() + content + end


# 65 KiB of `a` in chunks of 64 KiB, from the S3 API reference.
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
BODY = (
    chunk(b"a" * 65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648")
    + chunk(b"a" * 1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497")
    + chunk(b"", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")
)
SEED_TRAILER = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
BODY_TRAILER = (
    chunk(b"a" * 65536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2")
    + chunk(b"a" * 1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7")
    + chunk(b"", "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992", b"")
    + b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
    + b"x-amz-trailer-signature:"
    + b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
)
UNSIGNED = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"


def decode(
    form: str, body: bytes, seal: sigv4.Signed | None, step: int | None = None
) -> tuple[bytes, dict[str, str]]:
    decoder = chunked.ChunkDecoder(form, seal)
    content = bytearray()
    step = step or len(body) or 1
    for start in range(0, len(body), step):
        for piece in decoder.feed(body[start : start + step]):
            content += piece
    decoder.end()
    return bytes(content), decoder.trailers


@pytest.mark.parametrize("step", [None, 1, 7, 1000, 65536])
def test_published_example(step: int | None) -> None:
    content, trailers = decode(chunked.SIGNED, BODY, signed(chunked.SIGNED, SEED), step)
    assert (content, trailers) == (b"a" * 66560, {})


@pytest.mark.parametrize("step", [None, 1, 13, 4096])
def test_published_example_with_trailer(step: int | None) -> None:
    seal = signed(chunked.SIGNED_TRAILER, SEED_TRAILER)
    content, trailers = decode(chunked.SIGNED_TRAILER, BODY_TRAILER, seal, step)
    assert content == b"a" * 66560
    assert trailers["x-amz-checksum-crc32c"] == "sOO8/Q=="


@pytest.mark.parametrize("step", [None, 1, 2, 3])
def test_unsigned_with_trailer(step: int | None) -> None:
    content, trailers = decode(chunked.UNSIGNED_TRAILER, UNSIGNED, None, step)
    assert (content, trailers) == (b"hello world", {"x-amz-checksum-crc32": "DUoRhQ=="})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"f992\r\n", b"f992\r\n\r\n"),
        (b"sOO8/Q==\r\n", b"sOO8/Q==\r\n\r\n"),
        (b"sOO8/Q==\r\n", b"sOO8/Q==\n\r\n"),
        (b"e435\r\n\r\n", b"e435\r\n"),
    ],
)
def test_spellings_of_the_trailer_that_clients_use(old: bytes, new: bytes) -> None:
    seal = signed(chunked.SIGNED_TRAILER, SEED_TRAILER)
    assert old in BODY_TRAILER
    content, _ = decode(chunked.SIGNED_TRAILER, BODY_TRAILER.replace(old, new), seal)
    assert content == b"a" * 66560


def test_no_content_and_no_trailer() -> None:
    assert decode(chunked.UNSIGNED_TRAILER, b"0\r\n\r\n", None) == (b"", {})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"aaaa", b"aaba"),
        (b"chunk-signature=ad80", b"chunk-signature=ad81"),
        (b"chunk-signature=0055", b"chunk-signature=0056"),
        (b"chunk-signature=b6c6", b"chunk-signature=b6c7"),
        (b";chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648", b""),
    ],
)
def test_what_was_not_signed_is_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        decode(chunked.SIGNED, BODY.replace(old, new, 1), signed(chunked.SIGNED, SEED))


@pytest.mark.parametrize(
    ("old", "new"), [(b"sOO8/Q==", b"sOO8/R=="), (b"d81f82", b"d81f83"), (b"crc32c", b"crc32")]
)
def test_trailer_that_was_not_signed_is_refused(old: bytes, new: bytes) -> None:
    seal = signed(chunked.SIGNED_TRAILER, SEED_TRAILER)
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        decode(chunked.SIGNED_TRAILER, BODY_TRAILER.replace(old, new), seal)


def test_chunks_in_another_order_are_refused() -> None:
    middle = BODY.index(b"400;")
    first, rest = BODY[:middle], BODY[middle:]
    second = rest[: rest.index(b"\r\n0;") + 2]
    swapped = second + first + rest[len(second) :]
    assert sorted(swapped) == sorted(BODY)
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        decode(chunked.SIGNED, swapped, signed(chunked.SIGNED, SEED))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"5\r\nhel",
        b"5\r\nhello\r\n",
        b"5\r\nhello\r\n0\r\n",
        b"5\r\nhelloworld\r\n0\r\n\r\n",
        b"hello",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5;x=y\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"0\r\n\r\nmore",
        b"f" * 17 + b"\r\n",
        b"1" * 20_000,
        b"0\r\nx-amz-checksum-crc32\r\n\r\n",
        b"0\r\n" + b"a:b\r\n" * 2 + b"\r\n",
        b"0\r\n" + b"".join(b"h%d:x\r\n" % n for n in range(40)) + b"\r\n",
        b"0\r\n\xff:x\r\n\r\n",
    ],
)
def test_malformed_is_a_client_error(body: bytes) -> None:
    with pytest.raises(S3Error) as raised:
        decode(chunked.UNSIGNED_TRAILER, body, None)
    assert raised.value.status in (400, 403)


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_are_content_or_a_client_error(body: bytes, step: int) -> None:
    try:
        decode(chunked.UNSIGNED_TRAILER, body, None, step)
    except S3Error as error:
        assert error.status in (400, 403)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.integers(1, 100))
def test_content_does_not_depend_on_how_the_bytes_arrive(pieces: list[bytes], step: int) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert decode(chunked.UNSIGNED_TRAILER, body, None, step)[0] == b"".join(pieces)


def test_signed_form_needs_a_signed_request() -> None:
    with pytest.raises(S3Error, match="AccessDenied"):
        chunked.ChunkDecoder(chunked.SIGNED, None)
