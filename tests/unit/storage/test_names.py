"""Names are kept exactly, or refused with the field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.errors import SpecError
from cnet.storage.names import check_bucket, check_data_key, check_key, check_relative_path

KEPT = [
    "a",
    "../../etc/passwd",
    "/",
    "//",
    ".",
    "..",
    "a\\..\\b",
    "C:\\x",
    "con",
    "~root",
    "%2e%2e%2f",
    "a\tb\nc\rd",
    "\x7f\x85\xa0",
    "é",
    "e\u0301",
    "\u202egnp.exe",
    "\ufeff",
    "\U0001f600",
    "K" * 1024,
    "é" * 512,
]


@pytest.mark.parametrize("key", KEPT)
def test_keys_that_are_kept(key: str) -> None:
    assert check_key(key).decode() == key


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("", "invalid_key"),
        ("a\x00b", "invalid_key"),
        ("\x01", "invalid_key"),
        ("a\x1f", "invalid_key"),
        ("\x0b", "invalid_key"),
        ("\ud800", "invalid_key"),
        ("\udcff", "invalid_key"),
        ("\ufffe", "invalid_key"),
        ("\uffff", "invalid_key"),
        ("K" * 1025, "key_too_long"),
        ("é" * 513, "key_too_long"),
    ],
)
def test_keys_that_are_refused(key: str, code: str) -> None:
    with pytest.raises(SpecError) as refused:
        check_key(key)
    assert (refused.value.field, refused.value.code) == ("key", code)


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_a_key_is_kept_or_refused(key: str) -> None:
    try:
        assert check_key(key).decode() == key
    except SpecError as refused:
        assert refused.field == "key"


@pytest.mark.parametrize("name", ["cnet", "abc", "a.b-c", "0aa", "a" * 63, "1.2.3", "x--y"])
def test_buckets_that_are_taken(name: str) -> None:
    assert check_bucket(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        "a" * 64,
        "Abc",
        "a_b",
        "-ab",
        "ab-",
        ".ab",
        "ab.",
        "a..b",
        "1.2.3.4",
        "xn--abc",
        "sthree-a",
        "abc-s3alias",
        "abc--ol-s3",
        "a/b",
        "abc\n",
        "äbc",
        "..",
        ".staging",
        "\ud800ab",
    ],
)
def test_buckets_that_are_refused(name: str) -> None:
    with pytest.raises(SpecError) as refused:
        check_bucket(name)
    assert refused.value.field == "bucket"


@pytest.mark.parametrize("name", ["a", "my data", "…", "..a", "a..", "é", "a\\b", "x" * 255])
def test_data_keys_that_are_taken(name: str) -> None:
    assert check_data_key(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/", "a\x00", "a\n", "\x7f", "\x9f", "\ud800", "x" * 256]
)
def test_data_keys_that_are_refused(name: str) -> None:
    with pytest.raises(SpecError) as refused:
        check_data_key(name, field="config.data_key")
    assert refused.value.field == "config.data_key"


@pytest.mark.parametrize("path", ["a", "a/b.txt", "...", "a/..b", "é/\U0001f600", "a b", "~", "c:"])
def test_paths_that_are_taken(path: str) -> None:
    assert check_relative_path(path, data_key="d") == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "/",
        "a/",
        "a//b",
        ".",
        "./a",
        "a/.",
        "..",
        "../a",
        "a/../b",
        "a/..",
        "a\\b",
        "..\\a",
        "\\\\host\\share",
        "a\x00b",
        "a\nb",
        "a\x85b",
        "\u2028",
        "\ud800",
        "a" * 1023,
    ],
)
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(SpecError) as refused:
        check_relative_path(path, data_key="d", field="files")
    assert refused.value.field == "files"
