"""`multipart/form-data` bodies (RFC 7578), already whole in memory, cut into parts.

The grammar is python-multipart's; here is only the collecting and the limits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeGuard

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from cnet.errors import MalformedError

if TYPE_CHECKING:  # exists for type checkers only
    from python_multipart.multipart import MultipartCallbacks

_MOST_PARTS = 32
_LONGEST_BOUNDARY = 256  # RFC 2046 allows 70


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form: its name and its bytes."""

    name: str
    content: bytes


def read_parts(body: bytes, boundary: object) -> list[Part]:
    """All parts of `body` in order; MalformedError where it is no complete form."""
    if not _is_boundary(boundary):
        raise MalformedError("multipart/form-data needs a boundary in the Content-Type header")
    collector = _Collector()
    try:
        parser = MultipartParser(boundary.encode("utf-8", "replace"), collector.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise MalformedError(f"the multipart form cannot be read: {error}") from None
    if not collector.is_complete:
        raise MalformedError("the multipart form ends in the middle")
    return collector.parts


def _is_boundary(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_BOUNDARY


@dataclass
class _Collector:
    """Receives the parser's callbacks; `data[start:end]` is a piece, never necessarily a whole."""

    parts: list[Part] = field(default_factory=list)
    is_complete: bool = False
    _header_name: bytes = b""
    _header_value: bytes = b""
    _name: str | None = None
    _chunks: list[bytes] = field(default_factory=list)

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin_part,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_header_field": self._add_header_name,
            "on_header_value": self._add_header_value,
            "on_header_end": self._end_header,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        if len(self.parts) >= _MOST_PARTS:
            raise MalformedError(f"a form may have at most {_MOST_PARTS} fields")
        self._name = None
        self._chunks = []

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(self._header_value)
            name = options.get(b"name")
            self._name = None if name is None else name.decode("utf-8", "replace")
        self._header_name = self._header_value = b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def _end_part(self) -> None:
        if self._name is None:
            raise MalformedError("a part of the form has no Content-Disposition with a name")
        self.parts.append(Part(self._name, b"".join(self._chunks)))

    def _end(self) -> None:
        self.is_complete = True
