"""Digests against published vectors, and against one another."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.errors import DigestError, SpecError
from cnet.storage.digests import SIZES, Digests, check_type, combined, composite, decode

CHECK = b"123456789"
"""The input for which the catalogues of CRCs publish the result."""

VECTORS = {
    "crc32": "cbf43926",
    "crc32c": "e3069283",
    "crc64nvme": "ae8b14860a799888",
    "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
}


def digests(data: bytes, *names: str) -> Digests:
    running = Digests(names)
    running.update(data, None)
    return running


@pytest.mark.parametrize("name", list(SIZES))
def test_known_vectors(name: str) -> None:
    value = digests(CHECK, name).checksums()[name]
    assert base64.b64decode(value).hex() == VECTORS[name]
    assert decode(name, value).hex() == VECTORS[name]


def test_md5_and_sha256() -> None:
    found = digests(CHECK)
    assert found.md5 == "25f9e794323b453885f5181f1b624d0b"
    assert found.sha256 == VECTORS["sha256"]
    assert found.size == 9


@given(st.lists(st.binary(max_size=70_000), max_size=6))
def test_pieces_give_the_whole(pieces: list[bytes]) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = Digests(SIZES)
        for piece in pieces:
            running.update(piece, pool)
    whole = b"".join(pieces)
    assert running.checksums() == digests(whole, *SIZES).checksums()
    assert running.md5 == hashlib.md5(whole).hexdigest()


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6))
def test_combined_crcs(pieces: list[bytes]) -> None:
    for name in ("crc32", "crc32c", "crc64nvme"):
        values = [(digests(piece, name).checksums()[name], len(piece)) for piece in pieces]
        assert combined(name, values) == digests(b"".join(pieces), name).checksums()[name]


def test_composite() -> None:
    one, two = (digests(piece, "sha1").checksums()["sha1"] for piece in (b"a", b"b"))
    raw = hashlib.sha1(hashlib.sha1(b"a").digest() + hashlib.sha1(b"b").digest()).digest()
    assert composite("sha1", [one, two]) == f"{base64.b64encode(raw).decode()}-2"


def test_check_names_what_differs() -> None:
    found = digests(CHECK, "crc32")
    found.check(size=9, md5=found.md5, sha256=None, checksums={"crc32": "y/Q5Jg=="})
    for field, announced in [
        ("size", {"size": 8}),
        ("md5", {"md5": "0" * 32}),
        ("sha256", {"sha256": "0" * 64}),
        ("checksum_crc32", {"checksums": {"crc32": "AAAAAA=="}}),
    ]:
        given = {"size": None, "md5": None, "sha256": None, "checksums": {}} | announced
        with pytest.raises(DigestError) as wrong:
            found.check(**given)  # type: ignore[arg-type]
        assert wrong.value.field == field


@pytest.mark.parametrize("value", ["", "AAAA", "AAAAAA", "AAAAAAA=", "AA AAAA==", "é", "AAAAAAAA"])
def test_checksums_that_are_none(value: str) -> None:
    with pytest.raises(SpecError):
        decode("crc32", value)


def test_types() -> None:
    assert check_type("crc32", None) == "COMPOSITE"
    assert check_type("crc32", "FULL_OBJECT") == "FULL_OBJECT"
    assert check_type("crc64nvme", None) == "FULL_OBJECT"
    for name, kind in [("crc64nvme", "COMPOSITE"), ("sha256", "FULL_OBJECT"), ("md5", None)]:
        with pytest.raises(SpecError):
            check_type(name, kind)
