"""Writing XML that parses back, and refusing XML that is a trap."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.sax import saxutils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.gateway import xml
from cnet.gateway.errors import S3Error

_text = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff").filter(
        lambda c: c in "\t\n\r" or ord(c) >= 0x20
    )
)


@given(_text)
def test_text_comes_back_exactly(text: str) -> None:
    body = xml.document("Root", [("Key", text)])
    root = ElementTree.fromstring(body)
    assert (root.findtext(f"{{{xml.NAMESPACE}}}Key") or "") == text


@given(_text)
def test_parser_gives_the_text_back(text: str) -> None:
    key = xml.parse(xml.document("Delete", [("Key", text)]), "Delete").one("Key")
    assert key is not None
    assert key.exact_text == text


@given(st.text())
def test_escapes_what_xml_cannot_hold(text: str) -> None:
    wanted = saxutils.escape(text, {'"': "&quot;"})
    for code in (*range(0x09), *range(0x0B, 0x20), 0xFFFE, 0xFFFF):
        wanted = wanted.replace(chr(code), f"&#x{code:x};")
    assert xml.escape(text) == wanted


def test_markup_stands_as_it_is() -> None:
    content: list[xml.Element | xml.Markup] = [("A", "<"), xml.Markup("<B>&gt;</B>"), ("C", [])]
    assert xml.document("R", content, namespace=False).endswith(
        b"<R><A>&lt;</A><B>&gt;</B><C></C></R>"
    )


def test_namespace_may_be_missing_or_prefixed() -> None:
    for body in (
        b"<Delete><Quiet>true</Quiet></Delete>",
        b'<s:Delete xmlns:s="http://s3.amazonaws.com/doc/2006-03-01/"><s:Quiet>true</s:Quiet></s:Delete>',
    ):
        quiet = xml.parse(body, "Delete").one("Quiet")
        assert quiet is not None
        assert quiet.text == "true"


BILLION = b"""<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Delete><Key>&b;</Key></Delete>"""
FILE = b"""<?xml version="1.0"?><!DOCTYPE d [<!ENTITY f SYSTEM "file:///etc/passwd">]>
<Delete><Key>&f;</Key></Delete>"""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"not xml",
        b"<Delete>",
        b"<Delete></Other>",
        b"<Other/>",
        b"<Delete/><Delete/>",
        b"<Delete>\xff\xfe</Delete>",
        b"<Delete>\x00</Delete>",
        b'<?xml version="1.0" encoding="nonsense"?><Delete/>',
        b"<!DOCTYPE Delete><Delete/>",
        b"<Delete>&undefined;</Delete>",
        BILLION,
        FILE,
        b"<Delete>" + b"<a>" * 5000 + b"</a>" * 5000 + b"</Delete>",
        b"<Delete>" + b"<a/>" * 60_000 + b"</Delete>",
    ],
)
def test_traps_and_trash_are_malformed(body: bytes) -> None:
    with pytest.raises(S3Error, match="MalformedXML"):
        xml.parse(body, "Delete")


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_malformed(body: bytes) -> None:
    try:
        xml.parse(body, "Delete")
    except S3Error as error:
        assert error.code == "MalformedXML"


def test_time_has_milliseconds() -> None:
    assert xml.iso_time(1_780_000_000.1239) == "2026-05-28T20:26:40.123Z"


@given(st.one_of(st.floats(0, 2**32), st.integers(0, 2**32).map(lambda ms: ms / 1000)))
def test_time_is_that_of_the_standard_library(unix_s: float) -> None:
    moment = datetime.fromtimestamp(unix_s, UTC)
    assert xml.iso_time(unix_s) == moment.isoformat(timespec="milliseconds")[:-6] + "Z"
