"""XML as S3 speaks it: replies written from tuples, request bodies read without entities."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from pyexpat import ExpatError, ParserCreate
from typing import Union

from cnet.gateway.errors import S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class Markup(str):
    """XML that stands as it is between elements."""

    __slots__ = ()


Content = Union[str, int, "Iterable[Element | Markup]"]
Element = tuple[str, Content]
"""(name, text or child elements)"""

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_MAX_DEPTH = 16
_MAX_ELEMENTS = 50_000
_SPECIAL = re.compile(r'[&<>"\x00-\x08\x0b-\x1f\ufffe\uffff]')
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def document(name: str, content: Content, *, namespace: bool = True) -> bytes:
    """A document with one root element."""
    parts = [_DECLARATION, f'<{name} xmlns="{NAMESPACE}">' if namespace else f"<{name}>"]
    _write_content(parts, content)
    parts.append(f"</{name}>")
    return "".join(parts).encode("utf-8", "replace")


def iso_time(unix_s: float) -> str:
    """As in listings, with milliseconds."""
    second = math.floor(unix_s)
    microsecond = round((unix_s - second) * 1_000_000)
    if microsecond == 1_000_000:
        second, microsecond = second + 1, 0
    return f"{_iso_second(second)}.{microsecond // 1000:03d}Z"


def escape(text: str) -> str:
    """As it is written inside of an element or an attribute."""
    return _SPECIAL.sub(_reference, text)


@lru_cache(maxsize=4096)
def _iso_second(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _reference(found: re.Match[str]) -> str:
    # XML 1.0 has no way to write control characters; a reference is what S3 itself sends.
    character = found.group()
    return _NAMED.get(character) or f"&#x{ord(character):x};"


def _write_content(parts: list[str], content: Content) -> None:
    if isinstance(content, str):
        parts.append(escape(content))
    elif isinstance(content, int):
        parts.append(str(content))
    else:
        for element in content:
            if isinstance(element, Markup):
                parts.append(element)
                continue
            name, inner = element
            parts.append(f"<{name}>")
            _write_content(parts, inner)
            parts.append(f"</{name}>")


class Node:
    """An element of a request body: its name without namespace, its text, its children."""

    __slots__ = ("children", "name", "pieces")

    def __init__(self, name: str) -> None:
        self.name = name
        self.pieces: list[str] = []
        self.children: list[Node] = []

    @property
    def text(self) -> str:
        """The text inside, without the space around it."""
        return "".join(self.pieces).strip()

    @property
    def exact_text(self) -> str:
        """The text inside as it stands; a key may begin with a space."""
        return "".join(self.pieces)

    def all(self, name: str) -> list[Node]:
        """The children of that name."""
        return [child for child in self.children if child.name == name]

    def one(self, name: str) -> Node | None:
        """The only child of that name; None where there is none."""
        found = self.all(name)
        if len(found) > 1:
            raise S3Error("MalformedXML", f"<{self.name}> may hold one <{name}> only.")
        return found[0] if found else None


def parse(body: bytes, root: str) -> Node:
    """The root element of a request body; S3Error MalformedXML for whatever is not that."""
    top = Node("")
    path = [top]
    count = 0

    def start(name: str, _: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(path) > _MAX_DEPTH or count > _MAX_ELEMENTS:
            raise S3Error("MalformedXML", "The XML is nested too deeply or has too many elements.")
        node = Node(name.rpartition(" ")[2])
        path[-1].children.append(node)
        path.append(node)

    def end(_: str) -> None:
        path.pop()

    def text(data: str) -> None:
        path[-1].pieces.append(data)

    def refuse(*_: object) -> None:
        # Entities are how a small body becomes a large one, or reads a file of this machine.
        raise S3Error("MalformedXML", "The XML may not have a document type.")

    parser = ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except (ExpatError, ValueError, LookupError) as error:
        raise S3Error("MalformedXML", f"The XML is not well-formed: {error}") from None
    found = top.children[0]
    if found.name != root:
        raise S3Error("MalformedXML", f"The root element must be <{root}>, not <{found.name}>.")
    return found
