"""Damaging bytes in the ways that find bugs in parsers; the same seed gives the same damage."""

from __future__ import annotations

import random
import struct

_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)
_WIDE = (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutate(rng: random.Random, original: bytes, *, header: int = 64) -> bytes:
    """`original` with one to four changes; half of them fall into the first `header` bytes."""
    content = bytearray(original)
    for _ in range(rng.randint(1, 4)):
        content = rng.choice(_CHANGES)(rng, content, _position(rng, len(content), header))
    return bytes(content)


def splice(rng: random.Random, first: bytes, second: bytes) -> bytes:
    """The beginning of one with the end of another."""
    return first[: rng.randrange(len(first))] + second[rng.randrange(len(second)) :]


def _position(rng: random.Random, length: int, header: int) -> int:
    if length == 0:
        return 0
    return rng.randrange(min(header, length) if rng.random() < 0.5 else length)


def _flip(rng: random.Random, content: bytearray, at: int) -> bytearray:
    if content:
        content[at] ^= 1 << rng.randrange(8)
    return content


def _overwrite(rng: random.Random, content: bytearray, at: int) -> bytearray:
    if content:
        content[at] = rng.choice(_INTERESTING)
    return content


def _overwrite_number(rng: random.Random, content: bytearray, at: int) -> bytearray:
    value = rng.choice(_WIDE)
    size = 2 if value <= 0xFFFF and rng.random() < 0.5 else 4
    number = struct.pack(rng.choice("<>") + ("H" if size == 2 else "I"), value & (256**size - 1))
    content[at : at + size] = number
    return content


def _cut(rng: random.Random, content: bytearray, at: int) -> bytearray:
    return content[: max(at, 1)] if rng.random() < 0.3 else content


def _remove(rng: random.Random, content: bytearray, at: int) -> bytearray:
    del content[at : at + rng.randint(1, 16)]
    return content


def _repeat(rng: random.Random, content: bytearray, at: int) -> bytearray:
    piece = content[at : at + rng.randint(1, 32)]
    content[at:at] = piece * rng.randint(1, 4)
    return content


def _insert(rng: random.Random, content: bytearray, at: int) -> bytearray:
    content[at:at] = rng.randbytes(rng.randint(1, 16))
    return content


_CHANGES = (_flip, _overwrite, _overwrite_number, _cut, _remove, _repeat, _insert)
