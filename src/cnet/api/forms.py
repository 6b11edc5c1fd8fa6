"""`multipart/form-data` (RFC 7578) as it comes in: events instead of parts, in bounded memory.

The grammar, and the bounds of a part's headers, are python-multipart's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from cnet.errors import MalformedError

if TYPE_CHECKING:  # exists for type checkers only
    from python_multipart.multipart import MultipartCallbacks

_LONGEST_BOUNDARY: Final = 256  # RFC 2046 allows 70
_ESCAPED: Final = re.compile(rb'\\(["\\])')
_PARAMETER: Final = re.compile(
    rb"""[ \t]*;[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))""", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class PartBegins:
    """The head of a part; its content follows."""

    name: str
    filename: str | None
    content_type: str | None


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The part is complete."""


FormEvent = PartBegins | bytes | PartEnds


class FormReader:
    """Feed it the body; it answers what that completes. Raises MalformedError."""

    def __init__(self, content_type: str) -> None:
        """`content_type` is the header of the request."""
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
            raise MalformedError("Content-Type: multipart/form-data needs a boundary")
        self._parser = MultipartParser(boundary, self._callbacks())
        self._events: list[FormEvent] = []
        self._complete = False
        self._header_name = b""
        self._header_value = b""
        self._disposition: dict[bytes, bytes] = {}
        self._content_type: str | None = None

    def feed(self, data: bytes) -> Iterator[FormEvent]:
        """The next bytes of the body."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise MalformedError(f"body: the multipart form cannot be read: {error}") from None
        events, self._events = self._events, []
        return iter(events)

    def finish(self) -> None:
        """The body is over."""
        if not self._complete:
            raise MalformedError("body: the multipart form ends in the middle")

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_header_field": self._name_of_header,
            "on_header_value": self._value_of_header,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._disposition = {}
        self._content_type = None

    def _name_of_header(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _value_of_header(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        name = self._header_name.lower()
        if name == b"content-disposition":
            self._disposition = _parameters(self._header_value)
        elif name == b"content-type":
            self._content_type = self._header_value.decode("latin-1").strip()
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        name, filename = self._disposition.get(b"name"), self._disposition.get(b"filename")
        if name is None:
            raise MalformedError("body: a part has no Content-Disposition with a name")
        self._events.append(
            PartBegins(
                _text(name), None if filename is None else _text(filename), self._content_type
            )
        )

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def _end(self) -> None:
        self._events.append(PartEnds())

    def _finish(self) -> None:
        self._complete = True


def _parameters(disposition: bytes) -> dict[bytes, bytes]:
    """Of a Content-Disposition, exactly as they are; RFC 7578 has no use for `filename*`.

    (python-multipart's reader keeps the last part of what looks like a path of Windows only.)
    """
    disposition = disposition.rstrip(b"; \t")
    place = disposition.find(b";")
    found: dict[bytes, bytes] = {}
    while 0 <= place < len(disposition):
        match = _PARAMETER.match(disposition, place)
        if match is None:
            raise MalformedError("body: the Content-Disposition of a part cannot be read")
        name, quoted, plain = match.groups()
        found[name.lower()] = plain.strip() if quoted is None else _ESCAPED.sub(rb"\1", quoted)
        place = match.end()
    return found


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise MalformedError(f"body: the name {name!r} of a part is not UTF-8") from None
