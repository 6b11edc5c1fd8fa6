"""The three request forms, and what each refuses."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.errors import CnetError, MalformedError, MediaTypeError, SpecError
from cnet.inference.fields import Number
from cnet.inference.images.forms import ImageRequest, parse
from cnet.inference.runtime import PredictRequest

PARAMETERS = (Number("confidence", 0.5, 0, 1),)
PICTURE = b"\x89PNG picture\r\n--X\r\n of any bytes\x00\xff"
TEXT = base64.b64encode(PICTURE).decode()


def send(content_type: str, body: bytes, query: str = "") -> ImageRequest:
    return parse(PredictRequest(content_type, query, body), PARAMETERS)


def send_json(content: object, content_type: str = "application/json") -> ImageRequest:
    return send(content_type, json.dumps(content).encode())


def form(*fields: tuple[str, bytes], boundary: str = "XyZ") -> bytes:
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (boundary.encode(), name.encode(), content)
        for name, content in fields
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


MULTIPART = "multipart/form-data; boundary=XyZ"


class TestJson:
    @pytest.mark.parametrize(
        "image",
        [
            TEXT,
            f"data:image/png;base64,{TEXT}",
            f"DATA:image/png;name=a.png;Base64,{TEXT}",
            f"{TEXT[:10]}\r\n{TEXT[10:]}\n",
        ],
    )
    def test_base64_and_data_urls(self, image: str) -> None:
        asked = send_json({"image": image, "confidence": 0.25})
        assert asked == ImageRequest(PICTURE, {"confidence": 0.25})

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;charset=UTF8",
            "application/vnd.cnet+json",
            "application/json; charset=latin-1",
        ],
    )
    def test_any_charset(self, content_type: str) -> None:
        assert send_json({"image": TEXT}, content_type).image == PICTURE

    def test_a_real_other_charset(self) -> None:
        body = json.dumps({"image": TEXT}).encode("utf-16")
        assert send("application/json; charset=utf-16", body).image == PICTURE
        with pytest.raises(MediaTypeError, match="charset"):
            send("application/json; charset=klingon", body)

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b"7", b'"image"', b"[" * 9999])
    def test_no_object(self, body: bytes) -> None:
        with pytest.raises(MalformedError):
            send("application/json", body)

    @pytest.mark.parametrize(
        "image", ["", "!", "AAA", "data:", "data:image/png,AAAA", "data:;base64,", "AA==AA==", "é"]
    )
    def test_no_base64(self, image: str) -> None:
        with pytest.raises(MalformedError) as caught:
            send_json({"image": image})
        assert caught.value.code == "bad_image"

    @pytest.mark.parametrize("content", [{}, {"image": None}, {"image": 7}, {"image": ["a"]}])
    def test_no_image(self, content: object) -> None:
        with pytest.raises(SpecError) as caught:
            send_json(content)
        assert caught.value.field == "image"

    def test_parameters_in_the_address_are_refused(self) -> None:
        with pytest.raises(SpecError, match="confidence is in the address"):
            send("application/json", b'{"image":"AAAA"}', "confidence=0.1")


class TestMultipart:
    @pytest.mark.parametrize("field", ["image", "file"])
    def test_picture_and_fields(self, field: str) -> None:
        body = form((field, PICTURE), ("confidence", b" 0.25 "))
        assert send(MULTIPART, body) == ImageRequest(PICTURE, {"confidence": 0.25})

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ((), "image"),
            ((("image", b"a"), ("file", b"b")), "file"),
            ((("image", b"a"), ("confidence", b"0.1"), ("confidence", b"0.2")), "confidence"),
            ((("image", b"a"), ("confidence", b"x")), "confidence"),
            ((("image", b"a"), ("confidnce", b"0.1")), "confidnce"),
        ],
    )
    def test_wrong_fields(self, fields: tuple[tuple[str, bytes], ...], field: str) -> None:
        with pytest.raises(SpecError) as caught:
            send(MULTIPART, form(*fields))
        assert caught.value.field == field

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"no form",
            form(("image", PICTURE))[:-8],
            form(("image", PICTURE))[:30],
            b"--XyZ\r\n\r\nno header\r\n--XyZ--\r\n",
            form(*[(f"f{i}", b"") for i in range(100)]),
        ],
        ids=["empty", "text", "no end", "cut", "no name", "many"],
    )
    def test_broken_forms(self, body: bytes) -> None:
        with pytest.raises(MalformedError):
            send(MULTIPART, body)

    @pytest.mark.parametrize("boundary", ["", "; boundary=", f"; boundary={'x' * 999}"])
    def test_boundary(self, boundary: str) -> None:
        with pytest.raises(MalformedError, match="boundary"):
            send(f"multipart/form-data{boundary}", form(("image", PICTURE)))


class TestRaw:
    @pytest.mark.parametrize("kind", ["image/jpeg", "image/x-any", "application/octet-stream"])
    def test_picture_and_query(self, kind: str) -> None:
        asked = send(kind, PICTURE, "confidence=0.25")
        assert asked == ImageRequest(PICTURE, {"confidence": 0.25})

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("confidnce=1", "confidnce"),
            ("confidence=", "confidence"),
            ("confidence=1&confidence=1", "confidence"),
            ("confidence=0.2%00", "confidence"),
            ("&".join(f"a{i}=1" for i in range(200)), "query"),
        ],
    )
    def test_wrong_query(self, query: str, field: str) -> None:
        with pytest.raises(SpecError) as caught:
            send("image/png", PICTURE, query)
        assert caught.value.field == field

    def test_empty_picture(self) -> None:
        with pytest.raises(MalformedError, match="empty"):
            send("image/png", b"")


@pytest.mark.parametrize("kind", ["", "text/plain", "image", "application/x-www-form-urlencoded"])
def test_other_types(kind: str) -> None:
    with pytest.raises(MediaTypeError, match="multipart/form-data"):
        send(kind, PICTURE)


texts = st.text(max_size=60)
kinds = st.sampled_from(
    ["application/json", "multipart/form-data", MULTIPART, "image/png", "text/html"]
)


@given(kinds | texts, st.binary(max_size=300), texts)
def test_anything_else_is_refused_in_words(kind: str, body: bytes, query: str) -> None:
    try:
        send(kind, body, urllib.parse.quote(query, safe="=&%"))
    except CnetError as error:
        assert isinstance(error, SpecError)
        assert error.message
